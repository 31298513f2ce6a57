"""What a rank tells its launcher while it works: what it is doing, how far it is, and that it is alive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from finetune_api.contract import Stage
from finetune_api.memory import Choice
from finetune_api.progress import Activity, Progress
from finetune_trainer.history import History
from finetune_trainer.pace import Pace
from finetune_trainer.packing import Batch
from finetune_trainer.progress import ProgressFile
from finetune_trainer.signs_of_life import alive
from finetune_trainer.telemetry import Moment, Reading, Start, Telemetry

_FETCHED_SECONDS = 1.0
"""Between two words about files that arrive, in hundreds of parts a second."""


class Reporter:
    """Keeps the Progress of one attempt and hands it on with every change."""

    def __init__(
        self,
        file: ProgressFile,
        attempt: int,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        memory: Callable[[], int],
    ) -> None:
        """`memory` is the most that this rank has held so far, in bytes."""
        self.progress = Progress(stage=Stage.TRAIN, attempt=attempt, activity=Activity.STARTING)
        self.beat = file.beat
        self._file = file
        self._clock = clock
        self._now = now
        self._memory = memory
        self.telemetry = Telemetry().with_moments(self._moment(Activity.STARTING))
        self._listeners: list[Callable[[Progress], None]] = []
        self._pace = Pace(clock())
        self._fetched_said = clock() - _FETCHED_SECONDS
        file.say(self.progress)

    def tell(self, listener: Callable[[Progress], None]) -> None:
        """Have `listener` hear of every change from now on."""
        self._listeners.append(listener)

    def say(self, activity: Activity, **changes: object) -> None:
        """Fields of Progress that changed beside the activity."""
        if activity is not self.progress.activity:
            self.telemetry = self.telemetry.with_moments(self._moment(activity))
        if changes.get("checkpoint_step") not in (None, self.progress.checkpoint_step):
            changes["checkpoint_time"] = self._now()
        self.progress = self.progress.model_copy(update={"activity": activity, **changes})
        self._file.say(self.progress)
        for listener in self._listeners:
            listener(self.progress)

    def gang_started(self, before: Telemetry, choice: Choice, *, step: int, world_size: int, micro_steps: int) -> None:
        """The gang stands, `step` optimizer steps are done; `before` is what its checkpoint knows of earlier starts."""
        start = Start(
            attempt=self.progress.attempt,
            step=step,
            time=self._now(),
            world_size=world_size,
            zero_stage=choice.zero_stage,
            micro_batch_size=choice.micro_batch_size,
            micro_steps=micro_steps,
            activation_checkpointing=choice.activation_checkpointing,
        )
        self.telemetry = before.with_moments(*self.telemetry.moments).with_start(start)

    def _moment(self, activity: Activity) -> Moment:
        return Moment(attempt=self.progress.attempt, activity=activity, time=self._now())

    def fetched(self, done: int, total: int) -> None:
        """Bytes of the base model that are on this node's disk by now."""
        now = self._clock()
        if done == total or now - self._fetched_said >= _FETCHED_SECONDS:
            self._fetched_said = now
            self.say(Activity.STARTING, bytes_fetched=done, bytes_total=total)

    def training_begins(self, *, step: int, total_steps: int) -> None:
        self._pace = Pace(self._clock())
        self.say(Activity.TRAINING, step=step, total_steps=total_steps)

    def step_ended(
        self,
        batch: Batch,
        history: History,
        *,
        num_tokens: int,
        forward_seconds: Sequence[float],
        seconds_at_peak: float | None,
        checkpoint_step: int | None,
    ) -> None:
        """A step of the whole gang.

        Args:
            num_tokens: of the global batch, dummies excluded.
            forward_seconds: by rank.
            seconds_at_peak: how long the GPUs would have taken at least; None where that is not known.
        """
        self._pace.step_ended(self._clock(), num_tokens, seconds_at_peak)
        point, memory, speed = history.last, self._memory(), self._pace.tokens_per_second
        self.telemetry = self.telemetry.with_reading(
            Reading(step=point.step, time=self._now(), tokens_per_second=speed or 0.0, memory_bytes=memory)
        )
        self.say(
            Activity.TRAINING,
            step=point.step,
            epoch=batch.epoch + batch.epoch_done,
            loss=point.loss,
            validation_loss=history.validation_loss,
            learning_rate=point.learning_rate,
            gradient_norm=point.gradient_norm,
            tokens_per_second=speed,
            mfu=self._pace.utilisation,
            memory_bytes=memory,
            slowest_rank=forward_seconds.index(max(forward_seconds)),
            seconds_left=self._pace.seconds_left((self.progress.total_steps or point.step) - point.step),
            checkpoint_step=checkpoint_step,
        )

    def alive(self) -> AbstractContextManager[None]:
        """To be held around waits that have limits of their own: the store's and the gang's."""
        return alive(self.beat)
