"""torch.compile, block by block: minutes at the start for faster steps."""

from __future__ import annotations

import os
import shutil
from typing import Any

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed

_DISABLED = "TORCHDYNAMO_DISABLE"
_COMPILERS = ("cc", "gcc", "clang")


def obstacle() -> str | None:
    """Why nothing can be compiled here."""
    if "CC" in os.environ or any(shutil.which(name) for name in _COMPILERS):
        return None
    return "it takes a C compiler, and the image has none"


def allow() -> None:
    """Let this process compile. It starts without, for importing the compiler takes seconds (see ranks.py)."""
    import torch._dynamo

    os.environ.pop(_DISABLED, None)
    torch._dynamo.config.disable = False


def compile_blocks(base: Any) -> None:
    """Of a transformers model, one by one: all share what is compiled for the first. Raises StageFailed."""
    if (reason := obstacle()) is not None:
        raise StageFailed(
            ExitCode.UNSUPPORTED_HARDWARE,
            "CannotCompile",
            f"nothing can be compiled: {reason}",
            field="spec.memory.compile",
        )
    allow()
    for block in base.model.layers:
        block.compile()
