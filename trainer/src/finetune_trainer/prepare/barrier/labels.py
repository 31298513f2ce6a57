"""The labels of all rows together: one way of writing each, what they group rows by, and which look like slips."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from finetune_api.contract import ExitCode
from finetune_api.model import Model
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.spill import Spill
from finetune_trainer.tasks.labels import LABEL, LabelRules
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message

MOST_LABELS: Final = 10_000
"""More are no labels but numbers of rows, or texts."""
_MOST_LISTED = 100
_SHORTEST_SLIP = 4
"""Characters. One letter of three is another word."""
_RARER = 10


class Respelt(Model):
    """A label that rows write in several ways."""

    label: str
    """As it is written now."""
    spellings: dict[str, int]
    """Rows by what stood there."""


class Slip(Model):
    """A label that is one letter away from one that ten times as many rows have."""

    label: str
    rows: int
    instead: str
    """What it would be with `spec.task.classification.labelMapping: {label: instead}`."""
    instead_rows: int


class LabelFindings(Model):
    """What a look at all labels tells."""

    rows_respelt: int
    """Rows of which a label was written otherwise."""
    respelt: tuple[Respelt, ...]
    """The first hundred, by label."""
    slips: tuple[Slip, ...]
    """Suggestions: nothing was changed. The first hundred."""
    rows_outvoted: int
    """Rows that are left out because their text has other labels in as many other rows or more."""
    alike_but_labelled_otherwise: int
    """Pairs of rows with nearly the same text and other labels; they stay."""


@dataclass(frozen=True)
class Labels:
    """Of N rows."""

    sets: NDArray[np.uint64]
    """Equal for rows that have the same labels; shape (N,)."""
    strata: NDArray[np.uint64]
    """The label that a row is counted under where rows are divided: its rarest; shape (N,)."""
    rows: Mapping[str, int]
    """Rows that have each label, as it is written now."""
    written: Mapping[str, str]
    """By what stood in a row."""
    rows_respelt: int
    respelt: tuple[Respelt, ...]


def spelt(messages: Messages, written: Mapping[str, str]) -> Messages:
    """The row with its labels as they are `written` now, each once, sorted."""
    labels = {written[message.content] for message in messages if message.role == LABEL}
    texts = tuple(message for message in messages if message.role != LABEL)
    return (*texts, *(Message(LABEL, label) for label in sorted(labels)))


def read_labels(spills: Sequence[Spill], rules: LabelRules) -> Labels:
    """The labels of the rows of `spills`, in their order. Raises StageFailed when they are too many to be labels."""
    numbers: dict[str, int] = {}
    counts, flat = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for spill in spills:
        for of_rows, found in spill.labels():
            counts.append(of_rows)
            flat.append(np.fromiter((numbers.setdefault(label, len(numbers)) for label in found), np.int64, len(found)))
            if len(numbers) > MOST_LABELS:
                message = f"{rules.field}: there are more than {MOST_LABELS} different labels; is it the right field?"
                raise StageFailed(ExitCode.MISMATCH, "LabelsTooMany", message, field=rules.field)
    of_row = np.repeat(np.arange(sum(map(len, counts))), np.concatenate(counts))
    return _labels(list(numbers), np.concatenate(flat), of_row, len_rows=sum(map(len, counts)), rules=rules)


def _labels(
    raw: list[str], flat: NDArray[np.int64], of_row: NDArray[np.int64], *, len_rows: int, rules: LabelRules
) -> Labels:
    """`raw` are the labels as they stand in rows, `flat` numbers in it, shape (M,), `of_row` their rows', ascending."""
    frequency = np.bincount(flat, minlength=len(raw)).tolist()
    keys = [rules.key(label) for label in raw]
    spellings: dict[str, dict[str, int]] = {}
    for label, key, rows in sorted(zip(raw, keys, frequency, strict=True)):
        spellings.setdefault(key, {})[label] = rows
    # Of equals the first in the alphabet, whatever the order of rows.
    best = {key: rules.fixed.get(key) or _most(ways).strip() for key, ways in spellings.items()}
    written = {label: best[key] for label, key in zip(raw, keys, strict=True)}
    names = sorted(set(written.values()))
    number = {name: index for index, name in enumerate(names)}
    pairs = np.unique(
        np.stack([of_row, np.array([number[written[label]] for label in raw], np.int64)[flat]], axis=1), axis=0
    )
    rows = np.bincount(pairs[:, 1], minlength=len(names))
    hashes = np.array([_hash(rules.key(name)) for name in names], np.uint64)
    sets = np.zeros(len_rows, np.uint64)
    np.add.at(sets, pairs[:, 0], hashes[pairs[:, 1]])
    strata = np.zeros(len_rows, np.uint64)
    commonest_first = pairs[np.lexsort((-pairs[:, 1], -rows[pairs[:, 1]]))]
    strata[commonest_first[:, 0]] = hashes[commonest_first[:, 1]]  # what is written last stays: the rarest
    changed = np.array([written[label] != label for label in raw], bool)
    return Labels(
        sets=sets,
        strata=strata,
        rows=dict(zip(names, rows.tolist(), strict=True)),
        written=written,
        rows_respelt=len(np.unique(of_row[changed[flat]])),
        respelt=tuple(
            Respelt(label=best[key], spellings=ways)
            for key, ways in sorted(spellings.items(), key=lambda item: best[item[0]])
            if list(ways) != [best[key]]
        )[:_MOST_LISTED],
    )


def _most(spellings: Mapping[str, int]) -> str:
    return max(spellings, key=lambda spelling: (spellings[spelling], [-ord(character) for character in spelling]))


def _hash(key: str) -> int:
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=b"label").digest()
    return int.from_bytes(digest, "little")


def slips(rows: Mapping[str, int]) -> tuple[Slip, ...]:
    """Labels that may be others with a letter left out, put in, changed or swapped with the next. Digits tell apart."""
    near: dict[str, list[str]] = {}
    for label in sorted(rows):
        if len(label) >= _SHORTEST_SLIP:
            for shorter in _with_one_less(label):
                near.setdefault(shorter, []).append(label)
    found: dict[str, str] = {}
    for alike in near.values():
        for pair in combinations(sorted(alike), 2):
            rare, common = sorted(pair, key=lambda label: rows[label])
            if rows[rare] * _RARER <= rows[common] and _is_one_slip(rare, common):
                found[rare] = max(found.get(rare, common), common, key=lambda label: (rows[label], label))
    return tuple(
        Slip(label=label, rows=rows[label], instead=instead, instead_rows=rows[instead])
        for label, instead in sorted(found.items())
    )[:_MOST_LISTED]


def _with_one_less(label: str) -> Iterator[str]:
    folded = label.casefold()
    return iter({folded, *(folded[:index] + folded[index + 1 :] for index in range(len(folded)))})


def _is_one_slip(one: str, other: str) -> bool:
    one, other = one.casefold(), other.casefold()
    if [letter for letter in one if letter.isdigit()] != [letter for letter in other if letter.isdigit()]:
        return False
    start = next((at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), None)
    if start is None:
        return abs(len(one) - len(other)) == 1
    left, right = one[start:], other[start:]
    swapped = left[:2] == right[1::-1] and left[2:] == right[2:]
    return swapped or left[1:] == right[1:] or left[1:] == right or left == right[1:]
