"""What Prometheus reads. Few series: no label ever holds the name of a job."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from finetune_operator.apply import Kind, Ref
from finetune_operator.listing import WATCHED

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """One registry of its own; `registry` is what is served."""

    def __init__(
        self,
        *,
        queue_depth: Callable[[], int],
        longest_work: Callable[[], float],
        lease_held: Callable[[], bool],
        phases: Callable[[], Iterable[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        ProcessCollector(registry=self.registry)
        self._reconciles = Histogram(
            "finetune_operator_reconcile_seconds",
            "Time that one pass over one FineTuneJob took, by how it ended.",
            ["outcome"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._watched = Counter(
            "finetune_operator_watch_events",
            "Events that the watches have shown.",
            ["resource"],
            registry=self.registry,
        )
        age = Gauge(
            "finetune_operator_watch_age_seconds",
            "Time since a watch has shown anything; the start of the process counts.",
            ["resource"],
            registry=self.registry,
        )
        self._last_event = dict.fromkeys(WATCHED, clock())
        for kind in WATCHED:
            age.labels(kind.plural).set_function(partial(self._age, kind))
        self._gauge("queue_depth", "FineTuneJobs that wait for a worker.", queue_depth)
        self._gauge("longest_reconcile_seconds", "Time that the slowest reconcile has been going on.", longest_work)
        self._gauge("lease_held", "1 while this process may act.", lambda: float(lease_held()))
        self.registry.register(_Phases(phases))

    def event(self, kind: Kind) -> None:
        """A watch has shown an object of this kind."""
        self._last_event[kind] = self._clock()
        self._watched.labels(kind.plural).inc()

    def timed(self, work: Callable[[Ref], Awaitable[float | None]]) -> Callable[[Ref], Awaitable[float | None]]:
        """The same work, measured; the outcome is `Done` or the name of the exception."""

        async def measured(ref: Ref) -> float | None:
            started, outcome = self._clock(), "Done"
            try:
                return await work(ref)
            except BaseException as error:
                outcome = type(error).__name__
                raise
            finally:
                self._reconciles.labels(outcome).observe(self._clock() - started)

        return measured

    def _age(self, kind: Kind) -> float:
        return self._clock() - self._last_event[kind]

    def _gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(f"finetune_operator_{name}", text, registry=self.registry).set_function(value)


class _Phases(Collector):
    """Counted when asked, so that a phase that no job is in any more is not shown for ever."""

    def __init__(self, phases: Callable[[], Iterable[str]]) -> None:
        self._phases = phases

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily("finetune_operator_jobs", "FineTuneJobs by display phase.", labels=["phase"])
        for phase, count in sorted(Tally(self._phases()).items()):
            family.add_metric([phase], count)
        yield family
