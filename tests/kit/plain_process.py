"""Published models in a process that never sees a module of ours: plain transformers and PEFT."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune_trainer.prepared import open_data

_SCRIPT = Path(__file__).with_name("plain_losses.py")

Request = Mapping[str, Any]


def request(base: Path, model: Path, data: Path) -> Request:
    """A published model, its base, and the prepared data whose test split it is to be measured on."""
    prepared = open_data(data)
    labels, test = prepared.manifest.labels, prepared.test
    documents = [
        {
            "ids": test.ids(index).tolist(),
            **({"labels": list(test.labels(index))} if labels else {"targets": test.mask(index).nonzero()[0].tolist()}),
        }
        for index in range(len(test))
    ]
    return {"base": str(base), "model": str(model), "documents": documents}


def losses(requests: Sequence[Request]) -> list[float]:
    """Of each the mean loss in nats, as `Metrics.test_loss` is; importing PyTorch once for all of them."""
    done = subprocess.run(
        [sys.executable, _SCRIPT],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["ours"] == []
    found: list[float] = told["losses"]
    return found
