"""What near-deduplication finds of all rows that are alike, and how much of what it finds is: recall and precision.

    PYTHONPATH=trainer/src:crds/src:tests/kit python tests/benchmarks/prepare/duplicates.py

Rows are pieces of two kinds of text that people wrote: modules of the standard library, and its documentation. Copies
are changed in six ways (tests/kit/known_duplicates.py) and in three more, which no threshold was chosen by: parts in
another order, misspelt words, an answer in a template. The truth is exact: the Jaccard similarity of the 5-word
shingles of every two rows that share a rarer one, of the planted copies and of all others.

The peer is what datasketch and text-dedup do: the same 128 minima, kept whole, in the 9 bands of 13 that they choose
for a threshold of 0.8; every two rows of a band are joined. Ours keeps a bit of each minimum, in 16 bands of 8.
"""

from __future__ import annotations

import ast
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np

from clean_texts import standard_library
from finetune_trainer.prepare.barrier.likeness import likeness_of
from finetune_trainer.prepare.prints import FEWEST_WORDS, SHINGLE_WORDS, _minima, prints_of
from finetune_trainer.prepare.words import hashed_words, learnt_text, ngrams
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message
from known_duplicates import CHANGES, Change, paragraphs

ORIGINALS: Final = 3000
"""Of each kind of text."""
ALIKE: Final = 0.8
PEER_BANDS, PEER_ROWS = 9, 13
COMMONEST: Final = 200
"""A shingle in more rows tells of no two in particular; pairs that share nothing rarer are not compared."""

Pair = tuple[int, int]


def sentences_reordered(words: list[str], chance: random.Random) -> list[str]:
    cut = chance.randrange(len(words) // 4, 3 * len(words) // 4)
    return words[cut:] + words[:cut]


def misspelt(words: list[str], chance: random.Random) -> list[str]:
    changed = list(words)
    for _ in range(chance.randint(1, max(1, len(words) // 60))):
        place = chance.randrange(len(words))
        letters = list(changed[place])
        chance.shuffle(letters)
        changed[place] = "".join(letters)
    return changed


def in_a_template(words: list[str], _chance: random.Random) -> list[str]:
    return ["Sure,", "here", "it", "is:", *words, "I", "hope", "this", "helps."]


HELD_OUT: Final[Mapping[str, Change]] = {
    "reordered*": sentences_reordered,
    "misspelt*": misspelt,
    "in a template*": in_a_template,
}


def documentation(count: int) -> Iterator[list[str]]:
    """What modules, classes and functions say of themselves."""
    seen: set[str] = set()
    for _, source in standard_library():
        if not count:
            return
        try:
            nodes = list(ast.walk(ast.parse(source)))
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in nodes:
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
                words = text.split()
                if len(words) >= 2 * FEWEST_WORDS and text not in seen and count:
                    seen.add(text)
                    count -= 1
                    yield words


def corpus() -> tuple[list[Messages], list[tuple[str, Pair]]]:
    """Rows, originals first, and the pairs that were planted with the kind of their change."""
    chance = random.Random(11)
    originals = [*paragraphs(ORIGINALS), *documentation(ORIGINALS)]
    changes = {**CHANGES, **HELD_OUT}
    copies, planted = [], []
    for number, words in enumerate(originals):
        kind = list(changes)[number % len(changes)]
        copies.append(changes[kind](words, chance))
        planted.append((kind, (number, len(originals) + number)))
    return [(Message("text", " ".join(words)),) for words in (*originals, *copies)], planted


def shingles(rows: list[Messages]) -> list[set[int]]:
    runs = ngrams(hashed_words([learnt_text(row) for row in rows]), SHINGLE_WORDS)
    return [set(runs.values[start:end].tolist()) for start, end in zip(runs.offsets, runs.offsets[1:], strict=False)]


def likeness(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other)


def truly_alike(sets: list[set[int]]) -> set[Pair]:
    rows: dict[int, list[int]] = defaultdict(list)
    for number, found in enumerate(sets):
        for shingle in found:
            rows[shingle].append(number)
    candidates = {pair for owners in rows.values() if 1 < len(owners) <= COMMONEST for pair in combinations(owners, 2)}
    return {(one, other) for one, other in candidates if likeness(sets[one], sets[other]) >= ALIKE}


def ours(rows: list[Messages]) -> tuple[set[Pair], set[int]]:
    """Pairs that were found, and rows that leave."""
    with tempfile.TemporaryDirectory() as folder:
        found = likeness_of(prints_of(rows), Path(folder) / "likeness", labelled=False)
    pairs = {(int(one), int(other)) for one, other in found.alike}
    pairs |= {(int(first), row) for row, first in enumerate(found.equality.first) if first != row}
    return pairs, set(np.flatnonzero(found.equals | found.resembles).tolist())


def peer(rows: list[Messages]) -> tuple[set[Pair], set[int]]:
    minima = np.concatenate(
        [
            _minima(ngrams(hashed_words([learnt_text(row) for row in rows[start : start + 128]]), SHINGLE_WORDS))
            for start in range(0, len(rows), 128)
        ]
    )
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, row in enumerate(minima):
        for band in range(PEER_BANDS):
            buckets[band, row[band * PEER_ROWS : (band + 1) * PEER_ROWS].tobytes()].append(number)
    pairs = {pair for owners in buckets.values() if len(owners) > 1 for pair in combinations(owners, 2)}
    return pairs, {later for _, later in pairs}


def main() -> None:
    """Print both tables."""
    rows, planted = corpus()
    sets = shingles(rows)
    alike = truly_alike(sets)
    repeated = {later for _, later in alike}
    found = {"ours": ours(rows), "peer (datasketch)": peer(rows)}
    print(
        f"{len(rows)} rows, {len(alike)} pairs of a similarity of at least {ALIKE}, {len(repeated)} rows repeat one\n"
    )
    print(
        "| | repeating rows found | pairs found that are alike | … at least 0.7 | pairs found |\n|---|---|---|---|---|"
    )
    for name, (pairs, left) in found.items():
        right = [likeness(sets[one], sets[other]) for one, other in pairs]
        print(
            f"| {name} | {len(left & repeated) / len(repeated):.1%} | {np.mean(np.array(right) >= ALIKE):.1%} "
            f"| {np.mean(np.array(right) >= ALIKE - 0.1):.1%} | {len(pairs)} |"
        )
    print(f"\n| kind of change (* held out) | copies of at least {ALIKE} | {' | '.join(found)} |\n|---|---|---|---|")
    for kind in dict.fromkeys(kind for kind, _ in planted):
        there = [pair[1] for own, pair in planted if own == kind and likeness(*(sets[row] for row in pair)) >= ALIKE]
        if there:
            shares = [f"{sum(row in left for row in there) / len(there):.1%}" for _, left in found.values()]
            print(f"| {kind} | {len(there)} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
