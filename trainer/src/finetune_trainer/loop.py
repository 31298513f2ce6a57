"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor

from finetune_api.contract import ExitCode
from finetune_api.result import Resolved
from finetune_api.spec import Training
from finetune_trainer.engine import Division
from finetune_trainer.failures import StageFailed
from finetune_trainer.gang import Gang
from finetune_trainer.history import History, Point, Score
from finetune_trainer.packing import Batch, batches, micro_batches
from finetune_trainer.prepared import Documents
from finetune_trainer.schedule import learning_rate
from finetune_trainer.stopping import stopped
from finetune_trainer.tokens import tokens_of


class Checkpoints(Protocol):
    """Where the loop leaves what a resume needs. Collective, but for `busy`."""

    @property
    def busy(self) -> bool:
        """Whether this rank is still uploading the last one."""

    def poll(self) -> None: ...

    def save(self, step: int, state: dict[str, Any], /) -> None: ...

    def finish(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is done at which step."""

    training: Training
    resolved: Resolved
    division: Division
    validate_every: int
    """Optimizer steps."""
    checkpoint_seconds: float


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Everything the loop talks to beside the engine."""

    gang: Gang
    checkpoints: Checkpoints
    clock: Callable[[], float]
    """Seconds, monotonic; only rank 0's decides anything."""
    stopping: Callable[[], bool]
    """Whether this rank was told to stop."""
    validate: Callable[[], Score | None]
    beat: Callable[[], None]
    waiting: Callable[[], AbstractContextManager[None]]
    """Held while a checkpoint may wait for the store, which is no hang."""
    report: Callable[[Batch, int, History], None]
    """After a step of so many tokens."""


def train(
    engine: Any, documents: Documents, course: Course, at: Surroundings, *, done: int, history: History
) -> History:
    """Take the optimizer steps `done` + 1 to `total_steps`. The last is validated, and its checkpoint under way.

    Raises StageFailed: `Diverged`, or `Stopped` when every rank was told to stop and the checkpoint of it counts.
    """
    gang, training, total_steps = at.gang, course.training, course.resolved.total_steps
    saved = at.clock()
    plan = batches(
        documents.lengths,
        sequence_length=training.sequence_length,
        global_batch_size=course.resolved.global_batch_size,
        seed=training.seed,
        epochs=training.epochs,
    )
    for step, batch in islice(enumerate(plan, 1), done, total_steps):
        rate = _set_learning_rate(engine, course, step)
        num_trained = sum(int(documents.trained[list(row)].sum()) for row in batch.rows)
        loss = _accumulate(engine, documents, course.division, at, batch, step=step, num_trained=num_trained)

        due = gang.rank == 0 and at.clock() - saved >= course.checkpoint_seconds and not at.checkpoints.busy
        total, num_stopping, due_somewhere = gang.sum([loss, at.stopping(), due])
        refuse_divergence(math.isfinite(total), step)
        engine.step()
        # The engine skips a step whose gradients are not finite; every rank sees the same.
        refuse_divergence(engine.was_step_applied(), step)
        norm = float(engine.get_global_grad_norm())
        point = Point(step=step, loss=total / num_trained, learning_rate=rate, gradient_norm=norm)
        history = history.with_point(point)
        at.checkpoints.poll()

        is_last = step == total_steps
        stops_here = num_stopping == gang.world_size and not is_last
        if (is_last or step % course.validate_every == 0) and (score := at.validate()) is not None:
            refuse_divergence(math.isfinite(score.loss), step)
            history = history.with_validation(step, score)
        if due_somewhere or is_last or stops_here:
            with at.waiting():
                at.checkpoints.save(step, history.to_json())
                if stops_here:
                    at.checkpoints.finish()
            saved = at.clock()
        at.report(batch, sum(int(documents.lengths[list(row)].sum()) for row in batch.rows), history)
        if stops_here:
            raise stopped(gang, step)
    return history


def _set_learning_rate(engine: Any, course: Course, step: int) -> float:
    rate = learning_rate(
        step,
        peak=course.resolved.learning_rate,
        warmup_steps=course.resolved.warmup_steps,
        decay_steps=course.resolved.decay_steps,
        total_steps=course.resolved.total_steps,
        schedule=course.training.schedule,
    )
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    return rate


def _accumulate(
    engine: Any,
    documents: Documents,
    division: Division,
    at: Surroundings,
    batch: Batch,
    *,
    step: int,
    num_trained: int,
) -> float:
    """Gradients of the batch's mean loss, short of the optimizer step; this rank's part of the summed loss."""
    engine.module.in_flight.step = step
    share = micro_batches(
        batch.rows,
        micro_steps=division.micro_steps,
        micro_batch_size=division.micro_batch_size,
        rank=at.gang.rank,
        world_size=at.gang.world_size,
    )
    losses: list[Tensor] = []
    for micro_step, rows in enumerate(share, 1):
        summed = engine(tokens_of(documents, rows, at.gang.device))
        # The engine averages over ranks: the mean over the global batch is this rank's sum times ranks over tokens.
        engine.backward(summed * (at.gang.world_size / num_trained), scale_wrt_gas=False)
        losses.append(summed.detach())
        if micro_step < division.micro_steps:
            engine.step()
        at.beat()
    # Read once, not after every micro step: reading waits for the device.
    return float(torch.stack(losses).double().sum())


def refuse_divergence(is_finite: bool, step: int) -> None:
    """Raises StageFailed unless what was measured at this step is a number. Every rank has measured the same."""
    if not is_finite:
        raise StageFailed(
            ExitCode.DIVERGED,
            "Diverged",
            f"the loss or its gradient is no longer finite at step {step}: try a smaller learning rate or more warm-up",
            field="spec.training.learningRate",
        )
