"""The finished model as files that plain transformers and PEFT load, and their way to storage."""

from __future__ import annotations

import copy
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file

from finetune_api.result import Prepared, Published
from finetune_api.snapshot import Snapshot
from finetune_trainer.checkpoint.commit import Run
from finetune_trainer.history import History
from finetune_trainer.publish.manifest import (
    Manifest,
    commit,
    publication_folder,
)
from finetune_trainer.publish.reports import write_reports
from finetune_trainer.storage import Storage
from finetune_trainer.telemetry import Telemetry
from finetune_trainer.tokenizers import FILE_NAMES
from finetune_trainer.verified import files_under


def publish(
    storage: Storage,
    run: Run,
    model: PeftModel,
    *,
    snapshot: Snapshot,
    prepared: Prepared,
    history: History,
    telemetry: Telemetry,
    base_folder: Path,
    scratch: Path,
) -> Published:
    """Write the adapter and its reports, upload them, and make them count. Rank 0 only.

    Args:
        base_folder: the base model's files, for its tokenizer.
        scratch: a folder for the files on their way.

    Raises Fenced, StoreUnavailable or AccessDenied; the same publication may then be tried again by the next start.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        write_adapter(model, scratch / "model", base_model_uri=snapshot.spec.model.uri)
        _copy_tokenizer(base_folder, scratch / "model")
        write_reports(scratch, snapshot, prepared, history, telemetry)
        manifest = Manifest(
            run=prepared.run,
            step=history.published_step,
            epoch=run.epoch,
            base_model_uri=snapshot.spec.model.uri,
            base_model_digest=prepared.model_digest,
            data_uri=prepared.data_uri,
            data_digest=prepared.data_digest,
            metrics=history.metrics,
            files=files_under(scratch),
        )
        folder = f"{run.uri}/{publication_folder(run.epoch)}"
        with ThreadPoolExecutor(4, "publish") as threads:
            list(threads.map(lambda file: storage.upload(scratch / file.path, f"{folder}/{file.path}"), manifest.files))
        return commit(storage, run, snapshot.spec.output.uri, manifest)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_adapter(model: PeftModel, folder: Path, *, base_model_uri: str) -> None:
    """adapter_model.safetensors and adapter_config.json, the base model named as the FineTuneJob names it."""
    folder.mkdir(parents=True)
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    # As PEFT's own save does, but for the path on this machine that the base model was read from.
    config = copy.copy(model.peft_config[model.active_adapter])
    config.base_model_name_or_path = base_model_uri.removeprefix("file://")
    config.inference_mode = True
    config.save_pretrained(str(folder))
    if config.task_type == "SEQ_CLS":
        # Names of the labels and the id of padding, which the base model's own config.json does not know.
        write_classifier_config(model, folder)


def write_classifier_config(model: PeftModel, folder: Path) -> None:
    """config.json for AutoModelForSequenceClassification, to be given beside the base model."""
    base: Any = model.get_base_model()
    settings = base.config.to_dict()
    settings.pop("_name_or_path", None)
    settings["architectures"] = ["MistralForSequenceClassification"]
    (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True, default=str), "utf-8")


def _copy_tokenizer(source: Path, target: Path) -> None:
    for pattern in FILE_NAMES:
        for path in sorted(source.glob(pattern)):
            shutil.copyfile(path, target / path.name)
