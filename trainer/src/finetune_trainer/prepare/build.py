"""Raw rows to prepared data in a local folder: the two passes and the barrier of fingerprints between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune_api.contract import ExitCode
from finetune_api.progress import Activity
from finetune_api.result import DataSummary, SplitCounts
from finetune_api.spec import Spec
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.assignment import Assignment, write_assignment
from finetune_trainer.prepare.barrier import Decision, decide
from finetune_trainer.prepare.benchmarks import benchmark_texts
from finetune_trainer.prepare.blame import blame
from finetune_trainer.prepare.encode import SplitWriter, TooLong, encode_row
from finetune_trainer.prepare.ledger import Ledger, Rejection
from finetune_trainer.prepare.read import RawObject, place
from finetune_trainer.prepare.report import write_report
from finetune_trainer.prepare.scan import Spill, Tally, scan
from finetune_trainer.prepare.split import NOWHERE, SplitName
from finetune_trainer.prepare.validate import check_rows
from finetune_trainer.prepared import FORMAT, SPLITS, Manifest, SplitFiles, row_id
from finetune_trainer.storage import PreconditionFailed, Storage
from finetune_trainer.tasks import Task
from finetune_trainer.tokenizers import ChatTokenizer, NotEncodable
from finetune_trainer.verified import files_under


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what is built."""

    digest: str
    spec: Spec
    objects: tuple[RawObject, ...]
    given: tuple[SplitName | None, ...]
    """The split of each object's rows, where its source names one."""
    benchmarks: tuple[RawObject, ...]
    previous: Assignment | None
    """What `spec.data.split.previousUri` names."""
    task: Task
    tokenizer: ChatTokenizer

    @property
    def sources(self) -> tuple[str, ...]:
        """Uris of the objects, in the order of row ids."""
        return tuple(raw.uri for raw in self.objects)


def build(
    recipe: Recipe, folder: Path, storage: Storage, spill_folder: Path, progressed: Callable[[Activity, int], None]
) -> Manifest:
    """Everything but the manifest itself, written to `folder`. `progressed` hears the rows read or encoded so far.

    Raises StageFailed when the data as a whole is not what the spec says.
    """
    folder.mkdir(parents=True)
    spill_folder.mkdir(parents=True)
    tally = Tally()
    with Ledger(folder, recipe.sources) as ledger:
        spills = [
            _scan(recipe, number, storage, ledger, tally, spill_folder, progressed)
            for number in range(len(recipe.objects))
        ]
        check_rows(tally, recipe.spec.data)
        decision = _decide(recipe, spills, ledger, storage, spill_folder / "barrier")
        writers = [SplitWriter(folder / name, with_texts=name != "train") for name in SPLITS]
        cleaned = _encode(recipe, spills, decision, writers, ledger, progressed)
        contents = {writer.folder.name: writer.close() for writer in writers}
    train, validation, test = (writer.rows for writer in writers)
    summary = DataSummary(
        files=len(recipe.objects),
        rows_read=tally.rows,
        rows_cleaned=cleaned,
        rows_rejected=ledger.rejected.total(),
        rows_removed=ledger.removed.total(),
        splits=SplitCounts(train=train, validation=validation, test=test),
        train_tokens=contents["train"].tokens,
        trained_tokens=contents["train"].trained,
    )
    write_assignment(folder, decision.assignment)
    write_report(folder, summary=summary, contents=contents, ledger=ledger, tally=tally, findings=decision.findings)
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
    number: int,
    storage: Storage,
    ledger: Ledger,
    tally: Tally,
    spill_folder: Path,
    progressed: Callable[[Activity, int], None],
) -> Spill:
    raw = recipe.objects[number]
    stored = raw.stored
    # The digest says what stood there when it was listed. The next attempt lists anew.
    changed = StageFailed(ExitCode.RETRY, "DataChanged", f"{stored.uri} changed while it was read")
    try:
        with blame("spec.data.sources"), storage.open(stored.uri) as stream:
            spill = scan(
                stream,
                source=number,
                raw=raw,
                task=recipe.task,
                data=recipe.spec.data,
                ledger=ledger,
                tally=tally,
                path=spill_folder / f"{number:05d}.arrow",
                progressed=lambda rows: progressed(Activity.READING, rows),
            )
    except PreconditionFailed as error:
        raise changed from error
    now = storage.stat(stored.uri)
    if now is None or now.etag != stored.etag:
        raise changed
    return spill


def _decide(recipe: Recipe, spills: list[Spill], ledger: Ledger, storage: Storage, folder: Path) -> Decision:
    """What becomes of all good rows; those that are left out are listed."""
    lines = np.concatenate([spill.lines for spill in spills])
    objects = np.repeat(np.arange(len(spills)), [len(spill.lines) for spill in spills])

    def place_of(row: int) -> str:
        return place(recipe.sources[objects[row]], int(lines[row]))

    decision = decide(
        spills,
        recipe.spec.data,
        given=recipe.given,
        previous=recipe.previous,
        benchmarks=lambda: benchmark_texts(storage, recipe.benchmarks, folder),
        label_rules=recipe.task.labels,
        place_of=place_of,
        folder=folder,
    )
    for row in np.flatnonzero(decision.splits == NOWHERE).tolist():
        kind, first = decision.removal(row)
        kept = None if first is None else place_of(first)
        ledger.remove(int(objects[row]), int(lines[row]), kind, kept=kept)
    return decision


def _encode(
    recipe: Recipe,
    spills: list[Spill],
    decision: Decision,
    writers: list[SplitWriter],
    ledger: Ledger,
    progressed: Callable[[Activity, int], None],
) -> int:
    """Write the documents of the rows that are kept. Returns how many of these were repaired."""
    cleaned = 0
    row = 0
    splits, labels = decision.splits, decision.labels
    for number, spill in enumerate(spills):
        lines = iter(zip(spill.lines.tolist(), spill.repaired.tolist(), strict=True))
        for batch in spill.batches():
            for messages, (line, repaired) in zip(batch, lines, strict=False):
                if splits[row] != NOWHERE:
                    try:
                        documents = encode_row(
                            messages if labels is None else labels.spelt(messages),
                            task=recipe.task,
                            tokenizer=recipe.tokenizer,
                            sequence_length=recipe.spec.training.sequence_length,
                        )
                    except TooLong as error:
                        ledger.reject(number, line, Rejection.TOO_LONG, str(error))
                    except NotEncodable as error:
                        ledger.reject(number, line, Rejection.INVALID, str(error))
                    else:
                        writers[splits[row]].add(row_id(number, line), documents)
                        cleaned += repaired
                row += 1
            progressed(Activity.ENCODING, row)
    return cleaned
