"""What arrived between two looks: last words of pods that are gone by now, and the latest progress."""

from __future__ import annotations

from datetime import datetime

from finetune_api.contract import Stage
from finetune_api.progress import Progress
from finetune_operator.apply import Body
from finetune_operator.observe import Heard, PodObserved
from finetune_operator.observe.bodies import PodBody, origin_of
from finetune_operator.observe.pods import pod_from


class Memory:
    """Fed by watch events and by the progress poller, read by reconcile; one for the whole process. Holds no bodies.

    Of each FineTuneJob only the pods of its latest attempt are kept.
    """

    def __init__(self) -> None:
        self._pods: dict[str, dict[str, PodObserved]] = {}
        self._progress: dict[str, Heard] = {}

    def pod_seen(self, body: Body) -> None:
        """A pod was added or modified."""
        self._keep(body, gone=False)

    def pod_gone(self, body: Body) -> None:
        """A pod was deleted; `body` is its last state."""
        self._keep(body, gone=True)

    def heard(self, job_uid: str, progress: Progress, now: datetime) -> None:
        """Rank 0 of the FineTuneJob with this uid answered."""
        self._progress[job_uid] = Heard(progress=progress, time=now)

    def forget(self, job_uid: str) -> None:
        """The FineTuneJob with this uid is finished or gone."""
        self._pods.pop(job_uid, None)
        self._progress.pop(job_uid, None)

    def pods(self, job_uid: str) -> tuple[PodObserved, ...]:
        """As they were last seen; one that is listed no more is gone."""
        return tuple(self._pods.get(job_uid, {}).values())

    def progress(self, job_uid: str) -> Heard | None:
        return self._progress.get(job_uid)

    def _keep(self, body: Body, *, gone: bool) -> None:
        pod = PodBody.parse(body, ignore_unknown=True)
        origin = origin_of(pod.metadata)
        # Only a pod that is ending can be missing from the next list.
        if origin is None or not (
            gone or pod.metadata.deletion_timestamp or pod.status.phase in ("Succeeded", "Failed")
        ):
            return
        seen = pod_from(pod, origin, gone=gone)
        kept = self._pods.get(origin.job_uid, {})
        latest = max((_order(each) for each in kept.values()), default=_order(seen))
        if _order(seen) > latest:
            kept = {}
        if _order(seen) >= latest:
            self._pods[origin.job_uid] = {**kept, seen.uid: seen}


def _order(pod: PodObserved) -> tuple[bool, int]:
    return (pod.stage is Stage.TRAIN, pod.attempt)
