"""The format of prepared data: documents as Arrow shards, an index of their lengths, and a manifest, written last.

<data uri>/manifest.json                 every other file with its checksum; without it there is nothing here
           report.html  report.json      what was done, for people and for programs
           rejected.jsonl  removed.jsonl
           records/<split>.jsonl         cleaned rows as raw data, with source and line
           assignment.arrow              which split each row went to, by its content
           <split>/index.arrow           row, length, trained, items: one line a document
           <split>/00000.arrow …         ids, spans, breaks, texts, labels: SHARD_TOKENS or a few more, one batch each
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from finetune_api.contract import ExitCode
from finetune_api.model import Model
from finetune_api.result import DataSummary
from finetune_trainer.failures import StageFailed
from finetune_trainer.storage import NotFound, PreconditionFailed, Storage
from finetune_trainer.verified import Damaged, ListedFile, all_stored, download_verified

FORMAT: Final = 5
MANIFEST: Final = "manifest.json"
SPLITS: Final = ("train", "validation", "test")
INDEX_FILE: Final = "index.arrow"
SHARD_TOKENS: Final = 4 << 20

INDEX_SCHEMA: Final = pa.schema(
    [("row", pa.int64()), ("length", pa.int32()), ("trained", pa.int32()), ("items", pa.int32())]
)
SHARD_SCHEMA: Final = pa.schema(
    [
        ("ids", pa.large_list(pa.int32())),
        ("spans", pa.list_(pa.int32())),  # start, end, start, end, … of the loss targets
        ("breaks", pa.list_(pa.int32())),  # where the second of several linked sequences begins, the third …
        ("prompt", pa.large_string()),  # of train, whose texts nothing shows, both are null
        ("answer", pa.large_string()),
        ("labels", pa.list_(pa.string())),
    ]
)

_LINE_BITS = 40


class SplitFiles(Model):
    """What a split holds."""

    documents: int
    """At least one for each row."""
    tokens: int
    trained: int
    labels: dict[str, int] = {}
    """Documents by label, where the task has labels."""


class Manifest(Model):
    """The commit of prepared data."""

    format: int
    digest: str
    """Over everything that decided the outcome: raw data, task, repairs, split, tokenizer, sequence length."""
    sources: tuple[str, ...]
    """Uris of the raw objects, in the order of row ids."""
    summary: DataSummary
    splits: dict[str, SplitFiles]
    labels: tuple[str, ...] = ()
    """All labels; an id is a place in this."""
    places: tuple[str, ...]
    """The first rejected rows."""
    rows_too_long: int
    """Rows that were rejected because they are longer than `spec.training.sequenceLength`."""
    files: tuple[ListedFile, ...]

    def encode(self) -> bytes:
        """As it lies in storage."""
        return self.model_dump_json(by_alias=True, indent=2).encode()

    @property
    def sha256(self) -> str:
        """Pins every byte of the data: it is of a list of what each file has."""
        return hashlib.sha256(self.encode()).hexdigest()


def row_id(source: int, line: int) -> int:
    """The name of a row in all that follows: the number of its file in sorted order, and its line."""
    return source << _LINE_BITS | line


def line_of(row: int) -> int:
    """The line of a row id."""
    return row & (1 << _LINE_BITS) - 1


def row_place(row: int, sources: Sequence[str]) -> str:
    """`file:line` of a row id."""
    return f"{sources[row >> _LINE_BITS]}:{line_of(row)}"


class Texts(NamedTuple):
    """What a person reads of a document."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Documents:
    """A split, memory-mapped. N documents in row order; arrays of shape (N,) are in memory."""

    lengths: NDArray[np.int32]
    """Tokens of each document, shape (N,)."""
    trained: NDArray[np.int32]
    """Tokens of each that carry loss, shape (N,)."""
    items: NDArray[np.int32]
    """What the loss is a mean over, shape (N,): these tokens, or the document itself where it is learnt as a whole."""
    rows: NDArray[np.int64]
    """Row ids, shape (N,); a conversation that is trained in several documents gives all of them its id."""
    shards: tuple[pa.RecordBatch, ...]
    _starts: NDArray[np.int64]
    _label_ids: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.lengths)

    def ids(self, document: int) -> NDArray[np.int32]:
        """Token ids, shape (length,); a view of the file."""
        shard, index = self._find(document)
        ids: NDArray[np.int32] = shard.column("ids")[index].values.to_numpy()
        return ids

    def mask(self, document: int) -> NDArray[np.bool_]:
        """True where the token is a loss target, shape (length,). Never the first: nothing comes before it."""
        mask = np.zeros(self.lengths[document], dtype=bool)
        for start, end in self._spans(document):
            mask[start:end] = True
        return mask

    def breaks(self, document: int) -> tuple[int, ...]:
        """Where in its ids another sequence begins, which sees nothing of the one before."""
        shard, index = self._find(document)
        return tuple(shard.column("breaks")[index].as_py())

    def prompt(self, document: int) -> NDArray[np.int32]:
        """Ids up to the last answer, of linked sequences that of the first: what generation starts from."""
        end = min(self.breaks(document), default=int(self.lengths[document]))
        return self.ids(document)[: max(start for start, _ in self._spans(document) if start < end)]

    def texts(self, document: int) -> Texts:
        """Prompt and answer as in the cleaned row; empty for train."""
        shard, index = self._find(document)
        prompt, answer = shard.column("prompt")[index].as_py(), shard.column("answer")[index].as_py()
        return Texts(prompt or "", answer or "")

    def labels(self, document: int) -> tuple[int, ...]:
        """Ids of its labels, where the task has some."""
        if not self._label_ids:
            return ()
        shard, index = self._find(document)
        return tuple(self._label_ids[name] for name in shard.column("labels")[index].as_py())

    def _spans(self, document: int) -> list[tuple[int, int]]:
        shard, index = self._find(document)
        flat: list[int] = shard.column("spans")[index].as_py()
        return list(zip(flat[::2], flat[1::2], strict=True))

    def _find(self, document: int) -> tuple[pa.RecordBatch, int]:
        if not 0 <= document < len(self):
            raise IndexError(f"document {document} of {len(self)}")
        shard = int(np.searchsorted(self._starts, document, side="right")) - 1
        return self.shards[shard], document - int(self._starts[shard])


def open_split(folder: Path, split: str, labels: Sequence[str] = ()) -> Documents:
    """The split `train`, `validation` or `test` of prepared data that lies in `folder`; `labels` by id."""
    index = _map_batch(folder / split / INDEX_FILE)
    shards = tuple(_map_batch(path) for path in sorted((folder / split).glob("[0-9]*.arrow")))
    return Documents(
        lengths=index.column("length").to_numpy(),
        trained=index.column("trained").to_numpy(),
        items=index.column("items").to_numpy(),
        rows=index.column("row").to_numpy(),
        shards=shards,
        _starts=np.cumsum([0, *(shard.num_rows for shard in shards)])[:-1],
        _label_ids={name: number for number, name in enumerate(labels)},
    )


@dataclass(frozen=True)
class PreparedData:
    """What `fetch` brought here."""

    manifest: Manifest
    train: Documents
    validation: Documents
    test: Documents

    @property
    def splits(self) -> tuple[Documents, ...]:
        return self.train, self.validation, self.test


def open_data(folder: Path) -> PreparedData:
    """All splits of prepared data that `fetch` brought to `folder`."""
    manifest = Manifest.parse(json.loads((folder / MANIFEST).read_bytes()))
    return PreparedData(manifest, *(open_split(folder, split, manifest.labels) for split in SPLITS))


def _map_batch(path: Path) -> pa.RecordBatch:
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)


def write_batch(path: Path, batch: pa.RecordBatch) -> None:
    """One shard or index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def read_manifest(storage: Storage, data_uri: str) -> Manifest | None:
    """None unless data of this format was committed there and every file is as large as it was."""
    try:
        content, _ = storage.read(f"{data_uri}/{MANIFEST}")
        manifest = Manifest.parse(json.loads(content))
    except (NotFound, ValueError):
        return None
    if manifest.format != FORMAT or manifest.encode() != content:
        return None
    return manifest if all_stored(storage, data_uri, manifest.files) else None


def fetch(storage: Storage, data_uri: str, sha256: str, folder: Path) -> Manifest:
    """Bring prepared data to `folder` and check every byte; `sha256` is its manifest's.

    Raises StageFailed when it is not what was prepared.
    """
    manifest = read_manifest(storage, data_uri)
    if manifest is None or manifest.sha256 != sha256:
        raise _not_what_was_prepared(data_uri)
    for file in manifest.files:
        if file.path.partition("/")[0] in SPLITS:  # records and reports are for people
            fetch_file(storage, data_uri, file, folder)
    (folder / MANIFEST).write_bytes(manifest.encode())
    return manifest


def unused_id(splits: Iterable[Documents], preferred: Iterable[int], *, vocab_size: int) -> int:
    """An id that occurs in no document: one of the `preferred` if there is one. Raises ValueError when all occur."""
    occurs = np.zeros(vocab_size, dtype=bool)
    for documents in splits:
        for shard in documents.shards:
            occurs[shard.column("ids").flatten().to_numpy()] = True
    first: list[int] = np.flatnonzero(~occurs)[:1].tolist()
    for number in (*preferred, *first):
        if not occurs[number]:
            return number
    raise ValueError(f"each of {vocab_size} ids occurs in a document")


def fetch_lengths(storage: Storage, data_uri: str, manifest: Manifest, split: str, folder: Path) -> NDArray[np.int32]:
    """Tokens of each document of a split, without fetching the documents. Raises StageFailed."""
    (file,) = (file for file in manifest.files if file.path == f"{split}/{INDEX_FILE}")
    index = _map_batch(fetch_file(storage, data_uri, file, folder))
    lengths: NDArray[np.int32] = index.column("length").to_numpy()
    return lengths


def commit(storage: Storage, data_uri: str, manifest: Manifest, folder: Path) -> Manifest:
    """Upload what `folder` holds, the manifest last. Returns the one that then lies there.

    Of several that prepare the same data, it is that of the first to be done: the others leave their work, for what
    they have not uploaded yet may be read by now. Raises PreconditionFailed where that one is not whole.
    """
    uri = f"{data_uri}/{MANIFEST}"
    before = storage.stat(uri)  # of data that is no longer whole
    for file in manifest.files:
        if storage.stat(uri) != before and (theirs := read_manifest(storage, data_uri)) is not None:
            return theirs
        storage.upload(folder / file.path, f"{data_uri}/{file.path}")
    try:
        if before is None:
            storage.write(uri, manifest.encode(), if_absent=True)
        else:
            storage.write(uri, manifest.encode(), if_match=before.etag)
    except PreconditionFailed:
        if (theirs := read_manifest(storage, data_uri)) is None:
            raise
        return theirs
    return manifest


def fetch_file(storage: Storage, data_uri: str, file: ListedFile, folder: Path) -> Path:
    """One file, checked. Raises StageFailed."""
    path = folder / file.path
    uri = f"{data_uri}/{file.path}"
    try:
        download_verified(storage, uri, path, size=file.size, sha256=file.sha256)
    except Damaged as problem:
        raise _not_what_was_prepared(uri) from problem
    return path


def _not_what_was_prepared(uri: str) -> StageFailed:
    return StageFailed(
        ExitCode.MISMATCH,
        "PreparedDataChanged",
        f"{uri} is not what was prepared; delete it and apply the job again",
        field="spec.data.cacheUri",
    )
