"""Jobs that fit, jobs that do not, and what is advised."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from finetune_api.fit import fit, remedy, room
from finetune_api.memory import Choice
from finetune_api.spec import ActivationCheckpointing, Precision, Spec
from jobs import make_job
from shapes import SEVEN_BILLION

GIB = 1 << 30


def a_spec(**parts: Any) -> Spec:
    """LoRA in rows of 4,096 tokens on one GPU."""
    given = {"training": {"sequenceLength": 4096}, "workers": {"gpusPerNode": 1}}
    return make_job(**given | parts).spec


def fitted(spec: Spec, gib: float | None, **options: Any) -> Choice | None:
    available = None if gib is None else int(gib * GIB)
    given = {"precision": Precision.BFLOAT16, "global_batch_size": 64}
    return fit(spec, SEVEN_BILLION, available=available, **given | options)


@pytest.mark.parametrize(
    ("workers", "found"),
    [
        ({"gpusPerNode": 8, "gpuMemory": "80Gi"}, ("spec.workers.gpuMemory", 80 * GIB)),
        ({"gpusPerNode": 8, "resources": {"memory": "512Gi"}}, None),
        ({"resources": {"memory": "1.5G"}}, ("spec.workers.resources.memory", 1_500_000_000)),
        ({}, None),
    ],
)
def test_a_process_has_the_memory_that_the_spec_says(workers: dict[str, Any], found: tuple[str, int] | None) -> None:
    assert room(make_job(workers=workers).spec) == found


def test_where_nothing_is_known_the_spec_is_taken_by_its_word() -> None:
    none, full = ActivationCheckpointing.NONE, ActivationCheckpointing.FULL
    assert fitted(a_spec(), None) == Choice(zero_stage=2, activation_checkpointing=none, micro_batch_size=1)
    asked = a_spec(deepspeed={"zeroStage": 3}, memory={"microBatchSize": 4, "activationCheckpointing": "Full"})
    assert fitted(asked, None) == Choice(zero_stage=3, activation_checkpointing=full, micro_batch_size=4)
    assert fitted(asked, None, global_batch_size=2) == fitted(asked, None, limit=2)


def test_a_cpu_computes_one_row_at_a_time_unless_it_is_told() -> None:
    one = fitted(a_spec(workers={}), 512)
    assert one is not None and one.micro_batch_size == 1
    two = fitted(a_spec(workers={}, memory={"microBatchSize": 2}), 512)
    assert two is not None and two.micro_batch_size == 2


ADVICE = {
    "rows of its own": (
        {"memory": {"microBatchSize": 8, "activationCheckpointing": "Full"}},
        24,
        "spec.memory.microBatchSize: 1",
    ),
    "recomputation": ({"memory": {"activationCheckpointing": "None"}}, 24, "spec.memory.activationCheckpointing: Full"),
    "a larger stage": (
        {"deepspeed": {"zeroStage": 1}, "method": {"type": "Full"}, "workers": {"gpusPerNode": 8}},
        40,
        "spec.deepspeed.zeroStage: 2",
    ),
    "more nodes": ({"method": {"type": "Full"}, "workers": {"gpusPerNode": 8}}, 20, "spec.workers.nodes: 2"),
    "an adapter": ({"method": {"type": "Full"}}, 24, "spec.method.type: LoRA"),
    "four bits": ({"deepspeed": {"zeroStage": 2}}, 16, "spec.method.type: QLoRA"),
    "shorter rows": (
        {"method": {"type": "QLoRA"}, "training": {"sequenceLength": 32768}},
        16,
        "spec.training.sequenceLength: 16384",
    ),
    "nothing": ({"method": {"type": "QLoRA"}}, 4, None),
}


@pytest.mark.parametrize(("parts", "gib", "advice"), ADVICE.values(), ids=ADVICE)
def test_the_mildest_single_change_is_advised(parts: dict[str, Any], gib: float, advice: str | None) -> None:
    spec = a_spec(**parts)
    fits = partial(fitted, gib=gib)
    assert fits(spec) is None
    found = remedy(spec, lambda changed: fits(changed) is not None)
    assert (found and str(found)) == advice
