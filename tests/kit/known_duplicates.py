"""Rows of real text with near duplicates of known likeness, and how many of them are found.

`python tests/kit/known_duplicates.py` prints recall and precision by kind of change.
"""

from __future__ import annotations

import random
import sysconfig
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_trainer.prepare.barrier.likeness import likeness_of
from finetune_trainer.prepare.prints import FEWEST_WORDS, SHINGLE_WORDS, prints_of
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message

THRESHOLD = 0.8

Change = Callable[[list[str], random.Random], list[str]]


def _words_replaced(words: list[str], rng: random.Random) -> list[str]:
    changed = list(words)
    for _ in range(rng.randint(1, max(1, len(words) // 40))):
        changed[rng.randrange(len(words))] = f"changed{rng.randrange(1000)}"
    return changed


def _end_added(words: list[str], rng: random.Random) -> list[str]:
    return [*words, *(f"added{rng.randrange(1000)}" for _ in range(rng.randint(1, max(1, len(words) // 6))))]


def _start_cut(words: list[str], rng: random.Random) -> list[str]:
    return words[rng.randint(1, max(1, len(words) // 6)) :]


def _middle_cut(words: list[str], rng: random.Random) -> list[str]:
    length = rng.randint(1, max(1, len(words) // 8))
    start = rng.randrange(len(words) - length)
    return words[:start] + words[start + length :]


def _case_changed(words: list[str], rng: random.Random) -> list[str]:
    return [word.upper() if rng.random() < 0.5 else word for word in words]


def _half_rewritten(words: list[str], rng: random.Random) -> list[str]:
    return [*words[: len(words) // 2], *(f"other{rng.randrange(1000)}" for _ in range(len(words) // 2))]


CHANGES: Mapping[str, Change] = {
    "words replaced": _words_replaced,
    "end added": _end_added,
    "start cut": _start_cut,
    "middle cut": _middle_cut,
    "case changed": _case_changed,
    "half rewritten": _half_rewritten,
}


@dataclass(frozen=True)
class Planted:
    """A row that was made from an earlier one."""

    original: int
    changed: int
    kind: str
    jaccard: float


@dataclass(frozen=True)
class Score:
    """What was found among pairs whose Jaccard similarity is known."""

    planted: int
    """Pairs of at least THRESHOLD that were planted."""
    recalled: int
    found: int
    """Pairs that were found, planted or not."""
    right: int
    """Those of them with a similarity of at least THRESHOLD."""
    nearly_right: int
    """Of at least THRESHOLD - 0.1."""


def paragraphs(count: int) -> Iterator[list[str]]:
    """The words of pieces of the standard library's modules, code and prose, each long enough."""
    rng = random.Random(5)
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        lines = path.read_text("utf-8", errors="replace").splitlines()
        start = 0
        while start < len(lines) and count:
            length = rng.randint(8, 40)
            words = " ".join(lines[start : start + length]).split()
            start += length
            if len(words) >= 2 * FEWEST_WORDS:
                yield words
                count -= 1


def corpus(originals: int) -> tuple[list[Messages], list[Planted]]:
    """`originals` rows and a changed copy of each behind them, and what was planted."""
    rng = random.Random(7)
    words = list(paragraphs(originals))
    changed = []
    planted = []
    for number, original in enumerate(words):
        kind = list(CHANGES)[number % len(CHANGES)]
        copy = CHANGES[kind](original, rng)
        planted.append(Planted(number, len(words) + number, kind, jaccard(original, copy)))
        changed.append(copy)
    return [(Message("text", " ".join(row)),) for row in (*words, *changed)], planted


def jaccard(left: list[str], right: list[str]) -> float:
    """Of shingles, in lower case."""
    one, other = (
        {tuple(word.lower() for word in words[start : start + SHINGLE_WORDS]) for start in range(len(words) - 4)}
        for words in (left, right)
    )
    return len(one & other) / len(one | other)


def measure(originals: int) -> tuple[Score, dict[str, tuple[int, int]]]:
    """The score, and for each kind of change how many pairs of at least THRESHOLD there were and were found."""
    rows, planted = corpus(originals)
    with tempfile.TemporaryDirectory() as folder:
        likeness = likeness_of(prints_of(rows), Path(folder) / "likeness")
    pairs = {(int(one), int(other)) for one, other in likeness.alike}
    pairs |= {(int(first), row) for row, first in enumerate(likeness.equality.first) if first != row}
    kinds: dict[str, list[bool]] = defaultdict(list)
    for pair in planted:
        if pair.jaccard >= THRESHOLD:
            kinds[pair.kind].append(int(likeness.repeated[pair.changed]) != pair.changed)
    truth = [jaccard(rows[one][0].content.split(), rows[other][0].content.split()) for one, other in pairs]
    score = Score(
        planted=sum(map(len, kinds.values())),
        recalled=sum(map(sum, kinds.values())),
        found=len(pairs),
        right=sum(found >= THRESHOLD for found in truth),
        nearly_right=sum(found >= THRESHOLD - 0.1 for found in truth),
    )
    return score, {kind: (len(found), sum(found)) for kind, found in kinds.items()}


def main() -> None:
    """Print what is found of 6,000 rows and their copies."""
    score, kinds = measure(6000)
    for kind, (there, found) in kinds.items():
        print(f"{kind:16} {found:5} of {there:5} found ({found / there:.1%})")
    print(f"recall {score.recalled / score.planted:.2%} of {score.planted} planted pairs of at least {THRESHOLD}")
    print(f"precision {score.right / score.found:.2%} of {score.found} found pairs are of at least {THRESHOLD},")
    print(f"          {score.nearly_right / score.found:.2%} of at least {THRESHOLD - 0.1:.1f}")


if __name__ == "__main__":
    main()
