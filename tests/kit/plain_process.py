"""Published models in a process that never sees a module of ours: plain transformers and PEFT."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finetune_trainer.prepared import Documents, open_data
from preloaded import Preloaded

Request = Mapping[str, Any]


def request(base: Path, model: Path, data: Path, *, initial: Path | None = None) -> Request:
    """A published model, its base, the prepared data whose test split it is to be measured on, where it began."""
    prepared = open_data(data)
    labelled = bool(prepared.manifest.labels)
    documents = [_document(prepared.test, index, labelled=labelled) for index in range(len(prepared.test))]
    return {
        "base": str(base),
        "model": str(model),
        "initial": None if initial is None else str(initial),
        "documents": documents,
    }


def _document(test: Documents, index: int, *, labelled: bool) -> dict[str, Any]:
    if labelled:
        return {"ids": test.ids(index).tolist(), "labels": list(test.labels(index))}
    breaks = list(test.breaks(index))
    sequences = [
        {"ids": ids.tolist(), "targets": mask.nonzero()[0].tolist()}
        for ids, mask in zip(np.split(test.ids(index), breaks), np.split(test.mask(index), breaks), strict=True)
    ]
    return {"pair": sequences} if breaks else sequences[0]


def told_by(script: str, *arguments: str, given: Any, preloaded: Preloaded | None = None) -> Any:
    """The JSON that a script of this folder prints when it reads `given` as JSON. Fails with its standard error.

    With `preloaded` it need not import PyTorch for itself.
    """
    path = Path(__file__).with_name(script)
    if preloaded is not None:
        return preloaded.run_plain(path, *arguments, given=given)
    done = subprocess.run(
        [sys.executable, path, *arguments],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def losses(requests: Sequence[Request], preloaded: Preloaded | None = None) -> list[float]:
    """Of each the mean loss in nats, as `Metrics.test_loss` is."""
    told = told_by("plain_losses.py", given=requests, preloaded=preloaded)
    assert told["ours"] == []
    found: list[float] = told["losses"]
    return found
