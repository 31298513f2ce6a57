"""The process of one rank. Half of what it takes to start is saved by how the training libraries are imported."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Callable, Mapping

from finetune_api.spec import MethodType
from finetune_trainer import log_lines
from finetune_trainer.pod import Pod

_UNUSED = ("mlflow", "boto3")
"""What DeepSpeed's autotuner and accelerate's command line bring along, when it is installed, for what nobody calls."""


def import_training(*, quantized: bool = False) -> Callable[[Mapping[str, str]], int]:
    """`train.main`. Measured, in CPU seconds: 8.8; without what is unused 7.3; without garbage collection, too, 4.6.

    PEFT imports what QLoRA quantizes with wherever it is installed, and remembers whether it was.
    """
    # Looking again and again through all that was imported before finds nothing: modules stay.
    gc.disable()
    unused = _UNUSED if quantized else (*_UNUSED, "bitsandbytes")
    absent = [name for name in unused if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]
    from finetune_trainer.train import main

    for name in absent:
        del sys.modules[name]
    gc.freeze()
    gc.enable()
    return main


if __name__ == "__main__":
    log_lines.install(rank=int(os.environ["RANK"]))
    # Notes of libraries to one another (PEFT asks transformers by an old name).
    warnings.simplefilter("ignore", FutureWarning)
    method = Pod.from_env(os.environ).read_snapshot().spec.method.type
    exit_code = import_training(quantized=method is MethodType.QLORA)(os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that wait for a lost peer or a dead store would keep the interpreter from ending.
    os._exit(exit_code)
