"""Peak memory of preparation by size of its input, and its speed by number of processes: eight files on local disk.

    PYTHONPATH=tests/kit python tests/benchmarks/prepare/memory.py memory 500 4000     megabytes
    PYTHONPATH=tests/kit python tests/benchmarks/prepare/memory.py processes 100

Rows are of random words, about 1 kB each. Memory is the proportional set size of all processes together, at its peak.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from measure import Cost, run

from tiny_models import TokenizerKind, tiny_model

FILES: Final = 8
_SEED: Final = 5
_WORDS: Final = 30_000
_PROMPT: Final = 20
_ANSWER: Final = 140
_BATCH: Final = 2_000
_HERE: Final = Path(__file__).parent


def write_rows(folder: Path, megabytes: int) -> None:
    """About so many, of FILES files."""
    dice = np.random.default_rng(_SEED)
    letters = dice.integers(ord("a"), ord("z") + 1, size=(_WORDS, 6), dtype=np.uint8)
    letters[:, 5] = ord(" ")
    folder.mkdir()
    for number in range(FILES):
        with (folder / f"{number}.jsonl").open("wb") as file:
            while file.tell() < megabytes * 1_000_000 // FILES:
                file.writelines(_rows(dice, letters))


def _rows(dice: np.random.Generator, letters: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> Iterator[bytes]:
    words = letters[dice.integers(0, _WORDS, size=(_BATCH, _PROMPT + _ANSWER))]
    for row in words:
        prompt, answer = row[:_PROMPT].tobytes()[:-1], row[_PROMPT:].tobytes()[:-1]
        yield b'{"prompt": "%b", "completion": "%b"}\n' % (prompt, answer)


def prepare(folder: Path, cores: int) -> Cost:
    """The stage over `folder`/raw on so many cores."""
    with TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, _HERE / "ours.py", folder / "raw", folder / "model", f"{out}/out"]
        usable = ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))
        return run(["taskset", "-c", usable, *map(str, command)], environment=os.environ, log=folder / "log")


def main(what: str, *megabytes: str) -> None:
    """Print a table."""
    print("| input | processes | rows/s | CPU s | peak memory |\n| --- | --- | --- | --- | --- |")
    costs = []
    for size in map(int, megabytes):
        with TemporaryDirectory() as name:
            folder = Path(name)
            tiny_model(folder / "model", tokenizer=TokenizerKind.MISTRAL_V3, config={"max_position_embeddings": 8192})
            write_rows(folder / "raw", size)
            rows = sum(1 for path in (folder / "raw").iterdir() for _ in path.open("rb"))
            for cores in (1, 2) if what == "processes" else (2,):
                cost = prepare(folder, cores)
                costs.append(cost)
                speed, peak = rows / cost.seconds, cost.peak_bytes / 1e6
                print(f"| {size} MB | {cores} | {speed:,.0f} | {cost.cpu_seconds:.0f} | {peak:,.0f} MB |", flush=True)
    first, last = costs[0], costs[-1]
    if what == "processes":
        print(f"two processes are {first.seconds / last.seconds:.2f} times as fast as one")
    else:
        print(f"the last takes {last.peak_bytes / first.peak_bytes:.2f} times the memory of the first")


if __name__ == "__main__":
    main(*sys.argv[1:])
