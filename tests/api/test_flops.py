"""Arithmetic of a training step, by published figures."""

from __future__ import annotations

import pytest

from finetune_api.flops import flops, gpu_named, recomputed
from finetune_api.spec import ActivationCheckpointing, LoRA, Method
from shapes import FULL, LORA, SEVEN_BILLION, a_training


@pytest.mark.parametrize(
    ("method", "length", "gigaflops"),
    [
        (FULL, 2048, 44.3),
        (FULL, 4096, 45.9),
        (FULL, 8192, 49.1),
        (LORA, 2048, 30.3),
        (LORA, 4096, 31.9),
        (LORA, 8192, 35.2),
    ],
)
def test_a_token_of_mistral_7b_takes_as_much_as_by_hand(method: Method, length: int, gigaflops: float) -> None:
    found = flops(a_training(method), [length], labelled=length)
    assert found.total / length / 1e9 == pytest.approx(gigaflops, abs=0.06)


def test_a_window_bounds_what_a_token_sees() -> None:
    windowed = SEVEN_BILLION.model_copy(update={"sliding_window": 4096, "sliding_layers": 32})
    found = flops(a_training(FULL, shape=windowed), [8192], labelled=8192)
    assert found.total / 8192 / 1e9 == pytest.approx(47.5, abs=0.06)


def test_documents_do_not_see_each_other() -> None:
    one, two = (flops(a_training(), lengths, labelled=4096) for lengths in ([4096], [2048, 2048]))
    assert two.attention == pytest.approx(one.attention / 2, rel=1e-3)
    assert (two.blocks, two.head, two.adapter) == (one.blocks, one.head, one.adapter)


def test_the_head_computes_what_is_learnt() -> None:
    assert flops(a_training(), [4096], labelled=1024).head == flops(a_training(), [4096], labelled=4096).head / 4
    assert flops(a_training(has_vocabulary_head=False), [4096], labelled=1024).head == 0


def test_blocks_before_the_first_adapter_have_no_way_back() -> None:
    last = a_training(Method(lora=LoRA(rank=16, last_layers=16)))
    whole = flops(a_training(), [4096], labelled=0)
    assert flops(last, [4096], labelled=0).blocks == whole.blocks * 3 / 4


def test_recomputing_whole_blocks_is_a_forward_pass_without_the_head() -> None:
    whole = flops(a_training(FULL), [4096], labelled=4096)
    again = recomputed(a_training(FULL), [4096], ActivationCheckpointing.FULL)
    assert again == pytest.approx((whole.blocks + whole.attention) / 3)
    assert recomputed(a_training(FULL), [4096], ActivationCheckpointing.NONE) == 0
    assert recomputed(a_training(), [4096], ActivationCheckpointing.SELECTIVE) == 2 * 41_943_040 * 4096


def test_a_reference_takes_one_more_pass_forward() -> None:
    halves, alone = [2048, 2048], flops(a_training(), [2048, 2048], labelled=1000)
    reference = flops(a_training(has_reference=True), halves, labelled=1000).reference
    # Of what is frozen a pass back takes as much as one forward, of attention twice as much.
    assert reference == pytest.approx((alone.blocks + alone.head) / 2 + alone.attention / 3)
    assert alone.reference == 0
    initial = Method(lora=LoRA(rank=16, initial_adapter_uri="s3://bucket/model"))
    with_adapter = flops(a_training(initial, has_reference=True), halves, labelled=1000).reference
    assert with_adapter == pytest.approx(reference + alone.adapter / 3)


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA L4", "L4"),
        ("AMD Instinct MI300X", None),
    ],
)
def test_gpus_are_known_by_what_their_driver_calls_them(device: str, name: str | None) -> None:
    gpu = gpu_named(device)
    assert (gpu and gpu.name) == name
