import pytest
import torch

from finetune_trainer.dropout import RowDropout, RowsInFlight


def dropped(rows: tuple[tuple[int, int], ...], *, step: int = 1, layer: int = 0, seed: int = 0) -> torch.Tensor:
    in_flight = RowsInFlight(seed, step, rows)
    return RowDropout(0.25, layer, in_flight)(torch.ones(1, sum(tokens for _, tokens in rows), 64))


def test_a_rows_mask_does_not_depend_on_the_rows_beside_it():
    together = dropped(((4, 10), (5, 20)))
    assert torch.equal(together, torch.cat([dropped(((4, 10),)), dropped(((5, 20),))], dim=1))


@pytest.mark.parametrize("other", [{"step": 2}, {"layer": 1}, {"seed": 1}])
def test_every_step_layer_and_seed_has_its_own_mask(other):
    assert not torch.equal(dropped(((0, 50),)), dropped(((0, 50),), **other))
    assert torch.equal(dropped(((0, 50),)), dropped(((0, 50),)))


def test_what_is_kept_is_scaled_so_that_the_mean_stays():
    values = dropped(((0, 2000),))
    assert values.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert values.mean().item() == pytest.approx(1, abs=0.01)


def test_nothing_is_dropped_in_evaluation():
    layer = RowDropout(0.25, 0, RowsInFlight(0))
    hidden = torch.ones(1, 5, 8)
    assert layer.eval()(hidden) is hidden
