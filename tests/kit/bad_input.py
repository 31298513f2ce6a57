"""Jobs whose input is wrong in one way each, and what `finetune run` is to say of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from corpora import pair, write_rows
from local_runs import TinyRun, make_materials


def nothing(materials: Path) -> None:
    """The materials stay as they are."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """An input that is wrong in one way, and what is said of it."""

    name: str
    field: str
    says: str
    harm: Callable[[Path], None] = nothing
    """Done to the materials in this folder."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Merged over that of a good job; MATERIALS stands for their URI."""
    places: tuple[str, ...] = ()


def remove_model(materials: Path) -> None:
    shutil.rmtree(materials / "model")


def edit_config(materials: Path, **changes: Any) -> None:
    path = materials / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(materials: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = materials / "model" / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def lose_tensor(materials: Path) -> None:
    edit_tensors(materials, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))


def shrink_vocabulary(materials: Path) -> None:
    name = "model.embed_tokens.weight"
    edit_tensors(materials, lambda tensors: tensors.update({name: tensors[name][:200].copy()}))
    edit_config(materials, vocab_size=200)


def empty_rows(materials: Path) -> None:
    (materials / "raw" / "rows.jsonl").write_bytes(b"\n\n")


def break_rows(materials: Path) -> None:
    broken = [b"{broken" if number % 2 else pair(number) for number in range(30)]
    write_rows(materials / "raw" / "rows.jsonl", broken)


UNREACHABLE_STORE = Case(
    name="unreachable store",
    field="spec.storage",
    says="http://127.0.0.1:1 (spec.storage.endpoint)",
    spec={
        "model": {"uri": "s3://models/mistral"},
        "storage": {"endpoint": "http://127.0.0.1:1"},
        "restart": {"maxRestarts": 0},
    },
)
"""It is given half a minute for its first answer."""

CASES = (
    Case(name="no model", field="spec.model.uri", says="nothing is stored under MATERIALS/model/", harm=remove_model),
    Case(
        name="model type",
        field="spec.model.uri",
        says="model_type 'qwen3'",
        harm=lambda materials: edit_config(materials, model_type="qwen3"),
    ),
    Case(
        name="tensor missing",
        field="spec.model.uri",
        says="model.layers.1.mlp.up_proj.weight",
        harm=lose_tensor,
    ),
    Case(name="tokenizer", field="spec.model.uri", says="has 259 tokens, the model 200", harm=shrink_vocabulary),
    Case(name="no rows", field="spec.data.sources", says="there are no rows", harm=empty_rows),
    Case(
        name="no source",
        field="spec.data.sources[0].uri",
        says="nothing is stored under MATERIALS/raw/*.json",
        spec={"data": {"sources": [{"uri": "MATERIALS/raw/*.json"}]}},
    ),
    Case(
        name="mapped field",
        field="spec.task.instruction.promptField",
        says="the rows have: completion, prompt",
        spec={"task": {"instruction": {"promptField": "question", "completionField": "completion"}}},
    ),
    Case(
        name="group",
        field="spec.data.split.groupBy",
        says="no row has the field 'ticket_id'; the rows have: completion, prompt",
        spec={"data": {"split": {"groupBy": "ticket_id"}}},
    ),
    Case(
        name="bad rows",
        field="spec.data.sources",
        says="15 of 30 rows (50.0 %) are unreadable or invalid, spec.data.maxBadRowPercent is 1",
        harm=break_rows,
        places=tuple(f"MATERIALS/raw/rows.jsonl:{line}" for line in range(2, 21, 2)),
    ),
)


@dataclass(frozen=True)
class Refused:
    """How it ended, with the folder's name taken out of what it said."""

    run: TinyRun
    status: int
    said: str

    @property
    def lines(self) -> list[str]:
        return [" ".join(line.split()) for line in self.said.splitlines()]


def carry_out(case: Case, folder: Path) -> Refused:
    materials = make_materials(folder / "materials")
    case.harm(materials)
    run = TinyRun(folder, materials)
    uri = f"file://{materials}"
    spec = json.loads(json.dumps(case.spec).replace("MATERIALS", uri))
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    status, said = run.run(run.write(**spec), keys, within=60)
    return Refused(run, status, said.replace(uri, "MATERIALS"))
