"""How many measured rows that stand in train are found, by how they stand there, and how many others leave with them.

    PYTHONPATH=trainer/src:crds/src:tests/kit python tests/benchmarks/prepare/contamination.py

Measured rows are documentation of the standard library of which nothing stands in train; train rows are pieces of its
modules. A copy is put behind a train row; it is whole, cut, or changed. The truth is by the definition: half or more
of a row's 13-word sequences stand in train. The peer is what benchmarks are usually cleaned with: a row leaves when it
shares any one 13-word sequence (GPT-3, lm-evaluation-harness).
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from duplicates import documentation, misspelt

from finetune_trainer.prepare.barrier.contamination import SHARE, Contamination
from finetune_trainer.prepare.barrier.grams import GRAM_WORDS, text_grams
from known_duplicates import Change, paragraphs

ROWS: Final = 4000
QUOTED: Final = 5
"""One measured row in so many stands in train."""


def whole(words: list[str], _chance: random.Random) -> list[str]:
    return words


def most(words: list[str], chance: random.Random) -> list[str]:
    return words[: int(len(words) * chance.uniform(0.6, 0.95))]


def third(words: list[str], _chance: random.Random) -> list[str]:
    return words[: len(words) // 3]


def upper(words: list[str], _chance: random.Random) -> list[str]:
    return [word.upper() for word in words]


def half_of_the_words_changed(words: list[str], chance: random.Random) -> list[str]:
    return [word if chance.random() < 0.5 else "changed" for word in words]


WAYS: Final[Mapping[str, Change]] = {
    "whole": whole,
    "in capitals": upper,
    "60 to 95 %": most,
    "one word in sixty misspelt": misspelt,
    "a third": third,
    "half of the words changed": half_of_the_words_changed,
}


def runs(words: list[str]) -> set[tuple[str, ...]]:
    lower = [word.lower() for word in words]
    return {tuple(lower[start : start + GRAM_WORDS]) for start in range(len(words) - GRAM_WORDS + 1)}


def main() -> None:
    """Print the table."""
    chance = random.Random(3)
    train = list(paragraphs(2 * ROWS))
    before = set().union(*map(runs, train))
    measured = [words for words in documentation(ROWS) if not runs(words) & before]
    ways: dict[int, str] = {}
    for row in range(0, len(measured), QUOTED):
        ways[row] = list(WAYS)[row // QUOTED % len(WAYS)]
        place = chance.randrange(len(train))
        train[place] = [*train[place], *WAYS[ways[row]](measured[row], chance)]
    known = set().union(*map(runs, train))
    shares = [len(own & known) / len(own) if (own := runs(words)) else 0.0 for words in measured]
    with tempfile.TemporaryDirectory() as folder:
        texts = [list(enumerate(map(" ".join, rows))) for rows in (measured, train)]
        found = set(
            Contamination(
                text_grams(texts[0], None),
                lambda known: text_grams(texts[1], known),
                expected=len(measured),
                folder=Path(folder) / "contamination",
            )
            .measured_rows()
            .tolist()
        )
    peer = {row for row, share in enumerate(shares) if share}
    print(f"{len(measured)} measured rows, {len(train)} of train\n")
    print("| a row stands in train | rows | half of it or more | ours leave | peer's leave |\n|---|---|---|---|---|")
    for way in (*WAYS, "not planted"):
        rows = {row for row in range(len(measured)) if ways.get(row, "not planted") == way}
        truth = {row for row in rows if shares[row] >= SHARE}
        print(f"| {way} | {len(rows)} | {len(truth)} | {len(rows & found)} | {len(rows & peer)} |")
    truth = {row for row, share in enumerate(shares) if share >= SHARE}
    print()
    for name, left in {"ours": found, "peer": peer}.items():
        both = len(left & truth)
        print(f"{name}: recall {both / len(truth):.1%}, precision {both / len(left):.1%}")


if __name__ == "__main__":
    main()
