"""An attempt's own Job and pods among everything that was observed."""

from __future__ import annotations

from finetune_api.status import Attempt
from finetune_operator.observe import JobObserved, Observed, PodObserved


def job_of(attempt: Attempt, observed: Observed) -> JobObserved | None:
    return next((job for job in observed.jobs if job.name == attempt.job_name), None)


def pods_of(attempt: Attempt, observed: Observed) -> tuple[PodObserved, ...]:
    """The attempt's pods by index, of each index the newest: a queue stops and starts the same Job."""
    pods = [pod for pod in observed.pods if (pod.stage, pod.attempt) == (attempt.stage, attempt.number)]
    newest = {pod.index: pod for pod in sorted(pods, key=lambda pod: (pod.creation_time, not pod.gone))}
    return tuple(newest[index] for index in sorted(newest))


def runs(job: JobObserved, pods: tuple[PodObserved, ...]) -> bool:
    """Whether every pod of the gang runs, or has run."""
    return sum(pod.started and not pod.gone for pod in pods) == job.completions
