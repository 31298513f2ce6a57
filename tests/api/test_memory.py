"""What fits into which GPU: figures that are known from elsewhere, and what is chosen by them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from finetune_api.memory import Choice, Training, choose, estimate, least
from finetune_api.spec import ActivationCheckpointing, DeepSpeed, LoRA, Memory, Method
from shapes import FULL, LORA, QLORA, a_training

GB = 10**9
GIB = 1 << 30
NONE, SELECTIVE, KEEP_INPUTS = (
    ActivationCheckpointing.NONE,
    ActivationCheckpointing.SELECTIVE,
    ActivationCheckpointing.FULL,
)


def a_choice(zero_stage: int = 1, kept: ActivationCheckpointing = NONE, rows: int = 1) -> Choice:
    return Choice(zero_stage=zero_stage, activation_checkpointing=kept, micro_batch_size=rows)


def chosen(training: Training, gib: float, *, share: int = 64, limit: int | None = None, **spec: Any) -> Choice | None:
    return choose(
        training,
        memory=Memory(**{name: value for name, value in spec.items() if name != "zero_stage"}),
        deepspeed=DeepSpeed(zero_stage=spec.get("zero_stage")),
        available=int(gib * GIB),
        share=share,
        limit=limit,
    )


def test_a_7b_takes_14_5_gb_of_weights_and_its_adapter_84_mb() -> None:
    found = estimate(a_training(), a_choice())
    assert (round(found.weights / GB, 1), round(found.adapter / 1e6)) == (14.5, 84)


@pytest.mark.parametrize(
    ("zero_stage", "gigabytes"), [(1, 14.5 + 43.5 + 10.9), (2, 14.5 + 3.6 + 10.9), (3, 1.8 + 3.6 + 10.9)]
)
def test_states_of_full_fine_tuning_on_eight_gpus_are_divided_by_stage(zero_stage: int, gigabytes: float) -> None:
    """As in the ZeRO paper (arXiv 1910.02054, figure 1), with gradients that are accumulated in fp32."""
    found = estimate(a_training(FULL, world_size=8), a_choice(zero_stage))
    assert (found.weights + found.gradients + found.optimizer) / GB == pytest.approx(gigabytes, abs=0.1)


def test_four_bits_take_less_than_a_third() -> None:
    """3.6 GB of blocks, and embedding and head in bf16."""
    assert estimate(a_training(QLORA), a_choice()).weights / GB == pytest.approx(4.1, abs=0.1)


def test_a_row_more_takes_the_same_again() -> None:
    one, two, three = (estimate(a_training(), a_choice(rows=rows)).activations for rows in (1, 2, 3))
    assert two - one == three - two == one


def test_recomputation_keeps_a_block_s_input_or_its_products() -> None:
    whole, selective, inputs = (
        estimate(a_training(), a_choice(kept=kept)).activations for kept in (NONE, SELECTIVE, KEEP_INPUTS)
    )
    assert inputs == 4096 * (32 * 2 * 4096 + 10 * 4096)
    assert inputs < 0.1 * whole
    assert 0.4 * whole < selective < 0.7 * whole


def test_blocks_before_the_first_adapter_keep_nothing() -> None:
    last = Method(lora=LoRA(rank=16, last_layers=8))
    assert estimate(a_training(last), a_choice()).activations < 0.26 * estimate(a_training(), a_choice()).activations


def test_a_reference_takes_only_the_adapter_that_it_is() -> None:
    alone = estimate(a_training(), a_choice())
    assert estimate(a_training(has_reference=True), a_choice()) == alone
    initial = Method(lora=LoRA(rank=16, initial_adapter_uri="s3://bucket/model"))
    assert estimate(a_training(initial), a_choice()) == alone
    assert estimate(a_training(initial, has_reference=True), a_choice()) == replace(alone, adapter=2 * alone.adapter)


def test_a_head_over_a_few_labels_has_no_logits_to_speak_of() -> None:
    without = estimate(a_training(has_vocabulary_head=False), a_choice())
    assert (without.logits, round(without.weights / GB, 1)) == (0, 14.2)


CHOSEN = {
    "an adapter on an 80 GB GPU recomputes nothing": (a_training(), 79.6, {}, a_choice(1, NONE, 2)),
    "on 36 GB it keeps the products": (a_training(), 36, {}, a_choice(1, SELECTIVE, 1)),
    "on 24 GB it keeps the inputs": (a_training(), 24, {}, a_choice(1, KEEP_INPUTS, 3)),
    "on 16 GB it does not fit": (a_training(), 15.5, {}, None),
    "but in four bits it does": (a_training(QLORA), 15.5, {}, a_choice(1, KEEP_INPUTS, 4)),
    "a whole model fits on no GPU alone": (a_training(FULL), 79.6, {}, None),
    "on eight with gradients divided": (a_training(FULL, world_size=8), 79.6, {}, a_choice(2, NONE, 1)),
    "on four with all of it divided": (a_training(FULL, world_size=4), 47, {}, a_choice(3, KEEP_INPUTS, 5)),
    "what the spec says is kept": (
        a_training(),
        79.6,
        {"zero_stage": 3, "activation_checkpointing": KEEP_INPUTS, "micro_batch_size": 3},
        a_choice(3, KEEP_INPUTS, 3),
    ),
    "or does not fit": (a_training(), 40, {"micro_batch_size": 8, "activation_checkpointing": NONE}, None),
    "passes are alike": (a_training(), 24, {"share": 4}, a_choice(1, KEEP_INPUTS, 2)),
    "a rank computes no more than its share": (a_training(), 79.6, {"share": 1}, a_choice(1, NONE, 1)),
    "nor what has not fitted before": (
        a_training(),
        79.6,
        {"micro_batch_size": 8, "limit": 1},
        a_choice(1, NONE, 1),
    ),
}


@pytest.mark.parametrize(("training", "gib", "asked", "choice"), CHOSEN.values(), ids=CHOSEN)
def test_what_costs_least_is_chosen_with_the_largest_batch(
    training: Training, gib: float, asked: dict[str, Any], choice: Choice | None
) -> None:
    assert chosen(training, gib, **asked) == choice


def test_the_least_is_what_everything_is_divided_and_recomputed_for() -> None:
    training = a_training(FULL, world_size=8)
    found = least(training, memory=Memory(), deepspeed=DeepSpeed(), share=4)
    assert found == a_choice(3, KEEP_INPUTS, 1)
    assert least(training, memory=Memory(micro_batch_size=8), deepspeed=DeepSpeed(zero_stage=1), share=4) == a_choice(
        1, KEEP_INPUTS, 4
    )


def test_a_process_on_the_cpu_has_no_gpu_s_context() -> None:
    on_gpu, on_cpu = (estimate(a_training(gpu=gpu), a_choice()).overhead for gpu in (True, False))
    assert on_cpu < GIB < on_gpu


def test_dropout_keeps_a_mask_and_a_masked_input_for_each_adapter() -> None:
    with_dropout = a_training(Method(lora=LoRA(rank=16, dropout=0.1)))
    more = estimate(with_dropout, a_choice()).activations - estimate(a_training(), a_choice()).activations
    inputs = 6 * 4096 + 14336
    assert more == 4096 * 32 * 2 * (2 * inputs - (2 * 4096 + 14336))


def test_lora_is_what_it_was_without_an_adapter_of_its_own() -> None:
    assert a_training(LORA).trained_parameters == 41_943_040
    assert replace(a_training(FULL), has_vocabulary_head=False).trained_parameters == 7_248_023_552 - 32768 * 4096
