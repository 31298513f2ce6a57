"""What a rank trains: its part of the model under the task's objective, how the work is divided, and the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import deepspeed

from finetune_api.memory import Training
from finetune_api.shape import ModelShape
from finetune_api.spec import MethodType
from finetune_trainer import tokenizers
from finetune_trainer.adapters import Adapter
from finetune_trainer.division import Division, divide, telling_what_fits
from finetune_trainer.engine import make_engine, room_of
from finetune_trainer.evaluate import Examinee
from finetune_trainer.gang import Gang
from finetune_trainer.hardware import gpu_name
from finetune_trainer.model import DTYPES, Computation, load_model
from finetune_trainer.objectives import Examination, Objective, objective_for
from finetune_trainer.prepare.model import read_shape
from finetune_trainer.prepared import PreparedData, open_data
from finetune_trainer.publish.weights import Trained
from finetune_trainer.quantized import check_quantization
from finetune_trainer.train_stage import TrainStage
from finetune_trainer.utilisation import AtPeak


@dataclass(frozen=True, kw_only=True)
class Learner:
    """Made of a stage's materials, and changed by its engine alone."""

    stage: TrainStage
    shape: ModelShape
    division: Division
    data: PreparedData
    objective: Objective
    adapter: Adapter | None
    """None: every weight is trained."""
    engine: deepspeed.DeepSpeedEngine

    def examination(self, gang: Gang, *, beat: Callable[[], None]) -> Examination:
        """Of it as it stands whenever it is examined; `beat` is called whenever a little is done."""
        rows = self.division.micro_batch_size
        examinee = Examinee[Any](model=self.engine.module, gang=gang, micro_batch_size=rows, beat=beat)
        return self.objective.examination(examinee)

    @property
    def at_peak(self) -> AtPeak:
        """How long its steps would take if every GPU worked at its peak."""
        training = Training.of(self.stage.spec, self.shape, self.stage.resolved.precision)
        return AtPeak(training, self.data.train, gpu_name())

    @property
    def trained(self) -> Trained:
        """What has become of it, to be published."""
        return Trained(
            model=self.engine.module,
            adapter=self.adapter,
            head=self.objective.head,
            dtype=DTYPES[self.stage.resolved.precision],
            base_folder=self.stage.materials.model,
            base_model_uri=self.stage.spec.model.uri,
        )


@contextmanager
def learning(stage: TrainStage, gang: Gang) -> Iterator[Learner]:
    """The base model, maybe with a fresh adapter, ready to be trained. Collective. Raises StageFailed.

    A GPU that runs out of memory meanwhile says what would fit.
    """
    shape = read_shape(stage.storage, f"file://{stage.materials.model}")
    division = divide(stage.snapshot, shape, stage.resolved, gang)
    with telling_what_fits(stage.snapshot, shape, stage.resolved, division):
        yield _made(stage, shape, division, gang)


def _made(stage: TrainStage, shape: ModelShape, division: Division, gang: Gang) -> Learner:
    spec, precision, here = stage.spec, stage.resolved.precision, stage.materials
    if spec.method.type is MethodType.QLORA:
        check_quantization(gang.device, division.zero_stage)
    data = open_data(here.data)
    objective = objective_for(spec, data, tokenizers.load(here.model))
    adapter = _adapter(stage)
    model = load_model(
        here.model,
        adapter=adapter,
        seed=spec.training.seed,
        precision=precision,
        computation=Computation(
            attention=spec.memory.attention,
            activation_checkpointing=division.activation_checkpointing,
            compiled=spec.memory.compile,
        ),
        device=gang.device,
        room=room_of(gang, training=spec.training, precision=precision, division=division),
        head=objective.head,
    )
    engine = make_engine(model, gang, training=spec.training, precision=precision, division=division)
    engine.train()
    return Learner(
        stage=stage, shape=shape, division=division, data=data, objective=objective, adapter=adapter, engine=engine
    )


def _adapter(stage: TrainStage) -> Adapter | None:
    lora = stage.spec.method.adapter
    if lora is None:
        return None
    return Adapter(
        lora=lora,
        target_modules=stage.resolved.target_modules,
        quantized=stage.spec.method.type is MethodType.QLORA,
        initial=None if stage.prepared.adapter_digest is None else stage.materials.adapter,
    )
