"""generation_config.json: how plain transformers' `generate` goes on, and that it stops where trained answers end."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final

from finetune_trainer.tokenizers import ChatTokenizer

GENERATION: Final = "generation_config.json"
_OF_ITS_WRITER: Final = ("_from_model_config", "transformers_version")
"""The first would have transformers go by config.json instead."""

log = logging.getLogger(__name__)


def write_generation_config(trained: ChatTokenizer, base: Path, folder: Path) -> None:
    """Write to `folder` the base model's settings, where it has some, with the EOS that answers were trained with.

    Without the id of padding `generate` takes that of EOS, and warns.
    """
    own = _read(base / GENERATION)
    settings = {name: value for name, value in own.items() if name not in _OF_ITS_WRITER and value is not None}
    bos = _read(base / "config.json").get("bos_token_id")
    ids = {} if bos is None else {"bos_token_id": bos}
    settings = ids | {"pad_token_id": trained.pad_id} | settings | {"eos_token_id": trained.eos_id}
    (folder / GENERATION).write_text(json.dumps(settings, indent=2, sort_keys=True), "utf-8")


def _read(path: Path) -> dict[str, Any]:
    """Nothing where there is no such file, or none that can be read: nobody has checked it before."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        log.warning("%s of the base model is left out: %s", path.name, error)
        return {}
    return found if isinstance(found, dict) else {}
