"""The published adapter, loaded by plain transformers and PEFT."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from corpora import prepare_snapshot
from finetune_api.result import Published
from finetune_api.snapshot import Snapshot
from finetune_trainer.prepare import prepare
from finetune_trainer.publication import Manifest, read_published
from finetune_trainer.publish.rendering import Rendering
from finetune_trainer.storage.files import FileStorage
from jobs import make_job
from preloaded import Preloaded
from results import PREPARED, but


def publish_and_load(base: str, data_uri: str, folder: str, precision: str) -> dict[str, Any]:
    """Publish an adapter with random weights, load it back without this project, and compare what both compute."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from finetune_api.contract import Stage
    from finetune_api.spec import LoRA, Precision
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.checkpoint.commit import open_run
    from finetune_trainer.checkpoint.layout import run_uri
    from finetune_trainer.history import History, Point, Sample, Score
    from finetune_trainer.model import DTYPES, load_model
    from finetune_trainer.objectives import language
    from finetune_trainer.prepared import open_data
    from finetune_trainer.publish.model import publish
    from finetune_trainer.publish.weights import Trained
    from finetune_trainer.telemetry import Telemetry
    from finetune_trainer.train_stage import TrainStage

    modules = ("q_proj", "v_proj", "down_proj")
    adapter = Adapter(lora=LoRA(rank=4, alpha=8), target_modules=modules)
    packed = load_model(
        Path(base),
        adapter=adapter,
        seed=3,
        precision=Precision(precision),
        device=torch.device("cpu"),
        head=language.HEAD,
    )
    own = packed.mistral
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.5, generator=torch.Generator().manual_seed(len(name)))

    job = make_job(output={"uri": f"file://{folder}/output"}, model={"uri": f"file://{base}"})
    resolved = but(PREPARED.resolved, total_steps=7, precision=Precision(precision), target_modules=modules)
    prepared = but(PREPARED, run="r1", resolved=resolved, data_uri=data_uri)
    snapshot = Snapshot(
        name="triage", namespace="ml", uid="uid", stage=Stage.TRAIN, attempt=1, spec=job.spec, prepared=prepared
    )
    point = Point(step=7, loss=3.0, learning_rate=1e-3, gradient_norm=1.0)
    history = History(
        latest=point,
        points=(point,),
        test=Score(loss=2.5, accuracy=0.5),
        samples=(Sample(prompt="é?", expected="e", before="b", after="a"),),
    )
    storage = FileStorage()
    run = open_run(
        storage, run_uri(job.spec.output.uri, "r1"), owner="uid", clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)
    )
    published = publish(
        TrainStage(snapshot=snapshot, prepared=prepared, storage=storage, scratch=Path(folder) / "scratch"),
        run,
        Trained(
            model=packed,
            adapter=adapter,
            head=language.HEAD,
            dtype=DTYPES[Precision(precision)],
            base_folder=Path(base),
            base_model_uri=f"file://{base}",
        ),
        open_data(Path(data_uri.removeprefix("file://"))),
        history=history,
        telemetry=Telemetry(),
    )

    assert published is not None
    target = published.model_uri.removeprefix("file://")
    plain_base = AutoModelForCausalLM.from_pretrained(
        base, dtype=DTYPES[Precision(precision)], attn_implementation="eager"
    )
    plain = PeftModel.from_pretrained(plain_base, target, autocast_adapter_dtype=False).eval()
    own.eval()
    ids = torch.arange(4, 36)[None]
    with torch.no_grad():
        logits = plain(ids).logits.float()
        with plain.disable_adapter():
            moved = (plain(ids).logits.float() - logits).abs().max()
    for name, tensor in own.state_dict().items():
        if "lora" in name and not torch.equal(tensor, plain.state_dict()[f"base_model.model.{name}"]):
            raise AssertionError(f"{name} differs")
    merged = {name: module for name, module in own.named_modules() if hasattr(module, "merge")}
    for module in merged.values():
        module.merge()
    reference = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    reference.load_state_dict(
        {
            name.replace(".base_layer", ""): tensor.float()
            for name, tensor in own.state_dict().items()
            if "lora" not in name
        }
    )
    with torch.no_grad():
        expected = reference.eval()(ids).logits
    return {
        "published": published.to_json(),
        "difference": float((logits - expected).abs().max()),
        "moved": float(moved),
        "decoded": AutoTokenizer.from_pretrained(target)("héllo")["input_ids"],
        "generation": GenerationConfig.from_pretrained(target).to_diff_dict(),
    }


def test_plain_peft_loads_the_adapter_and_computes_the_same(preloaded: Preloaded, tmp_path: Path) -> None:
    stage, base = prepare_snapshot(tmp_path), tmp_path / "model"
    own = {"_from_model_config": True, "do_sample": True, "temperature": 0.15, "eos_token_id": 7, "pad_token_id": None}
    (base / "generation_config.json").write_text(json.dumps(own))
    (tmp_path / "prepare").mkdir()
    storage = FileStorage()
    made = prepare(stage, storage=storage, scratch=tmp_path / "prepare", report=lambda _: None, cpuinfo="")

    (seen,) = preloaded.run(
        publish_and_load, base=str(base), data_uri=made.data_uri, folder=str(tmp_path), precision="Float32"
    )

    assert seen["difference"] < 1e-5
    assert seen["moved"] > 0.01
    assert len(seen["decoded"]) == len("héllo".encode())
    published = Published.parse(seen["published"])
    spec = make_job(output={"uri": f"file://{tmp_path}/output"}).spec
    assert read_published(storage, spec, "r1") == published
    assert not any((tmp_path / "scratch").iterdir())

    folder = Path(published.manifest_uri.removeprefix("file://")).parent
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    assert {file.path: file.sha256 for file in manifest.files} == {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    config = json.loads((folder / "model" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == (str(base), 4, 8)
    assert set(config["target_modules"]) == {"q_proj", "v_proj", "down_proj"}
    ids = {name: seen["generation"][name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    assert ids == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    assert (seen["generation"]["do_sample"], seen["generation"]["temperature"]) == (True, 0.15)
    samples = json.loads((folder / "reports" / "samples.json").read_text("utf-8"))
    assert samples == [{"prompt": "é?", "expected": "e", "before": "b", "after": "a"}]
    reported = json.loads((folder / "reports" / "metrics.json").read_text())
    assert reported["metrics"] == {"testLoss": 2.5, "testAccuracy": 0.5, "trainLoss": 3.0}
    assert Rendering.parse(reported["rendering"]) == Rendering(by="the chat template", rows=made.data.splits.test)
    assert "ml/triage" in (folder / "reports" / "report.html").read_text("utf-8")
