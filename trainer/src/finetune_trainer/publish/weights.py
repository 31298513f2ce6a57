"""Trained weights as safetensors files that plain transformers and PEFT load: written, then counted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from finetune_api.contract import ExitCode
from finetune_api.host import LARGEST_FILE
from finetune_trainer.adapters import Adapter, configuration, published_name
from finetune_trainer.engine import gathered
from finetune_trainer.failures import StageFailed
from finetune_trainer.model import Head, PackedModel
from finetune_trainer.prepare.model.adapter import WEIGHTS_FILE, adapted_layers, expected_adapter, keys_of
from finetune_trainer.prepare.model.architecture import ModelConfig, expected_tensors, read_config
from finetune_trainer.weights import Stored

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came out of a training, and what it was made from."""

    model: PackedModel
    adapter: Adapter | None
    head: Head
    dtype: torch.dtype
    base_folder: Path
    base_model_uri: str
    largest_file: int = LARGEST_FILE
    """Bytes."""

    @property
    def config(self) -> ModelConfig:
        """Of the base model."""
        return read_config(self.base_settings)

    @property
    def base_settings(self) -> dict[str, Any]:
        """Its config.json."""
        found: dict[str, Any] = json.loads((self.base_folder / "config.json").read_text("utf-8"))
        return found

    @property
    def head_tensors(self) -> Shapes:
        """Name and shape of what no base model has."""
        if self.head.layer is None:
            return {}
        return {f"{self.head.layer}.weight": (len(self.head.settings["id2label"]), self.config.hidden_size)}

    @property
    def whole_tensors(self) -> Shapes:
        """Name and shape of every tensor of the model with its head."""
        expected = expected_tensors(self.config)
        if self.head.layer is not None:
            expected.pop("lm_head.weight", None)
        return {**expected, **self.head_tensors}

    def own_tensors(self, *, write: bool) -> Iterator[tuple[str, Tensor]]:
        """Every trained tensor of the transformers model by name, one at a time, in host memory where it is written.

        Collective: under ZeRO 3 each is gathered for its moment.
        """
        for name, parameter in self.model.mistral.named_parameters():
            if parameter.requires_grad:
                with gathered(parameter):
                    kept = parameter.detach().to("cpu", copy=True) if write else torch.empty(0)
                yield name, kept


def write_trained(trained: Trained, folder: Path | None, *, merged: Path | None = None) -> None:
    """Write what was trained to `folder`: an adapter, or a whole model; the former also `merged` into its base.

    Collective; folders are given to the rank that writes. Raises StageFailed when what lies there is not all.
    """
    tensors = trained.own_tensors(write=folder is not None)
    if folder is None:
        for _ in tensors:
            pass
    elif trained.adapter is None:
        _write_model(trained, tensors, folder)
    else:
        found = {published_name(name): tensor for name, tensor in tensors}
        _write_adapter(trained, trained.adapter, found, folder)
        if merged is not None:
            _write_model(trained, _merged(trained, trained.adapter, found), merged)


def _write_adapter(trained: Trained, adapter: Adapter, tensors: Mapping[str, Tensor], folder: Path) -> None:
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS_FILE, {"format": "pt"})
    expected = expected_adapter(trained.config, adapter.lora, adapter.target_modules)
    head = {published_name(name): shape for name, shape in trained.head_tensors.items()}
    _count([folder / WEIGHTS_FILE], expected | head, trained.dtype)
    settings = configuration(adapter, trained.config.num_hidden_layers)
    settings.base_model_name_or_path = trained.base_model_uri.removeprefix("file://")
    settings.inference_mode = True
    settings.task_type = trained.head.peft_task
    if trained.head.layer is not None:
        settings.modules_to_save = [trained.head.layer]
        # Names of the labels and the id of padding, which the base model's own config.json does not know.
        _write_config(trained, folder)
    settings.save_pretrained(str(folder))


def _write_model(trained: Trained, tensors: Iterable[tuple[str, Tensor]], folder: Path) -> None:
    """A whole model, in as many files as it takes; of its tensors no more than one file's are held at once."""
    folder.mkdir(parents=True)
    shapes = trained.whole_tensors
    paths: list[Path] = []
    file_of: dict[str, int] = {}
    for number, held in enumerate(_by_file(trained, tensors)):
        paths.append(folder / f"part-{number}")
        save_file(held, paths[-1], {"format": "pt"})
        file_of |= dict.fromkeys(held, number)
        held.clear()
    _count(paths, shapes, trained.dtype)
    names = ["model.safetensors"]
    if len(paths) > 1:
        names = [f"model-{number:05}-of-{len(paths):05}.safetensors" for number in range(1, len(paths) + 1)]
        index = {
            "metadata": {"total_size": sum(map(math.prod, shapes.values())) * trained.dtype.itemsize},
            "weight_map": {name: names[number] for name, number in file_of.items()},
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), "utf-8")
    for path, name in zip(paths, names, strict=True):
        path.rename(folder / name)
    _write_config(trained, folder)


def _by_file(trained: Trained, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    held: dict[str, Tensor] = {}
    for name, given in tensors:
        tensor = given.to(trained.dtype).contiguous()
        if held and sum(other.nbytes for other in held.values()) + tensor.nbytes > trained.largest_file:
            yield held
            held = {}
        held[name] = tensor
    yield held


def _merged(trained: Trained, adapter: Adapter, found: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The base model's tensors with what the adapter adds to them, each of them read, and added in fp32, by itself."""
    base = Stored(sorted(trained.base_folder.glob("*.safetensors")))
    adapted = adapted_layers(trained.config, adapter.lora, adapter.target_modules)
    scale = adapter.lora.alpha / (math.sqrt(adapter.lora.rank) if adapter.lora.rank_stabilized else adapter.lora.rank)
    for name, shape in trained.whole_tensors.items():
        if name in trained.head_tensors:
            yield name, found[published_name(name)]
            continue
        # As the engine held it: an adapter learns beside rounded weights.
        weight = base.values(name)(0, math.prod(shape)).reshape(shape).to(trained.dtype)
        if name in adapted:
            down, up = (found[key].float() for key in keys_of(name))
            weight = weight.float() + scale * (up @ down)
        yield name, weight


def _write_config(trained: Trained, folder: Path) -> None:
    """config.json of the base model, but for the head and the type of the weights."""
    settings = trained.base_settings | dict(trained.head.settings)
    settings["architectures"] = [trained.head.architecture(trained.base_folder).__name__]
    settings.pop("dtype", None)
    settings["torch_dtype"] = str(trained.dtype).removeprefix("torch.")
    # Of an older one transformers warns that the tokenizer beside it may split words by a wrong pattern.
    settings["transformers_version"] = transformers.__version__
    (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True), "utf-8")


def _count(paths: Iterable[Path], expected: Shapes, dtype: torch.dtype) -> None:
    """Raises StageFailed unless the files hold these tensors, no others, and all of their bytes."""
    paths = list(paths)
    stored = Stored(paths)
    found = {name: tuple(shape) for name, shape in stored.shapes.items()}
    size = sum(path.stat().st_size for path in paths)
    if found != dict(expected) or size < sum(map(math.prod, expected.values())) * dtype.itemsize:
        others = sorted(found.items() ^ expected.items())
        raise StageFailed(
            ExitCode.RETRY,
            "WeightsIncomplete",
            f"what was written has {len(found)} tensors and {size} bytes where {len(expected)} tensors belong"
            + (f"; {others[0][0]} is missing, surplus or misshapen" if others else ""),
        )
