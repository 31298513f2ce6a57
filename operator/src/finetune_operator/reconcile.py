"""One look at one FineTuneJob and everything that follows from it: observe, decide, render, apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError

from finetune_api.job import FineTuneJob, Metadata
from finetune_api.status import Status
from finetune_operator.apply import AlreadyExists, Body, Cluster, Conflict, Kind, Manifest, Ref, Rejected
from finetune_operator.decide import attempts, cleanup, deadlines, lifecycle, phases
from finetune_operator.decide.conditions import is_finished
from finetune_operator.decide.phases import Outcome
from finetune_operator.decide.uris import local_uri
from finetune_operator.events import moments, newer_status
from finetune_operator.observe import Observed, Refusal
from finetune_operator.observe.bodies import AnyBody
from finetune_operator.observe.look import is_owned, observe
from finetune_operator.observe.memory import Memory
from finetune_operator.observe.spec import unreadable
from finetune_operator.render import render
from finetune_operator.settings import Settings

_LOOK_AGAIN = 1.0

Rivals = Callable[[FineTuneJob], tuple[Ref, ...]]


async def reconcile(
    ref: Ref,
    cluster: Cluster,
    settings: Settings,
    now: datetime,
    memory: Memory,
    rivals: Rivals = lambda _: (),
) -> float | None:
    """Bring the cluster one step closer to what the FineTuneJob asks for.

    Args:
        rivals: other unfinished FineTuneJobs with the same output, as far as they are known.

    Returns after how many seconds to look again even when nothing happens. Raises Unavailable.
    """
    try:
        return await _look(ref, cluster, settings, now.replace(microsecond=0), memory, rivals)
    except Conflict:
        return _LOOK_AGAIN


async def _look(
    ref: Ref, cluster: Cluster, settings: Settings, now: datetime, memory: Memory, rivals: Rivals
) -> float | None:
    body = await cluster.get(ref)
    if body is None:
        return None
    metadata = Metadata.parse(body["metadata"], ignore_unknown=True)
    if metadata.deletion_timestamp is not None:
        return None  # the garbage collector takes the children along
    try:
        job = FineTuneJob.observed(body)
    except ValidationError as error:
        await _explain(body, metadata, error, cluster, now, memory)
        return None
    memory.expect(metadata.namespace, metadata.uid)
    observed = replace(await observe(job, cluster, memory, kueue=settings.kueue), rivals=rivals(job))
    job, body = await _decide(job, body, observed, cluster, settings, now)
    await _delete(job, observed, cluster, now)
    observed = replace(observed, refusal=await _create(job, observed, cluster, settings))
    if observed.refusal is not None:
        job, body = await _decide(job, body, observed, cluster, settings, now)
    if is_finished(job.status):
        memory.forget(job.metadata.uid)
    return deadlines.next_look(job, observed, now)


async def _explain(
    body: Body, metadata: Metadata, error: ValidationError, cluster: Cluster, now: datetime, memory: Memory
) -> None:
    """Say what of the object cannot be read. One with a status that a newer operator wrote is left as it is."""
    try:
        before = Status.parse(body.get("status", {}), ignore_unknown=True)
    except ValidationError as in_status:
        event = newer_status(unreadable(in_status))
        if memory.is_news(metadata.namespace, metadata.uid, event.message):
            await cluster.post_event(body, event)
        return
    if not is_finished(before):
        await _write(body, before, phases.invalid(metadata, before, unreadable(error), now), cluster)


async def _decide(
    job: FineTuneJob, body: Body, observed: Observed, cluster: Cluster, settings: Settings, now: datetime
) -> tuple[FineTuneJob, Body]:
    """The intent is written before anything is done about it, and only onto the object that it was derived from."""
    failure = None if settings.local_files or is_finished(job.status) else local_uri(job.spec)
    if failure is not None:
        status = lifecycle.finished(job, Outcome.failed(failure), now)
    else:
        status = lifecycle.next_status(job, observed, now)
    if _is_worth_writing(job.status, status, settings):
        body = await _write(body, job.status, status, cluster)
    return lifecycle.with_status(job, status), body


async def _write(body: Body, before: Status, status: Status, cluster: Cluster) -> Body:
    if status == before:
        return body
    metadata = body["metadata"]
    ref = Ref(Kind.FINE_TUNE_JOB, metadata["namespace"], metadata["name"])
    written = await cluster.write_status(ref, status.to_json(), resource_version=metadata["resourceVersion"])
    for event in moments(before, status):
        await cluster.post_event(written, event)
    return written


async def _delete(job: FineTuneJob, observed: Observed, cluster: Cluster, now: datetime) -> None:
    namespace = job.metadata.namespace
    for child in cleanup.surplus(job, observed):
        await cluster.delete(Ref(child.kind, namespace, child.name), uid=child.uid)
    for pod in cleanup.stuck(observed, now):
        await cluster.delete(Ref(Kind.POD, namespace, pod.name), uid=pod.uid, grace_seconds=0)


async def _create(job: FineTuneJob, observed: Observed, cluster: Cluster, settings: Settings) -> Refusal | None:
    """The first refusal ends it: a Job without its ConfigMap would only wait."""
    if attempts.lost_its_job(job.status, observed):
        return None
    present = {(Kind.JOB, child.name) for child in observed.jobs}
    present |= {(child.ref.kind, child.ref.name) for child in observed.others}
    for manifest in render(job, settings):
        ref = Ref(_kind(manifest), job.metadata.namespace, manifest["metadata"]["name"])
        if (ref.kind, ref.name) in present:
            continue
        try:
            await cluster.create(manifest)
        except AlreadyExists as error:
            holder = await cluster.get(ref)
            # Gone again, or ours and made since we looked: the next look finds out.
            if holder is not None and not is_owned(AnyBody.parse(holder, ignore_unknown=True), job):
                return Refusal(kind=ref.kind, name=ref.name, message=str(error), taken=True)
        except Rejected as error:
            return Refusal(kind=ref.kind, name=ref.name, message=str(error), taken=False)
    return None


def _kind(manifest: Manifest) -> Kind:
    return next(kind for kind in Kind if kind.kind == manifest["kind"])


def _is_worth_writing(before: Status, status: Status, settings: Settings) -> bool:
    """Progress alone is written only so often: every write is a watch event for everybody."""
    if before.progress_time is None or status.progress_time is None:
        return True
    silent = {"progress": None, "progress_time": None, "checkpoint": None}
    if before.model_copy(update=silent) != status.model_copy(update=silent):
        return True
    return (status.progress_time - before.progress_time).total_seconds() >= settings.progress_seconds
