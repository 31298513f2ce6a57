"""The adapter to go on from, refused by name when it is not of this job's shape or base model."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune_api.result import Metrics
from finetune_api.spec import LoRA
from finetune_trainer import materials
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.model import resolve
from finetune_trainer.prepare.model.adapter import expected_adapter
from finetune_trainer.prepare.model.initial import InitialAdapter, resolve_adapter
from finetune_trainer.publication import Manifest
from finetune_trainer.storage import open_storage
from memory_storage import MemoryStorage
from tiny_models import tiny_model

STORAGE = open_storage()
FIELD = "spec.method.lora.initialAdapterUri"
MODULES = ("q_proj", "down_proj")
SETTINGS = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "use_rslora": False,
    "bias": "none",
    "target_modules": ["down_proj", "q_proj"],
    "layers_to_transform": None,
    "base_model_name_or_path": "elsewhere",
}


def lora(folder: Path, **changes: Any) -> LoRA:
    return LoRA(**{"rank": 4, "alpha": 8, "initial_adapter_uri": f"file://{folder}"} | changes)


def write_adapter(folder: Path, base: Path, *, asked: LoRA | None = None, **settings: Any) -> Path:
    folder.mkdir(parents=True)
    config = resolve(STORAGE, f"file://{base}").config
    shapes = expected_adapter(config, asked or lora(folder), MODULES)
    save_file(
        {name: np.ones(shape, np.float32) for name, shape in shapes.items()}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps(SETTINGS | settings))
    return folder


def write_manifest(folder: Path, base_digest: str) -> None:
    manifest = Manifest(
        run="r",
        step=1,
        epoch=1,
        base_model_uri="s3://models/base",
        base_model_digest=base_digest,
        data_uri="s3://data",
        data_digest="0" * 64,
        metrics=Metrics(),
        files=(),
    )
    (folder.parent / "manifest.json").write_text(manifest.model_dump_json(by_alias=True))


def resolved(base: Path, asked: LoRA, *, labels: bool = False) -> InitialAdapter | None:
    model = resolve(STORAGE, f"file://{base}")
    return resolve_adapter(
        STORAGE, asked, config=model.config, model_digest=model.digest, target_modules=MODULES, labels=labels
    )


def refusal(base: Path, asked: LoRA, **more: Any) -> str:
    with pytest.raises(StageFailed) as failed:
        resolved(base, asked, **more)
    assert (failed.value.exit_code, failed.value.failure.field) == (65, FIELD)
    return failed.value.failure.message.removeprefix(f"{FIELD}: ")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "base")


def test_a_job_that_names_no_adapter_starts_a_new_one(base: Path) -> None:
    assert resolved(base, LoRA()) is None


def test_an_adapter_published_for_this_base_model_is_taken_wherever_it_lies(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [write_adapter(tmp_path / name / "model", base) for name in ("a", "b")]
    for folder in folders:
        write_manifest(folder, resolve(STORAGE, f"file://{base}").digest)
    with caplog.at_level(logging.WARNING):
        found = [resolved(base, lora(folder)) for folder in folders]
    assert caplog.messages == []
    one, other = (adapter for adapter in found if adapter is not None)
    assert one.digest == other.digest
    assert [stored.uri.rpartition("/")[2] for stored in one.every] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_another_content_is_another_digest(base: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a" / "model", base)
    before = resolved(base, lora(folder))
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
    after = resolved(base, lora(folder))
    assert before is not None
    assert after is not None
    assert before.digest != after.digest


def test_an_adapter_of_another_base_model_is_refused(base: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a" / "model", base)
    write_manifest(folder, "f" * 32)
    message = refusal(base, lora(folder))
    assert "was trained on another base model (s3://models/base, digest ffff" in message


def test_of_an_adapter_from_elsewhere_the_log_says_what_is_not_known(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_adapter(tmp_path / "a", base)
    with caplog.at_level(logging.WARNING):
        assert resolved(base, lora(folder)) is not None
    assert "has no manifest of this trainer" in caplog.messages[0]


@pytest.mark.parametrize(
    ("settings", "changes", "named"),
    [
        ({"r": 8}, {}, "otherwise than spec.method.lora.rank"),
        ({}, {"alpha": 16}, "otherwise than spec.method.lora.alpha"),
        ({"use_rslora": True}, {}, "otherwise than spec.method.lora.rankStabilized"),
        ({"target_modules": ["q_proj"]}, {}, "otherwise than spec.method.lora.targetModules"),
        ({"target_modules": "all-linear"}, {}, "otherwise than spec.method.lora.targetModules"),
        ({"layers_to_transform": [1]}, {}, "otherwise than spec.method.lora.lastLayers"),
        ({"peft_type": "LOHA"}, {}, "peft_type 'LOHA'"),
        ({"use_dora": True}, {}, "sets use_dora"),
        ({"rank_pattern": {"q_proj": 8}}, {}, "sets rank_pattern"),
        ({"bias": "all"}, {}, "sets bias"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    base: Path, tmp_path: Path, settings: dict[str, Any], changes: dict[str, Any], named: str
) -> None:
    folder = write_adapter(tmp_path / "a", base, **settings)
    assert named in refusal(base, lora(folder, **changes))


def test_a_file_that_is_missing_or_cut_is_named(base: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", base)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "adapter_model.safetensors has" in refusal(base, lora(folder))
    weights.unlink()
    assert refusal(base, lora(folder)) == f"file://{weights} is missing"
    (folder / "adapter_config.json").write_text("[]")
    weights.touch()
    assert "adapter_config.json holds no object" in refusal(base, lora(folder))


def test_tensors_that_do_not_fit_are_named(base: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", base, asked=lora(tmp_path, last_layers=1))
    assert "base_model.model.model.layers.0." in refusal(base, lora(folder))
    wide = tiny_model(tmp_path / "wide", hidden_size=64)
    folder = write_adapter(tmp_path / "b", wide)
    assert "has shape (4, 128), this base model asks for (4, 64)" in refusal(base, lora(folder))


def test_a_classifiers_head_belongs_to_a_classification_alone(base: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", base)
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors["base_model.model.score.weight"] = np.ones((3, 32), np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    assert resolved(base, lora(folder), labels=True) is not None
    assert "base_model.model.score.weight" in refusal(base, lora(folder))


def test_a_node_brings_the_adapter_that_was_prepared_for_and_no_other(base: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", base)
    found = resolved(base, lora(folder))
    assert found is not None
    storage = MemoryStorage()
    for path in folder.iterdir():
        storage.upload(path, f"s3://out/model/{path.name}")
    here = tmp_path / "here"
    materials.fetch_adapter("s3://out/model", found.digest, storage=storage, folder=here)
    assert {path.name: path.read_bytes() for path in here.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    with pytest.raises(StageFailed, match="no longer the adapter") as failed:
        materials.fetch_adapter("s3://out/model", "0" * 32, storage=storage, folder=here)
    assert (failed.value.exit_code, failed.value.failure.field) == (65, FIELD)
