"""Data preparation against the pipeline that people have today: the same rows, the same cores, one after the other.

    make bench-prepare                                           200 MB of each kind, three rounds
    PYTHONPATH=tests/kit python tests/benchmarks/prepare --megabytes 20 --rounds 1

Both read, repair encodings, remove exact and near duplicates, split, tokenize with a loss mask, and write. The peer is
peer/pipeline.py in its own locked environment. Imports of either side are inside what is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from corpus import KINDS, write_corpus
from measure import Cost, run

from tiny_models import TokenizerKind, tiny_model

_HERE: Final = Path(__file__).parent
_PEER: Final = _HERE / "peer"
_CONTEXT: Final = 32768


@dataclass(frozen=True)
class Run:
    """One run of one side."""

    cost: Cost
    told: dict[str, Any]
    """What the side printed: rows, kept rows by split, and its steps."""


class Bench:
    """What runs have in common."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._scratch = scratch
        self._model = folder / "model"
        self._tokenizer = folder / "tokenizer"
        if not self._model.exists():
            window = {"max_position_embeddings": _CONTEXT}
            tiny_model(self._model, tokenizer=TokenizerKind.MISTRAL_V3, config=window)
        environment = folder / "peer"  # not beside the script: a tree of tests holds no packages
        self._python = environment / "bin" / "python"
        uv = os.environ.get("UV", "uv")
        command = [uv, "sync", "--quiet", "--locked", "--project", str(_PEER)]
        subprocess.run(command, check=True, env={**_outside(), "UV_PROJECT_ENVIRONMENT": str(environment)})
        if not (self._tokenizer / "tokenizer.json").exists():
            convert = [self._python, _PEER / "pipeline.py", "convert", self._model / "tokenizer.model", self._tokenizer]
            subprocess.run(convert, check=True, env=_outside())

    def ours(self, raw: Path, cores: set[int], *options: str) -> Run:
        """The stage, on these cores."""
        with TemporaryDirectory(dir=self._scratch) as out:
            command = [sys.executable, str(_HERE / "ours.py"), str(raw), str(self._model), f"{out}/out", *options]
            return self._run(command, cores, os.environ)

    def peer(self, raw: Path, cores: set[int]) -> Run:
        """The peer, on these cores, with empty caches."""
        with TemporaryDirectory(dir=self._scratch) as out:
            command = [str(self._python), str(_PEER / "pipeline.py"), "prepare", str(raw), str(self._tokenizer), out]
            return self._run(command, cores, {**_outside(), "HF_HOME": f"{out}/home", "TMPDIR": out})

    def _run(self, command: list[str], cores: set[int], environment: Mapping[str, str]) -> Run:
        with _affinity(cores):
            cost = run(command, environment=environment, log=self._scratch / f"errors-{min(cores)}.log")
        return Run(cost, json.loads(cost.output.splitlines()[-1]))


def _outside() -> dict[str, str]:
    """The environment without what belongs to this project's own."""
    return {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}


@contextmanager
def _affinity(cores: set[int]) -> Iterator[None]:
    """Processes that are started meanwhile run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def compare(bench: Bench, raw: Path, rows: int, *, rounds: int, cores: set[int]) -> None:
    """Both sides by turns, and what came of it as a table."""
    size = sum(path.stat().st_size for path in raw.glob("*.jsonl")) / 1e6
    ours: list[Run] = []
    peer: list[Run] = []
    for number in range(rounds):
        # Who comes second finds the raw files in memory: each side does, in turn.
        for side in ("ours", "peer") if number % 2 == 0 else ("peer", "ours"):
            done = bench.ours(raw, cores) if side == "ours" else bench.peer(raw, cores)
            (ours if side == "ours" else peer).append(done)
            print(f"round {number + 1}, {side}: {done.cost.seconds:.1f} s, {done.told['kept']}", file=sys.stderr)
    ratios = [theirs.cost.seconds / own.cost.seconds for own, theirs in zip(ours, peer, strict=True)]
    print(f"\n{rows} rows, {size:.0f} MB, {len(cores)} cores, {rounds} rounds: median (least to most)\n")
    print("| | finetune prepare | peer | ratio |\n|---|---|---|---|")
    print(f"| rows/s | {_spread([rows / r.cost.seconds for r in ours], 0)} ", end="")
    print(f"| {_spread([rows / r.cost.seconds for r in peer], 0)} | {_spread(ratios, 1)} |")
    for name, of, digits in (
        ("MB/s", lambda r: size / r.cost.seconds, 2),
        ("seconds", lambda r: r.cost.seconds, 1),
        ("CPU seconds", lambda r: r.cost.cpu_seconds, 1),
        ("peak memory, MB", lambda r: r.cost.peak_bytes / 1e6, 0),
        ("rows kept", lambda r: sum(r.told["kept"].values()), 0),
    ):
        print(f"| {name} | {_spread(list(map(of, ours)), digits)} | {_spread(list(map(of, peer)), digits)} | |")
    steps = peer[-1].told["steps"]
    whole = sum(step["cpu_seconds"] for step in steps.values())
    shares = (f"{name} {100 * step['cpu_seconds'] / whole:.0f} %" for name, step in steps.items())
    print(f"\npeer, share of CPU time: {', '.join(shares)}")


def scale(bench: Bench, raw: Path, *, rounds: int, cores: set[int]) -> None:
    """One core against two, beside what two cores of this machine are worth, and where the time goes on one."""
    one, other = ({core} for core in sorted(cores)[:2])
    faster, ceiling = [], []
    for _ in range(rounds):
        alone, both = bench.ours(raw, one).cost.seconds, bench.ours(raw, one | other).cost.seconds
        with ThreadPoolExecutor(2) as threads:  # affinity is a thread's own
            apart = max(run.cost.seconds for run in threads.map(partial(bench.ours, raw), (one, other)))
        faster.append(alone / both)
        ceiling.append(2 * alone / apart)
        print(f"one core {alone:.1f} s, two {both:.1f} s, two runs at once {apart:.1f} s", file=sys.stderr)
    print(
        f"\none core to two: {_spread(faster, 2)} times as fast; two runs at once, a core each: {_spread(ceiling, 2)}"
    )
    steps = bench.ours(raw, one, "steps").told["steps"]
    whole = sum(steps.values())
    shares = (f"{name} {100 * seconds / whole:.0f} %" for name, seconds in steps.items())
    print(f"finetune prepare, share of {whole:.0f} s of CPU time on one core: {', '.join(shares)}")


def _spread(values: list[float], digits: int) -> str:
    middle = f"{median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def main() -> None:
    """Print a table for each kind of data."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200, help="of raw rows, of each kind")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--folder", type=Path, default=cache / "finetune-operator" / "bench-prepare")
    parser.add_argument("--only", choices=("compare", "scale"), help="one of the two parts")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    cores = os.sched_getaffinity(0)
    scratch = asked.folder / "scratch"
    rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    bench = Bench(asked.folder, scratch)
    for kind in asked.kinds:
        raw = asked.folder / f"{kind}-{asked.megabytes}"
        rows, digest = write_corpus(raw, kind, asked.megabytes)
        print(f"\n### {kind}, sha256 of the rows {digest[:16]}")
        if asked.only != "scale":
            compare(bench, raw, rows, rounds=asked.rounds, cores=cores)
        if asked.only != "compare":
            scale(bench, raw, rounds=asked.rounds, cores=cores)
    rmtree(scratch)


if __name__ == "__main__":
    main()
