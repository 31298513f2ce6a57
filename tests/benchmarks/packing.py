"""How full rows are and how long packing takes, here and as others do it, on the same documents in the same process.

    PYTHONPATH=trainer/src:crds/src python tests/benchmarks/packing.py [DOCUMENTS] [--most-documents-of-peers N]

Peers are written down here by what they do, each as fast as plain Python lets it be:
- best fit decreasing over all documents, and in batches of 1,000, which is what TRL's `bfd` makes of a dataset that
  `datasets` maps in its default batches;
- first come, first served (next fit): what torchtune's PackedDataset does with `split_across_pack=False`.
They are measured on fewer documents where they would take minutes.
"""

from __future__ import annotations

import argparse
import resource
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.packing import num_rows, pack_epoch

ROW: Final = 4096
Lengths = NDArray[np.int32]


def distributions(documents: int) -> Mapping[str, Lengths]:
    """Tokens of each document, by the kind of data."""
    random = np.random.default_rng(5)
    drawn = {
        "chat (log-normal, median 245)": random.lognormal(5.5, 0.6, documents).clip(8, ROW),
        "tweets (5 to 60)": random.integers(5, 61, documents),
        "even, to a quarter of a row": random.integers(8, ROW // 4 + 1, documents),
        "even, a tenth to a quarter": random.integers(ROW // 10, ROW // 4 + 1, documents),
        "articles (long tail)": (random.pareto(1.2, documents) * 60 + 20).clip(1, ROW),
        "even, to a whole row": random.integers(1, ROW + 1, documents),
        "a third to a half of a row": random.integers(ROW // 3, ROW // 2, documents),
    }
    return {name: lengths.astype(np.int32) for name, lengths in drawn.items()}


def ours(lengths: Lengths) -> int:
    return len(pack_epoch(lengths, sequence_length=ROW, seed=0, epoch=0))


def best_fit_decreasing(lengths: Lengths) -> int:
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []
    for document in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[document])
        place = bisect_left(free, (length, -1))
        left, row = free.pop(place) if place < len(free) else (ROW, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(document)
        if left > length:
            insort(free, (left - length, row))
    return len(rows)


def in_batches_of_1000(lengths: Lengths) -> int:
    return sum(best_fit_decreasing(lengths[start : start + 1000]) for start in range(0, len(lengths), 1000))


def next_fit(lengths: Lengths) -> int:
    rows: list[list[int]] = [[]]
    left = ROW
    for document, length in enumerate(lengths.tolist()):
        if length > left:
            rows.append([])
            left = ROW
        rows[-1].append(document)
        left -= length
    return len(rows)


PEERS: Final[Mapping[str, Callable[[Lengths], int]]] = {
    "best fit decreasing": best_fit_decreasing,
    "the same, in 1,000s (TRL)": in_batches_of_1000,
    "next fit (torchtune)": next_fit,
}


def measured(pack: Callable[[Lengths], int], lengths: Lengths) -> str:
    began = time.process_time()
    rows = pack(lengths)
    seconds = time.process_time() - began
    return f"{100 * lengths.sum(dtype=np.int64) / (ROW * rows):.2f} %, {seconds / len(lengths) * 1e6:.2f} µs"


def main() -> None:
    """Print the table: fill, and CPU time for each document."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("documents", type=int, nargs="?", default=10_000_000)
    arguments.add_argument("--most-documents-of-peers", type=int, default=500_000)
    chosen = arguments.parse_args()
    print(f"| {chosen.documents:,} documents, rows of {ROW} | p99 / row | ours | {' | '.join(PEERS)} |")
    print(f"|---|---|---|{'---|' * len(PEERS)}")
    slowest = 0.0
    for name, lengths in distributions(chosen.documents).items():
        began = time.process_time()
        figures = [measured(ours, lengths)]
        slowest = max(slowest, time.process_time() - began)
        figures += [measured(pack, lengths[: chosen.most_documents_of_peers]) for pack in PEERS.values()]
        print(f"| {name} | {np.percentile(lengths, 99) / ROW:.2f} | {' | '.join(figures)} |", flush=True)
    lengths = next(iter(distributions(chosen.documents).values()))
    rows = num_rows(lengths, sequence_length=ROW, seed=0, epochs=3)
    print(f"\nslowest: {slowest:.1f} s of CPU time for {chosen.documents:,} documents")
    print(f"rows of three epochs of the first: {', '.join(map(str, rows))}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


if __name__ == "__main__":
    main()
