"""The base model, refused by name when anything is missing or does not fit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.model import BaseModel, load_tokenizer, read_shape, resolve
from finetune_trainer.prepare.model.architecture import shape_of
from finetune_trainer.storage import AccessDenied, open_storage
from memory_storage import MemoryStorage
from tiny_models import TokenizerKind, tiny_model

STORAGE = open_storage()


def resolved(folder: Path) -> BaseModel:
    return resolve(STORAGE, f"file://{folder}")


def refusal(folder: Path, call: Callable[[Path], Any] = resolved) -> StageFailed:
    with pytest.raises(StageFailed) as failed:
        call(folder)
    assert failed.value.failure.field == "spec.model.uri"
    assert failed.value.failure.message.startswith("spec.model.uri: ")
    return failed.value


def edit_weights(folder: Path, edit: Callable[[dict[str, Any]], Any], name: str = "model.safetensors") -> None:
    tensors = load_file(folder / name)
    edit(tensors)
    save_file(tensors, folder / name)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("model_type", "kind", "tied", "num_shards"),
    [
        ("mistral", TokenizerKind.HUGGING_FACE, True, 1),
        ("mistral", TokenizerKind.MISTRAL_V3, False, 3),
        ("ministral", TokenizerKind.HUGGING_FACE, False, 1),
        ("ministral3", TokenizerKind.HUGGING_FACE, True, 3),
    ],
)
def test_a_whole_model_is_resolved_with_all_that_has_to_be_downloaded(
    tmp_path: Path, model_type: str, kind: TokenizerKind, tied: bool, num_shards: int
) -> None:
    folder = tiny_model(tmp_path, model_type=model_type, tokenizer=kind, tied=tied, num_shards=num_shards)
    (folder / "generation_config.json").write_text("{}")
    expected = {path.name for path in folder.iterdir()}
    (folder / "README.md").write_text("not needed")
    (folder / "pytorch_model.bin").write_bytes(b"not needed")
    model = resolved(folder)
    assert {model.files.name_of(stored) for stored in model.files.every} == expected
    assert model.config.tie_word_embeddings is tied
    tokenizer = load_tokenizer(STORAGE, model, tmp_path / "local")
    assert tokenizer.vocab_size == model.config.vocab_size


def test_the_same_files_elsewhere_are_the_same_model(tmp_path: Path) -> None:
    model = resolved(tiny_model(tmp_path / "a"))
    copy = resolved(Path(shutil.copytree(tmp_path / "a", tmp_path / "b")))
    assert (copy.digest, copy.tokenizer_digest) == (model.digest, model.tokenizer_digest)


def test_keys_without_effect_leave_the_digest_and_changes_of_the_model_do_not(tmp_path: Path) -> None:
    before = resolved(tiny_model(tmp_path))
    edit_json(tmp_path / "config.json", transformers_version="9", _name_or_path="x", use_cache=False)
    assert resolved(tmp_path).digest == before.digest
    edit_json(tmp_path / "config.json", rope_theta=20000.0)
    with_other_theta = resolved(tmp_path)
    edit_weights(tmp_path, lambda tensors: tensors["model.norm.weight"].__imul__(2))
    with_other_weights = resolved(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", chat_template=None)
    with_other_tokenizer = resolved(tmp_path)
    digests = [model.digest for model in (before, with_other_theta, with_other_weights, with_other_tokenizer)]
    assert len(set(digests)) == 4
    assert with_other_weights.tokenizer_digest == before.tokenizer_digest != with_other_tokenizer.tokenizer_digest


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = tiny_model(tmp_path / "model")
    (folder / name).unlink()

    def load(folder: Path) -> None:
        load_tokenizer(STORAGE, resolved(folder), tmp_path / "local")

    failed = refusal(folder, load)
    assert failed.exit_code is ExitCode.MISMATCH
    assert name in failed.failure.message


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path, num_shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "model-00002-of-00003.safetensors is missing" in refusal(folder).failure.message


def test_a_shard_in_anothers_place_is_named(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path, num_shards=3)
    shutil.copyfile(folder / "model-00001-of-00003.safetensors", folder / "model-00002-of-00003.safetensors")
    failed = refusal(folder)
    assert failed.exit_code is ExitCode.MISMATCH
    assert "is not in model-00002-of-00003.safetensors, where the index has it" in failed.failure.message


def test_a_folder_without_anything_is_named(tmp_path: Path) -> None:
    failed = refusal(tmp_path / "nothing")
    assert (failed.exit_code, failed.failure.reason) == (ExitCode.MISMATCH, "ModelAbsent")
    assert f"file://{tmp_path}/nothing" in failed.failure.message


def test_weights_of_other_formats_are_named(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"")
    message = refusal(folder).failure.message
    assert "neither model.safetensors nor model.safetensors.index.json" in message
    assert "consolidated.safetensors, pytorch_model.bin cannot be used" in message


@pytest.mark.parametrize("model_type", ["llama", "mixtral", None])
def test_another_architecture_is_refused_by_name(tmp_path: Path, model_type: str | None) -> None:
    failed = refusal(tiny_model(tmp_path, config={"model_type": model_type}))
    assert failed.exit_code is ExitCode.BAD_CONFIG
    assert f"{tmp_path}/config.json: model_type {model_type!r} is not trained" in failed.failure.message


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"auto_map": {"AutoModel": "evil.py"}}, "auto_map"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_attention_heads": "many", "head_dim": None}, "num_attention_heads"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"attention_dropout": 0.1}, "attention_dropout"),
        ({"num_attention_heads": 4, "num_key_value_heads": 3}, "no multiple of num_key_value_heads"),
        ({"head_dim": 7}, "head_dim is odd"),
    ],
)
def test_a_configuration_that_this_trainer_does_not_know_is_refused_by_its_key(
    tmp_path: Path, config: dict[str, Any], complaint: str
) -> None:
    failed = refusal(tiny_model(tmp_path, config=config))
    assert failed.exit_code is ExitCode.BAD_CONFIG
    assert re.search(rf"{complaint}([:.,]|$)", failed.failure.message)


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (
            lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"),
            "the tensor model.layers.1.mlp.up_proj.weight is in none of model.safetensors",
        ),
        (
            lambda tensors: tensors.update({"model.norm.weight": np.ones(31, np.float32)}),
            "model.norm.weight in model.safetensors has shape (31,), config.json asks for (32,)",
        ),
        (
            lambda tensors: tensors.update({"model.layers.0.self_attn.q_proj.bias": np.ones(32, np.float32)}),
            "model.layers.0.self_attn.q_proj.bias in model.safetensors is no tensor of a Mistral",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(tmp_path: Path, edit: Callable[[Any], Any], complaint: str) -> None:
    folder = tiny_model(tmp_path)
    edit_weights(folder, edit)
    failed = refusal(folder)
    assert failed.exit_code is ExitCode.MISMATCH
    assert complaint in failed.failure.message


@pytest.mark.parametrize("dtype", ["F8_E4M3", "U8", "F64"])
def test_weights_of_another_type_are_refused_by_their_file_with_what_to_take_instead(
    tmp_path: Path, dtype: str
) -> None:
    folder = tiny_model(tmp_path, num_shards=3)
    name = "model.layers.0.mlp.up_proj.weight"
    file = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"][name]
    content = (folder / file).read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header[name]["dtype"] = dtype
    told = json.dumps(header).encode()
    (folder / file).write_bytes(len(told).to_bytes(8, "little") + told + content[end:])
    failed = refusal(folder)
    assert (failed.exit_code, failed.failure.reason) == (ExitCode.BAD_CONFIG, "ModelUnsupported")
    assert re.search(rf"{name} in {file} is {dtype}, not one of .* checkpoint in bfloat16", failed.failure.message)


def test_code_that_comes_with_a_model_is_refused_and_never_runs(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path, config={"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}})
    (folder / "modeling_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "auto_map: code that comes with a model is never run" in refusal(folder).failure.message
    assert not (tmp_path / "ran").exists()


def test_a_tied_models_head_and_old_rotary_tables_do_no_harm(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    edit_weights(
        folder,
        lambda tensors: tensors.update(
            {
                "lm_head.weight": tensors["model.embed_tokens.weight"].copy(),
                "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32),
            }
        ),
    )
    resolved(folder)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda content: content[:-4], "bytes where its header says"),
        (lambda content: content + b"xx", "bytes where its header says"),
        (lambda content: b"\xff" * 8 + content[8:], "is not safetensors: a header of"),
        (lambda content: content[:8] + b"#" * 100 + content[108:], "is not safetensors"),
        (lambda content: b"", "is not safetensors"),
        (lambda content: b"\x02" + bytes(7) + b"[]", "is not safetensors"),
        (lambda content: (100_000).to_bytes(8, "little") + b"[" * 100_000, "is not safetensors: maximum recursion"),
        (lambda content: bytes(len(content)), "is not safetensors"),
    ],
)
def test_damaged_weights_are_named(tmp_path: Path, damage: Callable[[bytes], bytes], complaint: str) -> None:
    folder = tiny_model(tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    failed = refusal(folder)
    assert failed.exit_code is ExitCode.MISMATCH
    assert complaint in failed.failure.message


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["surplus"] = 259
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    def load(folder: Path) -> None:
        load_tokenizer(STORAGE, resolved(folder), tmp_path / "local")

    failed = refusal(folder, load)
    assert failed.exit_code is ExitCode.BAD_CONFIG
    assert "has 260 tokens, the model 259" in failed.failure.message


def test_a_refusal_of_the_store_names_the_field(tmp_path: Path) -> None:
    class Forbidden(MemoryStorage):
        def list(self, prefix: str) -> Any:
            raise AccessDenied(f"{prefix}: 403")

    with pytest.raises(StageFailed, match=r"^spec\.model\.uri: s3://models/m/: 403$") as failed:
        resolve(Forbidden(), "s3://models/m")
    assert failed.value.exit_code is ExitCode.ACCESS_DENIED


def test_a_tokenizer_whose_name_contradicts_its_pieces_is_bad_configuration(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", tokenizer=TokenizerKind.MISTRAL_V3)
    (folder / "tokenizer.model").rename(folder / "tokenizer.model.v7")

    def load(folder: Path) -> None:
        load_tokenizer(STORAGE, resolved(folder), tmp_path / "local")

    failed = refusal(folder, load)
    assert failed.exit_code is ExitCode.BAD_CONFIG
    assert (failed.failure.reason, failed.failure.field) == ("TokenizerMismatch", "spec.model.uri")
    assert "has the control pieces of v3, its name says v7" in failed.failure.message


def test_for_its_shape_a_model_needs_neither_whole_weights_nor_its_tokenizer_read(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    shape = shape_of(resolved(folder).config)
    (folder / "model.safetensors").write_bytes(b"")
    assert read_shape(STORAGE, f"file://{folder}") == shape
