"""The training loop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor

from finetune_api.result import Resolved
from finetune_api.spec import Training
from finetune_trainer.checkpoint.layout import Skipped
from finetune_trainer.divergence import Diverged, refuse_divergence
from finetune_trainer.division import Division
from finetune_trainer.early_stopping import is_over, judged
from finetune_trainer.gang import Gang
from finetune_trainer.history import History, Point, Score
from finetune_trainer.packing import Batch, batches, micro_batches
from finetune_trainer.prepared import Documents
from finetune_trainer.schedule import learning_rate
from finetune_trainer.stopping import stopped
from finetune_trainer.stopwatch import Stopwatch
from finetune_trainer.telemetry import Telemetry
from finetune_trainer.tokens import tokens_of

log = logging.getLogger(__name__)


class Checkpoints(Protocol):
    """Where the loop leaves what a resume needs. Collective, but for `busy` and `skipped`."""

    @property
    def busy(self) -> bool:
        """Whether this rank is still uploading the last one."""

    @property
    def skipped(self) -> tuple[Skipped, ...]: ...

    def poll(self) -> None: ...

    def save(self, step: int, state: Mapping[str, Any], /, *, best_step: int | None = None) -> None: ...

    def finish(self) -> None: ...

    def roll_back(self, suspects: range, reason: str, /) -> tuple[int, Mapping[str, Any]]: ...

    def restore(self, step: int, /) -> None: ...


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
    report: Callable[[Batch, int, History, Sequence[float]], None]
    """After a step of so many tokens, whose forward passes took each rank so many seconds."""
    telemetry: Callable[[], Telemetry]
    """What of the clock's is to be kept with a checkpoint: no decision reads it."""


def train(
    engine: Any, documents: Documents, course: Course, at: Surroundings, *, done: int, history: History
) -> History:
    """Take the steps of the plan after `done`, and leave the weights that are to be published in the engine.

    The last step is validated, and its checkpoint under way. Where training goes wrong it goes back, once for all
    starts of the run, and the steps that led there are left out.

    Raises StageFailed: `Diverged`, or `Stopped` when every rank was told to stop and the checkpoint of it counts.
    """
    while True:
        try:
            history = _take_steps(engine, documents, course, at, done=done, history=history)
            break
        except Diverged as diverged:
            # Where most of the run would be left out there is nothing to be said for what remains.
            if history.skipped or 2 * len(diverged.suspects) > course.resolved.total_steps:
                raise
            with at.waiting():
                done, state = at.checkpoints.roll_back(diverged.suspects, diverged.what)
            history = history_of(state, at.checkpoints.skipped)
            skipped = history.skipped[-1]
            log.warning("%s; back to step %d, steps %d to %d are left out", diverged, done, skipped.first, skipped.last)
    if history.published_step != history.last.step:
        with at.waiting():
            at.checkpoints.restore(history.published_step)
    return history


def _take_steps(
    engine: Any, documents: Documents, course: Course, at: Surroundings, *, done: int, history: History
) -> History:
    """Until the plan or the patience ends. Raises as `train`, and Diverged."""
    gang, early_stopping = at.gang, course.training.early_stopping
    last = _last_step(course, history)
    if last is None:  # the base model itself would be published
        raise Diverged(history.skipped[-1].last, history.skipped[-1].reason)
    if done == last and (history.last_validation is None or history.last_validation.step != last):
        history = _validated(last, history, course, at)  # it became the last when those after it were left out
    saved = at.clock()
    for step, batch in _steps_after(done, documents, course, history):
        if early_stopping is not None and is_over(history, early_stopping):
            break  # before this start already
        rate = _set_learning_rate(engine, course, step)
        num_items = int(documents.items[batch.documents].sum())
        loss, forward_seconds = _step(engine, documents, course.division, at, batch, step=step, num_items=num_items)

        due = gang.rank == 0 and at.clock() - saved >= course.checkpoint_seconds and not at.checkpoints.busy
        own_seconds = (forward_seconds * (rank == gang.rank) for rank in range(gang.world_size))
        total, num_stopping, due_somewhere, *seconds = gang.sum([loss, at.stopping(), due, *own_seconds])
        norm = float(engine.get_global_grad_norm()) if engine.was_step_applied() else math.inf
        point = Point(step=step, loss=total / num_items, learning_rate=rate, gradient_norm=norm)
        history = history.with_point(point)
        refuse_divergence(step, history.recent, point.loss, norm)
        at.checkpoints.poll()

        if step == last or step % course.validate_every == 0:
            history = _validated(step, history, course, at)
        ends = step == last or (early_stopping is not None and is_over(history, early_stopping))
        stops_here = num_stopping == gang.world_size and not ends
        best_step = None if history.best is None else history.best.step
        if due_somewhere or ends or stops_here or best_step == step:
            with at.waiting():
                at.checkpoints.save(step, state_of(history, at.telemetry()), best_step=best_step)
                if stops_here:
                    at.checkpoints.finish()
            saved = at.clock()
        at.report(batch, int(documents.lengths[batch.documents].sum()), history, seconds)
        if stops_here:
            raise stopped(gang, step)
        if ends:
            break
    return history


def _validated(step: int, history: History, course: Course, at: Surroundings) -> History:
    """With the score of this step, where there is anything to validate with. Raises Diverged."""
    if (score := at.validate()) is None:
        return history
    refuse_divergence(step, (), score.loss)
    history, rule = history.with_validation(step, score), course.training.early_stopping
    return history if rule is None else judged(history, rule.metric)


def state_of(history: History, telemetry: Telemetry) -> dict[str, Any]:
    """What a checkpoint keeps of them."""
    return {"history": history.to_json(), "telemetry": telemetry.to_json()}


def history_of(state: Mapping[str, Any], skipped: tuple[Skipped, ...]) -> History:
    """As it was saved, and what is skipped as it is known now."""
    return History.parse(state["history"]).model_copy(update={"skipped": skipped})


def _steps_after(done: int, documents: Documents, course: Course, history: History) -> Iterator[tuple[int, Batch]]:
    training = course.training
    plan = batches(
        documents.lengths,
        sequence_length=training.sequence_length,
        global_batch_size=course.resolved.global_batch_size,
        seed=training.seed,
        epochs=training.epochs,
    )
    steps = islice(enumerate(plan, 1), done, course.resolved.total_steps)
    return ((step, batch) for step, batch in steps if not history.skips(step))


def _last_step(course: Course, history: History) -> int | None:
    """None where none is left."""
    steps = range(course.resolved.total_steps, 0, -1)
    return next((step for step in steps if not history.skips(step)), None)


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


def _step(
    engine: Any,
    documents: Documents,
    division: Division,
    at: Surroundings,
    batch: Batch,
    *,
    step: int,
    num_items: int,
) -> tuple[float, float]:
    """One optimizer step on the batch's mean loss; this rank's part of the summed loss, and of the seconds for it."""
    engine.module.in_flight.step = step
    share = micro_batches(
        batch.rows,
        micro_steps=division.micro_steps,
        micro_batch_size=division.micro_batch_size,
        rank=at.gang.rank,
        world_size=at.gang.world_size,
    )
    forward = Stopwatch(at.gang.device)
    losses: list[Tensor] = []
    for rows in share:
        tokens = tokens_of(documents, rows, at.gang.device)
        with forward.running():
            summed = engine(tokens)
        # The engine averages over ranks: the mean over the global batch is this rank's sum times ranks over items.
        engine.backward(summed * (at.gang.world_size / num_items), scale_wrt_gas=False)
        losses.append(summed.detach())
        # The last of them updates the weights, whatever the loss: only what is taken back is found out afterwards, and
        # gradients that were not used would be part of the next step.
        engine.step()
        at.beat()
    # Read once, when all is queued: reading waits for the device.
    return float(torch.stack(losses).double().sum()), forward.read()
