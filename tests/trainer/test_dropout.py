from typing import Any

import pytest


def dropped(rows: list[tuple[int, int]], *, step: int = 1, layer: int = 0, seed: int = 0) -> Any:
    import torch

    from finetune_trainer.dropout import RowDropout, RowsInFlight

    in_flight = RowsInFlight(seed, step, tuple((place, tokens) for place, tokens in rows))
    return RowDropout(0.25, layer, in_flight)(torch.ones(1, sum(tokens for _, tokens in rows), 64))


def together_and_alone() -> bool:
    import torch

    together = dropped([(4, 10), (5, 20)])
    return torch.equal(together, torch.cat([dropped([(4, 10)]), dropped([(5, 20)])], dim=1))


def test_a_rows_mask_does_not_depend_on_the_rows_beside_it(preloaded):
    assert preloaded.run(together_and_alone) == [True]


def equal_to_itself_and(other: dict[str, int]) -> list[bool]:
    import torch

    return [torch.equal(dropped([(0, 50)]), dropped([(0, 50)], **how)) for how in ({}, other)]


@pytest.mark.parametrize("other", [{"step": 2}, {"layer": 1}, {"seed": 1}])
def test_every_step_layer_and_seed_has_its_own_mask(preloaded, other):
    assert preloaded.run(equal_to_itself_and, other=other) == [[True, False]]


def kept() -> list[Any]:
    values = dropped([(0, 2000)])
    return [values.unique().tolist(), values.mean().item()]


def test_what_is_kept_is_scaled_so_that_the_mean_stays(preloaded):
    ((values, mean),) = preloaded.run(kept)
    assert values == pytest.approx([0, 1 / 0.75])
    assert mean == pytest.approx(1, abs=0.01)


def untouched_in_evaluation() -> bool:
    import torch

    from finetune_trainer.dropout import RowDropout, RowsInFlight

    hidden = torch.ones(1, 5, 8)
    return RowDropout(0.25, 0, RowsInFlight(0)).eval()(hidden) is hidden


def test_nothing_is_dropped_in_evaluation(preloaded):
    assert preloaded.run(untouched_in_evaluation) == [True]
