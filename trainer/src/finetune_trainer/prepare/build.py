"""Raw rows to prepared data in a local folder: the two passes and the barrier of fingerprints between them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune_api.contract import ExitCode
from finetune_api.progress import Activity
from finetune_api.result import DataSummary, SplitCounts
from finetune_api.spec import Spec, TaskType
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.barrier import Decision, decide
from finetune_trainer.prepare.barrier.assignment import Assignment, write_assignment
from finetune_trainer.prepare.barrier.benchmarks import benchmark_rows
from finetune_trainer.prepare.barrier.findings import rejected_warnings
from finetune_trainer.prepare.barrier.labels import Labels
from finetune_trainer.prepare.barrier.split import NOWHERE, SplitName
from finetune_trainer.prepare.encode import Encode, KeptRows
from finetune_trainer.prepare.ledger import Ledger, Rejection
from finetune_trainer.prepare.read import RawObject, place
from finetune_trainer.prepare.report import write_report
from finetune_trainer.prepare.report.alike import find_alike_rows
from finetune_trainer.prepare.scan import Scan
from finetune_trainer.prepare.shards import SplitWriter
from finetune_trainer.prepare.spill import BATCH_ROWS, Spill
from finetune_trainer.prepare.tally import Tally
from finetune_trainer.prepare.validate import check_rows
from finetune_trainer.prepare.workers import WorkerDied, Workers
from finetune_trainer.prepared import FORMAT, SPLITS, Manifest, SplitFiles
from finetune_trainer.storage import Storage
from finetune_trainer.tasks import Task
from finetune_trainer.tasks.rows import Room
from finetune_trainer.tokenizers import ChatTokenizer, load
from finetune_trainer.verified import files_under

_AHEAD = 8
"""Encoded batches that wait for an earlier one, some megabytes each."""
_OPEN_LINES = 64
"""Spills whose lines stay mapped; an operating system bounds the maps of a process."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what is built."""

    digest: str
    spec: Spec
    objects: tuple[RawObject, ...]
    benchmarks: tuple[RawObject, ...]
    previous: Assignment | None
    """What `spec.data.split.previousUri` names."""
    task: Task
    tokenizer: ChatTokenizer
    tokenizer_folder: Path
    """Where it was loaded from."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Uris of the objects, in the order of row ids."""
        return tuple(raw.uri for raw in self.objects)


def build(
    recipe: Recipe,
    folder: Path,
    storage: Storage,
    spill_folder: Path,
    progressed: Callable[[Activity, int], None],
    *,
    processes: int = 1,
) -> Manifest:
    """Everything but the manifest itself, written to `folder`. `progressed` hears the rows read or encoded so far.

    The same bytes whatever `processes` is. Raises StageFailed when the data as a whole is not what the spec says.
    """
    folder.mkdir(parents=True)
    spill_folder.mkdir(parents=True)
    tally = Tally()
    with Ledger(folder, recipe.sources) as ledger, Workers(processes) as workers:
        spills = _scan(recipe, storage, spill_folder, workers, ledger, tally, progressed)
        check_rows(tally, recipe.spec.data)
        place_of = _places(recipe, spills)
        workers.renew()
        decision = _decide(recipe, spills, ledger, storage, workers, place_of, spill_folder / "barrier")
        workers.renew()
        alike = find_alike_rows(decision, spills, place_of)
        write_assignment(folder, decision.assignment)
        splits, labels, findings, replaced = decision.splits, decision.labels, decision.findings, decision.replaced
        del decision  # has some numbers of each row
        writers = [SplitWriter(folder / name, spill_folder) for name in SPLITS]
        cleaned, truncated, rejected = _encode(recipe, spills, splits, labels, writers, workers, ledger, progressed)
        workers.renew()
        contents = {writer.folder.name: writer.close() for writer in writers}
    train, validation, test = (writer.rows for writer in writers)
    summary = DataSummary(
        files=len(recipe.objects),
        rows_read=tally.rows,
        rows_cleaned=cleaned,
        rows_truncated=truncated,
        rows_rejected=ledger.rejected.total(),
        rows_removed=ledger.removed.total(),
        splits=SplitCounts(train=train, validation=validation, test=test),
        train_tokens=contents["train"].tokens,
        trained_tokens=contents["train"].trained,
    )
    write_report(
        folder,
        spec=recipe.spec,
        sources=recipe.sources,
        summary=summary,
        contents=contents,
        ledger=ledger,
        tally=tally,
        findings=findings.and_warn(rejected_warnings(replaced, rejected, place_of)),
        alike=alike,
    )
    return Manifest(
        format=FORMAT,
        digest=recipe.digest,
        sources=recipe.sources,
        summary=summary,
        splits=contents,
        labels=_names(recipe.task, contents),
        places=tuple(ledger.places),
        rows_too_long=ledger.rejected[Rejection.TOO_LONG],
        files=files_under(folder),
    )


def _names(task: Task, contents: Mapping[str, SplitFiles]) -> tuple[str, ...]:
    """All labels, in the order of their ids."""
    found: Counter[str] = Counter()
    for split in contents.values():
        found.update(split.labels)
    return () if task.labels is None else task.labels.names(found)


def _scan(
    recipe: Recipe,
    storage: Storage,
    folder: Path,
    workers: Workers,
    ledger: Ledger,
    tally: Tally,
    progressed: Callable[[Activity, int], None],
) -> list[Spill]:
    """Pass 1. Large objects come first, so that no process has one left when the others are done."""
    read = 0

    def told(rows: int) -> None:
        nonlocal read
        read += rows
        progressed(Activity.READING, read)

    tasks = sorted(enumerate(recipe.objects), key=lambda task: -task[1].stored.size)
    call = Scan(recipe.task, recipe.spec.data, recipe.sources, storage, folder)
    try:
        found = list(workers.map(call, tasks, told=told))
    except WorkerDied as died:
        raise _worker_died(died, f"read {tasks[died.number][1].uri}") from died
    scanned = dict(zip((number for number, _ in tasks), found, strict=True))
    for number in range(len(tasks)):
        ledger.take(scanned[number].left_out)
        tally.add(scanned[number].tally)
    return [scanned[number].spill for number in range(len(tasks))]


def _places(recipe: Recipe, spills: Sequence[Spill]) -> Callable[[int], str]:
    """Names a good row by its number."""
    starts = list(accumulate((spill.rows for spill in spills), initial=0))
    sources = recipe.sources
    lines = lru_cache(_OPEN_LINES)(lambda number: spills[number].every_line())

    def place_of(row: int) -> str:
        number = bisect_right(starts, row) - 1
        return place(sources[number], int(lines(number)[row - starts[number]]))

    return place_of


def _decide(
    recipe: Recipe,
    spills: list[Spill],
    ledger: Ledger,
    storage: Storage,
    workers: Workers,
    place_of: Callable[[int], str],
    folder: Path,
) -> Decision:
    """What becomes of all good rows; those that are left out are listed."""
    try:
        decision = decide(
            spills,
            recipe.spec.data,
            given=[None if raw.split is None else SplitName[raw.split.name] for raw in recipe.objects],
            previous=recipe.previous,
            benchmarks=lambda: benchmark_rows(storage, recipe.benchmarks, folder),
            label_rules=recipe.task.labels,
            answered=recipe.spec.task.type is TaskType.INSTRUCTION,
            place_of=place_of,
            workers=workers,
            folder=folder,
        )
    except WorkerDied as died:
        raise _worker_died(died, "compared rows") from died
    before = 0
    for number, spill in enumerate(spills):
        for start in range(0, spill.rows, BATCH_ROWS):
            lines = spill.lines(start, BATCH_ROWS)
            first = before + start
            for row in np.flatnonzero(decision.splits[first : first + len(lines)] == NOWHERE).tolist():
                kind, stands = decision.removal(first + row)
                kept = None if stands is None else place_of(stands)
                ledger.remove(number, int(lines[row]), kind, kept=kept)
        before += spill.rows
    return decision


def _encode(
    recipe: Recipe,
    spills: list[Spill],
    splits: NDArray[np.int8],
    labels: Labels | None,
    writers: list[SplitWriter],
    workers: Workers,
    ledger: Ledger,
    progressed: Callable[[Activity, int], None],
) -> tuple[int, int, list[int]]:
    """Pass 2: write the documents of the rows that are kept.

    Returns how many of these were repaired, how many cut, and the numbers of those that were rejected.
    """
    cleaned, truncated, rows = 0, 0, 0
    rejected: list[int] = []
    load_tokenizer = (lambda: recipe.tokenizer) if workers.alone else partial(load, recipe.tokenizer_folder)
    written = None if labels is None else labels.written
    room = Room(recipe.spec.training.sequence_length, recipe.spec.data.overlong)
    group_by = recipe.spec.data.split.group_by
    call = Encode(recipe.task, room, recipe.sources, load_tokenizer, written, group_by=group_by)
    tasks = list(_batches(spills, splits))
    try:
        encoded_rows = workers.map(call, tasks, told=lambda _: None, ahead=_AHEAD)
        for task, encoded in zip(tasks, encoded_rows, strict=True):
            for number, line, kind, reason in encoded.rejected:
                ledger.reject(task.source, line, kind, reason)
                rejected.append(number)
            for split, part in encoded.parts.items():
                writers[split].add(part)
            cleaned += encoded.repaired
            truncated += encoded.truncated
            rows += encoded.rows
            progressed(Activity.ENCODING, rows)
    except WorkerDied as died:
        raise _worker_died(died, f"encoded rows of {recipe.sources[tasks[died.number].source]}") from died
    return cleaned, truncated, rejected


def _batches(spills: Sequence[Spill], splits: NDArray[np.int8]) -> Iterator[KeptRows]:
    row = 0
    for number, spill in enumerate(spills):
        for block in spill.blocks:
            yield KeptRows(number, spill.path, block, splits[row : row + block.rows], row)
            row += block.rows


def _worker_died(died: WorkerDied, what: str) -> StageFailed:
    """The kernel ends one process of a container that has no memory left, or all; either is tried again."""
    message = (
        f"a process that {what} {died.how}; SIGKILL most often means that it needed more memory than the operator's "
        "settings give to preparation"
    )
    return StageFailed(ExitCode.RETRY, "WorkerDied", message)
