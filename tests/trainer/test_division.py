"""What is chosen of how the work is divided, and the words of a GPU that ran out of memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from finetune_api.contract import ExitCode, Stage
from finetune_api.result import MicroBatch
from finetune_api.snapshot import Snapshot
from finetune_api.spec import ActivationCheckpointing
from finetune_trainer.failures import StageFailed
from jobs import make_job
from results import PREPARED, but
from shapes import SEVEN_BILLION

if TYPE_CHECKING:
    from finetune_trainer.division import Division


def a_snapshot(limit: int | None = None, halvings: int = 1, **spec: Any) -> Snapshot:
    given = {"training": {"sequenceLength": 4096}} | spec
    job = make_job(**given)
    return Snapshot(
        name="triage",
        namespace="ml",
        uid="uid-1",
        stage=Stage.TRAIN,
        attempt=1,
        spec=job.spec,
        prepared=PREPARED,
        micro_batch=None if limit is None else MicroBatch(tried=2 * limit, fits=limit, halvings=halvings),
    )


def divided(snapshot: Snapshot, world_size: int = 1, *, rows: int = 8) -> Division:
    import torch

    from finetune_trainer.division import divide

    gang: Any = SimpleNamespace(device=torch.device("cpu"), world_size=world_size)
    return divide(snapshot, SEVEN_BILLION, but(PREPARED.resolved, global_batch_size=rows), gang)


def a_division(rows: int, **changes: Any) -> Division:
    from finetune_trainer.division import Division

    given: dict[str, Any] = {
        "zero_stage": 2,
        "activation_checkpointing": ActivationCheckpointing.NONE,
        "micro_batch_size": rows,
        "micro_steps": 8 // rows,
    }
    return Division(**given | changes)


def test_where_nothing_is_known_of_memory_rows_are_computed_one_by_one() -> None:
    assert divided(a_snapshot()) == a_division(1)
    assert divided(a_snapshot(), 3) == a_division(1, micro_steps=3)


def test_what_the_spec_says_is_done_short_of_dummies_and_of_what_did_not_fit() -> None:
    asked = {"memory": {"microBatchSize": 16}, "deepspeed": {"zeroStage": 1}}
    assert divided(a_snapshot(**asked)) == a_division(8, zero_stage=1)
    assert divided(a_snapshot(2, **asked)) == a_division(2, zero_stage=1)


def test_a_pod_s_memory_decides_what_is_recomputed() -> None:
    assert divided(a_snapshot(workers={"resources": {"memory": "512Gi"}})) == a_division(1, zero_stage=1)
    small = divided(a_snapshot(workers={"resources": {"memory": "20Gi"}}))
    assert small.activation_checkpointing is ActivationCheckpointing.FULL


def test_an_estimate_alone_refuses_nobody_who_is_there_already() -> None:
    found = divided(a_snapshot(4, workers={"resources": {"memory": "1Gi"}}, memory={"microBatchSize": 8}))
    assert (found.micro_batch_size, found.activation_checkpointing) == (4, ActivationCheckpointing.FULL)


def out_of_memory(rows: int, *, nccl: str | None = None, **before: int) -> StageFailed:
    """What is told of a GPU without memory, or of NCCL with this last error."""
    import torch
    import torch.distributed as dist

    from finetune_trainer.division import telling_what_fits

    in_nccl = dist.DistBackendError(f"NCCL error: unhandled cuda error, NCCL version 2.27.5\nLast error:\n{nccl}")
    error = torch.cuda.OutOfMemoryError("CUDA out of memory") if nccl is None else in_nccl
    snapshot = a_snapshot(workers={"gpusPerNode": 1}, **before)
    with (
        pytest.raises(StageFailed) as raised,
        telling_what_fits(snapshot, SEVEN_BILLION, PREPARED.resolved, a_division(rows)),
    ):
        raise error
    return raised.value


@pytest.mark.parametrize(
    "last_error", [None, "Cuda failure 2 'out of memory'", "Failed to CUDA calloc async 608 bytes"]
)
def test_half_is_tried_of_rows_that_did_not_fit_whoever_asked_for_the_memory(last_error: str | None) -> None:
    failed = out_of_memory(5, nccl=last_error)
    assert (failed.exit_code, failed.failure.reason) == (ExitCode.RETRY, "MicroBatchTooLarge")
    assert failed.micro_batch == MicroBatch(tried=5, fits=2, halvings=1)


def test_what_did_not_fit_after_three_halvings_either_ends_the_job_with_what_to_change() -> None:
    third, fourth = out_of_memory(16, limit=16, halvings=2), out_of_memory(8, limit=8, halvings=3)
    assert third.micro_batch == MicroBatch(tried=16, fits=8, halvings=3)
    assert (fourth.exit_code, fourth.failure.reason) == (ExitCode.GPU_OUT_OF_MEMORY, "GpuOutOfMemory")
    assert (fourth.micro_batch, fourth.failure.field) == (None, "spec.memory.microBatchSize")
    assert "over 8 rows of 4096 tokens" in fourth.failure.message


def test_one_row_that_does_not_fit_ends_the_job_with_what_was_needed_and_what_to_change() -> None:
    failed = out_of_memory(1)
    assert (failed.exit_code, failed.failure.reason) == (ExitCode.GPU_OUT_OF_MEMORY, "GpuOutOfMemory")
    assert (failed.micro_batch, failed.failure.field) == (None, "spec.memory.activationCheckpointing")
    assert "over 1 row of 4096 tokens, which were expected to take 39.8 GiB with ZeRO 2 and" in failed.failure.message
    assert failed.failure.message.endswith(": try spec.memory.activationCheckpointing: Full")


def test_what_is_no_lack_of_memory_is_left_alone() -> None:
    import torch.distributed as dist

    from finetune_trainer.division import telling_what_fits

    for kind in (RuntimeError, dist.DistBackendError):
        with (
            pytest.raises(kind, match=r"^peer gone$"),
            telling_what_fits(a_snapshot(), SEVEN_BILLION, PREPARED.resolved, a_division(1)),
        ):
            raise kind("peer gone")
