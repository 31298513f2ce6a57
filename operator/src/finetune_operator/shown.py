"""What Kopf's indices hold of all that is watched, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from finetune_api.job import FineTuneJob
from finetune_operator.apply import Kind, Ref


@dataclass(frozen=True)
class Entry:
    """All that is kept of an object."""

    version: str
    phase: str
    """`status.phase`, for the metrics."""
    finished: bool
    """`status.finishTime` is there: of a FineTuneJob, nothing will change any more."""


@dataclass(frozen=True)
class Writer:
    """A FineTuneJob that has not ended."""

    uid: str
    ref: Ref


@dataclass
class Shown:
    """What Kopf's indices hold: of each kind, an Entry for each uid, and of each output its writers."""

    indices: Mapping[Kind, Mapping[str, Iterable[Entry]]] = field(default_factory=dict)
    outputs: Mapping[str, Iterable[Writer]] = field(default_factory=dict)
    """By `spec.output.uri`."""

    def rivals(self, job: FineTuneJob) -> tuple[Ref, ...]:
        """The other writers of its output."""
        writers = self.outputs.get(job.spec.output.uri, ())
        others = [writer.ref for writer in writers if writer.uid != job.metadata.uid]
        return tuple(sorted(others, key=lambda ref: (ref.namespace, ref.name)))

    def finished(self) -> frozenset[str]:
        """uids of FineTuneJobs."""
        return frozenset(uid for uid, entry in self._entries(Kind.FINE_TUNE_JOB) if entry.finished)

    def versions(self, kind: Kind) -> dict[str, str]:
        """resourceVersion by uid; empty before the watches have started."""
        return {uid: entry.version for uid, entry in self._entries(kind)}

    def phases(self, *, without: frozenset[str]) -> Iterator[str]:
        """Of each FineTuneJob but those `without`, by uid."""
        return (entry.phase for uid, entry in self._entries(Kind.FINE_TUNE_JOB) if uid not in without)

    def _entries(self, kind: Kind) -> Iterator[tuple[str, Entry]]:
        index = self.indices.get(kind, {})
        for uid in tuple(index):
            for entry in index[uid]:
                yield uid, entry
