"""What pods take of their nodes: Mistral 7B, trained whole and by an adapter."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_api.fit import shortage
from finetune_api.host import host_memory, scratch
from finetune_api.memory import PROCESS, Training
from finetune_api.spec import Precision, Spec
from jobs import make_job
from shapes import SEVEN_BILLION

P = 7_248_023_552
FULL = {"method": {"type": "Full"}}
EIGHT = {"gpusPerNode": 8}


def a_spec(**parts: Any) -> Spec:
    return make_job(**{"model": {"uri": "s3://models/7b"}, "workers": EIGHT} | parts).spec


def taken(spec: Spec) -> tuple[int, int]:
    training = Training.of(spec, SEVEN_BILLION, Precision.BFLOAT16)
    return host_memory(spec, training), scratch(spec, training)


@pytest.mark.parametrize("nodes", [1, 2, 8])
def test_the_nodes_share_a_checkpoint_of_twelve_bytes_a_trained_weight(nodes: int) -> None:
    memory, room = taken(a_spec(**FULL, workers={"nodes": nodes, **EIGHT}))
    assert memory == pytest.approx(8 * PROCESS + 12 * P / nodes + 5e9)
    # On many nodes what is published is more, and one of them writes it.
    assert room == pytest.approx(2 * P + max(12 * P / nodes, 2 * P))


def test_an_adapter_takes_little_unless_it_is_merged() -> None:
    spec = a_spec(output={"uri": "s3://models/answers", "merge": True})
    memory, room = taken(spec)
    assert memory == pytest.approx(8 * PROCESS + 5e9, rel=0.1)
    assert room == pytest.approx(4 * P, rel=0.1)
    memory, room = taken(a_spec())
    assert (memory, room) == pytest.approx((8 * PROCESS, 2 * P), rel=0.1)


def test_a_model_of_this_machine_takes_no_room() -> None:
    there = a_spec(**FULL, model={"uri": "file:///models/7b"})
    assert taken(a_spec(**FULL))[1] - taken(there)[1] == 2 * P


SHORT = {
    "memory": ({**EIGHT, "resources": {"memory": "64Gi"}}, "memory: training takes 91.7 GiB", "64.0 GiB", "92Gi"),
    "scratch": ({**EIGHT, "resources": {"scratch": "90Gi"}}, "scratch: training takes 94.5 GiB", "90.0 GiB", "95Gi"),
    "without GPUs": ({"resources": {"scratch": "90G"}}, "scratch: training takes 94.5 GiB", "83.8 GiB", "95Gi"),
}


@pytest.mark.parametrize(("workers", "needed", "there", "enough"), SHORT.values(), ids=SHORT)
def test_too_little_of_it_is_refused_and_how_much_would_do_is_said(
    workers: dict[str, Any], needed: str, there: str, enough: str
) -> None:
    spec = a_spec(**FULL, workers=workers)
    found = shortage(spec, SEVEN_BILLION, precision=Precision.BFLOAT16, global_batch_size=64)
    assert found is not None and found.remedy is not None
    place = f"spec.workers.resources.{needed.partition(':')[0]}"
    assert (found.field, str(found)) == (
        place,
        f"spec.workers.resources.{needed} at least, and there are {there}; {place}: {enough} makes it fit",
    )
    assert shortage(found.remedy.spec, SEVEN_BILLION, precision=Precision.BFLOAT16, global_batch_size=64) is None
