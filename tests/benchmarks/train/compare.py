"""Tokens per second of the training loop and of TRL's SFTTrainer, on the CPU: one model, data, precision, thread count.

    PYTHONPATH=tests/kit python tests/benchmarks/train/compare.py [--steps 8] [--rounds 3] [--threads 1]

The peer is peer/sft.py in its own locked environment. Its default pads each batch of 8 to the longest document: nothing
that merely leaves padding out can be faster than 1 / (real tokens / places), the limit. Neither side recomputes.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

from case import DISTRIBUTIONS, FULL, ROW, SHAPE
from safetensors.numpy import save_file

from tiny_models import tiny_model, tiny_weights

_HERE: Final = Path(__file__).parent
_PEER: Final = _HERE / "peer"


def _outside() -> dict[str, str]:
    """The environment without what belongs to this project's own."""
    return {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}


def _run(command: list[str], environ: Mapping[str, str]) -> dict[str, Any]:
    done = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: status {done.returncode}\n{done.stderr.split('nanobind:')[0][-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _write_model(folder: Path) -> None:
    """A Mistral of SHAPE with random weights, and a tokenizer that nobody asks anything."""
    tiny_model(folder)
    shape = json.loads((folder / "config.json").read_text()) | SHAPE
    (folder / "config.json").write_text(json.dumps(shape))
    save_file(tiny_weights(shape, seed=0), folder / "model.safetensors", metadata={"format": "pt"})


class Bench:
    """What runs have in common."""

    def __init__(self, folder: Path, *, steps: int, threads: int) -> None:
        self._steps, self._model = str(steps), folder / "model"
        _write_model(self._model)
        self._common = {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        environment = folder / "peer"  # not beside the script: a tree of tests holds no packages
        self._python = environment / "bin" / "python"
        command = [os.environ.get("UV", "uv"), "sync", "--quiet", "--locked", "--project", str(_PEER)]
        subprocess.run(command, check=True, env={**_outside(), "UV_PROJECT_ENVIRONMENT": str(environment)})

    def ours(self, distribution: str) -> dict[str, Any]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
        gang = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        own = {"GLOO_SOCKET_IFNAME": "lo", "DS_ACCELERATOR": "cpu", "TORCHDYNAMO_DISABLE": "1"}
        command = [sys.executable, str(_HERE / "ours.py"), str(self._model), distribution, self._steps]
        return _run(command, {**os.environ, **self._common, **gang, **own})

    def peer(self, distribution: str, mode: str) -> dict[str, Any]:
        command = [str(self._python), str(_PEER / "sft.py"), str(self._model), distribution, mode, self._steps]
        return _run(command, {**_outside(), **self._common})


def rate(run: Mapping[str, Any]) -> float:
    """Real tokens a second: of all steps but the first, the fastest half, for others may use the machine, too."""
    steps = sorted(zip(run["seconds"], run["tokens"], strict=True), key=lambda step: step[0] / step[1])
    fastest = steps[: max(1, len(steps) // 2)]
    return sum(tokens for _, tokens in fastest) / sum(seconds for seconds, _ in fastest)


def main() -> None:
    """Print the table."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=cache / "finetune-operator" / "bench-train")
    parser.add_argument("--only", nargs="+", choices=DISTRIBUTIONS, default=list(DISTRIBUTIONS))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(asked.folder, steps=asked.steps, threads=asked.threads)
    full = median(rate(bench.ours(FULL)) for _ in range(asked.rounds))
    print(f"{asked.threads} thread, fp32, LoRA, rows of {ROW} tokens; median of {asked.rounds} rounds")
    print(f"\nDocuments as long as a row, which need no packing: {full:,.0f} tokens/s\n")
    print("| | ours, tokens/s | of full rows | TRL, padded | ratio | limit | of it | TRL, packed | leak | loop's own |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    start: list[dict[str, float]] = []
    for distribution in asked.only:
        rounds = [
            (bench.ours(distribution), bench.peer(distribution, "padded"), bench.peer(distribution, "packed"))
            for _ in range(asked.rounds)
        ]
        ours, padded, packed = (median(map(rate, runs)) for runs in zip(*rounds, strict=True))
        ratio = median(rate(own) / rate(theirs) for own, theirs, _ in rounds)
        limit = 1 / median(theirs["filled"] for _, theirs, _ in rounds)
        leak = max(theirs["leak"] for *_, theirs in rounds)
        loop = median(1 - sum(own["engine"]) / sum(own["seconds"]) for own, *_ in rounds)
        start += [own["start"] for own, *_ in rounds]
        print(
            f"| {distribution} | {ours:,.0f} | {ours / full:.2f} | {padded:,.0f} | {ratio:.2f} | {limit:.2f} "
            f"| {ratio / limit:.2f} | {packed:,.0f} | {leak:.1e} | {100 * loop:.1f} % |",
            flush=True,
        )
    parts = {name: median(one[name] for one in start) for name in start[0]}
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())
    print(f"\nFrom the process's start to the end of its first step: {sum(parts.values()):.1f} s ({steps})")


if __name__ == "__main__":
    main()
