"""What arrived between two looks: last words of pods that are gone by now, and the latest progress."""

from __future__ import annotations

from datetime import datetime

from finetune_api.progress import Progress
from finetune_operator.apply import Body
from finetune_operator.observe import Heard, PodObserved


class Memory:
    """Fed by watch events and by the progress poller, read by reconcile; one for the whole process. Holds no bodies."""

    def pod_seen(self, body: Body) -> None:
        """A pod was added or modified."""
        raise NotImplementedError

    def pod_gone(self, body: Body) -> None:
        """A pod was deleted; `body` is its last state."""
        raise NotImplementedError

    def heard(self, job_uid: str, progress: Progress, now: datetime) -> None:
        """Rank 0 of the FineTuneJob with this uid answered."""
        raise NotImplementedError

    def forget(self, job_uid: str) -> None:
        """The FineTuneJob with this uid is finished or gone."""
        raise NotImplementedError

    def pods(self, job_uid: str) -> tuple[PodObserved, ...]:
        raise NotImplementedError

    def progress(self, job_uid: str) -> Heard | None:
        raise NotImplementedError
