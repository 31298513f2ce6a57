"""What arrived between two looks: last words of pods that are gone by now, and the latest progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from finetune_api.contract import Stage
from finetune_api.progress import Progress
from finetune_operator.apply import Body
from finetune_operator.observe import Heard, PodObserved
from finetune_operator.observe.bodies import PodBody, origin_of
from finetune_operator.observe.pods import pod_from


@dataclass
class _Remembered:
    """Of one FineTuneJob."""

    namespace: str
    pods: dict[str, PodObserved] = field(default_factory=dict)
    heard: Heard | None = None
    said: str = ""


class Memory:
    """Fed by watch events and by the progress poller, read by reconcile; one for the whole process. Holds no bodies.

    Of each expected FineTuneJob only the pods of its latest attempt are kept, and of nobody else anything: labels
    can be forged, and pods end after the FineTuneJob that is forgotten.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, _Remembered] = {}

    def expect(self, namespace: str, job_uid: str) -> None:
        """The FineTuneJob with this uid exists."""
        self._jobs.setdefault(job_uid, _Remembered(namespace))

    def is_news(self, namespace: str, job_uid: str, message: str) -> bool:
        """Whether this was not the last thing that was said of the FineTuneJob in this way."""
        job = self._jobs.setdefault(job_uid, _Remembered(namespace))
        news, job.said = job.said != message, message
        return news

    def forget(self, job_uid: str) -> None:
        """The FineTuneJob with this uid is finished or gone."""
        self._jobs.pop(job_uid, None)

    def pod_seen(self, body: Body) -> None:
        """A pod was added or modified."""
        self._keep(body, gone=False)

    def pod_gone(self, body: Body) -> None:
        """A pod was deleted; `body` is its last state."""
        self._keep(body, gone=True)

    def heard(self, namespace: str, job_uid: str, progress: Progress, now: datetime) -> None:
        """A pod in this namespace answered that said to be rank 0 of the FineTuneJob with this uid."""
        if job := self._job(namespace, job_uid):
            job.heard = Heard(progress=progress, time=now)

    def pods(self, job_uid: str) -> tuple[PodObserved, ...]:
        """As they were last seen; one that is listed no more is gone."""
        job = self._jobs.get(job_uid)
        return tuple(job.pods.values()) if job else ()

    def progress(self, job_uid: str) -> Heard | None:
        job = self._jobs.get(job_uid)
        return job.heard if job else None

    def _keep(self, body: Body, *, gone: bool) -> None:
        pod = PodBody.parse(body, ignore_unknown=True)
        origin = origin_of(pod.metadata)
        job = self._job(pod.metadata.namespace, origin.job_uid) if origin else None
        # Only a pod that is ending can be missing from the next list.
        is_ending = gone or pod.metadata.deletion_timestamp or pod.status.phase in ("Succeeded", "Failed")
        if origin is None or job is None or not is_ending:
            return
        seen = pod_from(pod, origin, gone=gone)
        latest = max((_order(each) for each in job.pods.values()), default=_order(seen))
        if _order(seen) > latest:
            job.pods.clear()
        if _order(seen) >= latest:
            job.pods = {uid: each for uid, each in job.pods.items() if not _replaced(each, seen)} | {seen.uid: seen}

    def _job(self, namespace: str, job_uid: str) -> _Remembered | None:
        job = self._jobs.get(job_uid)
        return job if job is not None and job.namespace == namespace else None


def _order(pod: PodObserved) -> tuple[bool, int]:
    return (pod.stage is Stage.TRAIN, pod.attempt)


def _replaced(earlier: PodObserved, later: PodObserved) -> bool:
    """Whether one took the place of the other in a Job, which a queue stops and starts any number of times."""
    same_place = (earlier.job_uid, earlier.index) == (later.job_uid, later.index)
    return same_place and earlier.creation_time < later.creation_time
