"""What the jobs on real pods train: a tiny random Mistral with Mistral's own v3 tokenizer, on raw rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corpora import pair, ticket, write_rows
from jobs import merge
from real.store import Store
from tiny_models import TokenizerKind, tiny_model

BUCKET = "e2e"
NUM_ROWS = 400
BAD_LINES = (7, 8, 9, 100, 101, 150, 233, 300, 301, 399)
"""More than one in a hundred, and not fewer than ten, which are always forgiven."""


def make_materials(folder: Path) -> Path:
    """`model/`, `raw/rows.jsonl`, labelled ones in `tickets/`, and in `bad/` lines that are no JSON among good ones."""
    tiny_model(folder / "model", hidden_size=64, tokenizer=TokenizerKind.MISTRAL_V3)
    rows = [pair(number) for number in range(NUM_ROWS)]
    write_rows(folder / "raw" / "rows.jsonl", rows)
    write_rows(folder / "tickets" / "rows.jsonl", map(ticket, range(NUM_ROWS)))
    broken = [b'{"prompt": "cut' if number in BAD_LINES else row for number, row in enumerate(rows, 1)]
    write_rows(folder / "bad" / "rows.jsonl", broken)
    return folder


def real_spec(store: Store, output: str, **spec: Any) -> Mapping[str, Any]:
    """Two nodes on the CPU, some 430 steps of 30 to 100 ms, a checkpoint each second; all of them are kept."""
    tiny: dict[str, Any] = {
        "model": {"uri": f"s3://{BUCKET}/model"},
        "data": {"sources": [{"uri": f"s3://{BUCKET}/raw/*.jsonl"}]},
        "method": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}},
        "training": {
            "epochs": 16,
            "sequenceLength": 128,
            "globalBatchSize": 2,
            "learningRate": 0.003,
            "precision": "Float32",
        },
        "evaluation": {"everySteps": 50, "generateRows": 2, "maxNewTokens": 8},
        "checkpoint": {"intervalSeconds": 1, "keepLast": 100},
        "workers": {"nodes": 2},
        "output": {"uri": f"s3://{BUCKET}/{output}"},
        "storage": store.storage_spec(),
    }
    return merge(tiny, spec)
