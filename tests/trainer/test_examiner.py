import os
from pathlib import Path
from typing import Any

from corpora import pair, prepare_snapshot
from finetune_trainer.prepare import prepare
from finetune_trainer.storage import open_storage


def measured(model: str, data: str, spec: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Both measurements of one model, the second as a spec with another evaluation asks for it."""
    import torch

    from finetune_api.spec import Evaluation, LoRA, Precision, Spec
    from finetune_trainer import tokenizers
    from finetune_trainer.examiner import Examiner
    from finetune_trainer.gang import form_gang
    from finetune_trainer.history import History
    from finetune_trainer.model import Adapter, load_model
    from finetune_trainer.prepared import open_split

    asked = Spec.parse(spec)
    loaded = load_model(
        Path(model),
        adapter=Adapter(lora=LoRA(rank=4), target_modules=("q_proj",), seed=0),
        precision=Precision.FLOAT32,
        activation_checkpointing=False,
        device=torch.device("cpu"),
    )
    test = open_split(Path(data), "test")
    with form_gang(os.environ, gpu=False) as gang:

        def examiner(spec: Spec) -> Examiner:
            return Examiner(spec, gang, loaded, tokenizers.load(Path(model)), lambda: None, 1)

        base = examiner(asked).measure_base(History(), test)
        changed = asked.model_copy(update={"evaluation": Evaluation.parse(later)})
        whole = examiner(changed).loss(test, max_rows=100)
        return {"history": examiner(changed).measure_trained(base, test).to_json(), "whole": whole}


def test_before_and_after_are_measured_on_the_same_rows_whatever_is_asked_for_since(preloaded, tmp_path):
    evaluation = {"maxRows": 2, "generateRows": 2, "maxNewTokens": 3}
    snapshot = prepare_snapshot(tmp_path, map(pair, range(100)), evaluation=evaluation)
    (tmp_path / "scratch").mkdir()
    found = prepare(snapshot, storage=open_storage(), scratch=tmp_path / "scratch", report=lambda _: None, cpuinfo="")
    (answer,) = preloaded.run(
        measured,
        model=str(tmp_path / "model"),
        data=found.data_uri.removeprefix("file://"),
        spec=snapshot.spec.to_json(),
        later={"maxRows": 100, "generateRows": 1, "maxNewTokens": 3},
    )
    history = answer["history"]
    assert history["testLoss"] == history["baseTestLoss"] != answer["whole"]
    assert len(history["samples"]) == 2
    assert all(sample["after"] == sample["before"] for sample in history["samples"])
