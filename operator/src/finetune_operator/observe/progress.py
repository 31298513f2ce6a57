"""Asks the running rank 0 of every job how far it is. Best effort: what is heard is shown and decides nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import aiohttp
from pydantic import ValidationError

from finetune_api.contract import CONTAINER, LABEL_JOB, LABEL_UID, PORT_NAME_PROGRESS
from finetune_api.progress import Progress
from finetune_operator.apply import Body, Kind, Ref
from finetune_operator.observe.memory import Memory

TIMEOUT = aiohttp.ClientTimeout(total=5)
AT_ONCE = 32
"""Questions under way at the same time."""
ANSWER_MAX = 16 * 1024
"""Bytes that are read of an answer: it comes from a container that we do not control."""
SILENCE = timedelta(seconds=60)
"""Not answering for so long is said, once."""

_INDEX = "batch.kubernetes.io/job-completion-index"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A running rank 0."""

    job: Ref
    job_uid: str
    ip: str
    port: int


def target_from(pod: Body) -> Target | None:
    """Where to ask a pod; None when it is not rank 0, or does not run, or has no port for it."""
    metadata, status = pod["metadata"], pod.get("status", {})
    labels = metadata.get("labels", {})
    running = status.get("phase") == "Running" and "deletionTimestamp" not in metadata
    if not running or labels.get(_INDEX) != "0" or not {LABEL_JOB, LABEL_UID} <= labels.keys():
        return None
    ports = (
        port["containerPort"]
        for container in pod["spec"]["containers"]
        if container["name"] == CONTAINER
        for port in container.get("ports", ())
        if port.get("name") == PORT_NAME_PROGRESS
    )
    ip, port = status.get("podIP"), next(ports, None)
    if ip is None or port is None:
        return None
    return Target(Ref(Kind.FINE_TUNE_JOB, metadata["namespace"], labels[LABEL_JOB]), labels[LABEL_UID], ip, port)


class Poller:
    """Fed by the pods that the watch shows; `run` asks them until it is cancelled."""

    def __init__(
        self,
        *,
        url: str,
        seconds: float,
        memory: Memory,
        enqueue: Callable[[Ref], None],
        now: Callable[[], datetime],
    ) -> None:
        """`url` holds `{ip}` and `{port}`."""
        self._url = url
        self._seconds = seconds
        self._memory = memory
        self._enqueue = enqueue
        self._now = now
        self._targets: dict[str, Target] = {}
        self._silent_since: dict[str, datetime] = {}
        self._said: set[str] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def pod_seen(self, pod: Body) -> None:
        """A pod was added or modified."""
        target = target_from(pod)
        if target is None:
            self.pod_gone(pod)
        else:
            self._targets[pod["metadata"]["uid"]] = target

    def pod_gone(self, pod: Body) -> None:
        self._forget(pod["metadata"]["uid"])

    async def run(self) -> None:
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            while True:
                await self.ask_all(session)
                await asyncio.sleep(self._seconds)

    async def ask_all(self, session: aiohttp.ClientSession) -> None:
        """Ask each target once."""
        await asyncio.gather(*(self._ask(session, uid, target) for uid, target in tuple(self._targets.items())))

    async def _ask(self, session: aiohttp.ClientSession, uid: str, target: Target) -> None:
        url = self._url.format(ip=f"[{target.ip}]" if ":" in target.ip else target.ip, port=target.port)
        try:
            async with self._slots:
                progress = await _progress(session, url)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._unheard(uid, target, f"{url}: {_reason(error)}")
            return
        if uid in self._said:
            logger.info("%s/%s: rank 0 answers again", target.job.namespace, target.job.name)
        self._silent_since.pop(uid, None)
        self._said.discard(uid)
        if self._targets.get(uid) == target:
            self._memory.heard(target.job.namespace, target.job_uid, progress, self._now())
            self._enqueue(target.job)

    def _unheard(self, uid: str, target: Target, reason: str) -> None:
        if self._targets.get(uid) != target:
            return
        since = self._silent_since.setdefault(uid, self._now())
        if self._now() - since >= SILENCE and uid not in self._said:
            self._said.add(uid)
            name = f"{target.job.namespace}/{target.job.name}"
            logger.warning("%s: rank 0 has not answered for %.0f s: %s", name, SILENCE.total_seconds(), reason)
            self._enqueue(target.job)

    def _forget(self, uid: str) -> None:
        self._targets.pop(uid, None)
        self._silent_since.pop(uid, None)
        self._said.discard(uid)


async def _progress(session: aiohttp.ClientSession, url: str) -> Progress:
    # A container that redirects us could make us ask addresses that only we can reach.
    async with session.get(url, allow_redirects=False, raise_for_status=True) as response:
        if response.status != 200:
            raise ValueError(f"HTTP {response.status}")
        answer = b""
        async for chunk in response.content.iter_chunked(ANSWER_MAX):
            answer += chunk
            if len(answer) > ANSWER_MAX:
                raise ValueError(f"more than {ANSWER_MAX} bytes")
        return Progress.model_validate_json(answer, extra="ignore", by_alias=True, by_name=False)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return f"not a Progress: {error.error_count()} errors, first at {'.'.join(map(str, error.errors()[0]['loc']))}"
    return str(error) or type(error).__name__
