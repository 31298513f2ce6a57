"""Jobs whose input is wrong in one way each, and what `finetune run` is to say of it."""

from __future__ import annotations

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
    """Merged over that of a good job."""
    places: tuple[str, ...] = ()
    """MATERIALS stands for their URI."""


def lose_tensor(materials: Path) -> None:
    path = materials / "model" / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


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
    Case(
        name="tensor missing",
        field="spec.model.uri",
        says="model.layers.1.mlp.up_proj.weight",
        harm=lose_tensor,
    ),
    Case(
        name="bad rows",
        field="spec.data.sources",
        says="15 of 30 rows (50.0 %) are unreadable or invalid, spec.data.maxBadRowPercent is 1",
        harm=break_rows,
        places=tuple(f"MATERIALS/raw/rows.jsonl:{line}" for line in range(2, 21, 2)),
    ),
)
"""Of the mistakes in tests/trainer/prepare one that ends it before rows are read, and one of the rows themselves."""


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
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    status, said = run.run(run.write(**case.spec), keys, within=60)
    return Refused(run, status, said.replace(f"file://{materials}", "MATERIALS"))
