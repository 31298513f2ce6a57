"""Where the time goes between a rank's start and its first step: the import of each package, by itself.

    PYTHONPATH=tests/kit python tests/benchmarks/train/start.py

What compare.py prints of a start is the same start without `-X importtime`, which makes imports slower.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from typing import Final

_CODE: Final[dict[str, str]] = {
    "launcher": "import finetune_trainer.launch",
    "rank, as it is": "from finetune_trainer.rank import import_training; import_training()",
    "rank, plainly imported": "import finetune_trainer.train",
}
_ENVIRON: Final = {
    "DS_ACCELERATOR": "cpu",
    "TORCHDYNAMO_DISABLE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
}
_SHOWN: Final = 12


def cpu_seconds(code: str) -> float:
    """Of a process that does this and ends."""
    before = os.times()
    command = [sys.executable, "-c", f"{code}; import os; os._exit(0)"]
    subprocess.run(command, env={**os.environ, **_ENVIRON}, check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def by_package(code: str) -> Counter[str]:
    """Seconds that importing each top-level package's own modules took."""
    command = [sys.executable, "-X", "importtime", "-c", f"{code}; import os; os._exit(0)"]
    done = subprocess.run(command, env={**os.environ, **_ENVIRON}, check=True, capture_output=True, text=True)
    found: Counter[str] = Counter()
    for line in done.stderr.splitlines():
        if line.startswith("import time:") and not line.endswith("imported package"):
            own, _, name = line.removeprefix("import time:").split("|")
            found[name.strip().split(".")[0]] += int(own) / 1e6
    return found


def main() -> None:
    """Print both."""
    for name, code in _CODE.items():
        cpu_seconds(code)  # what is compiled and cached by the first is not the second's
        began = time.monotonic()
        seconds = cpu_seconds(code)
        print(f"{name}: {seconds:.1f} CPU s, {time.monotonic() - began:.1f} s", flush=True)
    packages = by_package(_CODE["rank, as it is"])
    whole = packages.total()
    print("\nrank, share of imports: ", end="")
    print(", ".join(f"{name} {100 * seconds / whole:.0f} %" for name, seconds in packages.most_common(_SHOWN)))


if __name__ == "__main__":
    main()
