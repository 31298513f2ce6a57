"""The training loop over the documents of case.py in one process; prints how fast, and what of a step is its own.

python ours.py MODEL_FOLDER DISTRIBUTION STEPS
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from case import MODULES, RANK, ROW, documents
from numpy.typing import NDArray

from encoded import Encoded
from finetune_trainer.rank import import_training


class Learnt(Encoded):
    """Documents of which every token is learnt from."""

    @property
    def trained(self) -> NDArray[np.int32]:
        return self.lengths - 1

    def mask(self, index: int) -> NDArray[np.bool_]:
        return np.ones(len(self.documents[index]), np.bool_)


@dataclass
class Timed:
    """An engine that is timed where it computes."""

    engine: Any
    seconds: float = 0.0
    steps: list[tuple[float, float]] = field(default_factory=list)
    """When each ended, and the seconds spent in the engine until then."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._timed(self.engine, *arguments, **options)

    def backward(self, *arguments: Any, **options: Any) -> Any:
        return self._timed(self.engine.backward, *arguments, **options)

    def step(self) -> Any:
        return self._timed(self.engine.step)

    def _timed(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            self.seconds += time.perf_counter() - began

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def main() -> None:
    """One line of JSON: seconds, tokens and overhead of each step but the first, and what it took to get there."""
    folder, distribution, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    began = time.perf_counter()
    import_training()
    imported = time.perf_counter()
    from finetune_api.result import Resolved
    from finetune_api.spec import LoRA, Precision, Training
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.division import Division
    from finetune_trainer.engine import make_engine
    from finetune_trainer.gang import form_gang
    from finetune_trainer.history import History
    from finetune_trainer.loop import Course, Surroundings, train
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives import language
    from finetune_trainer.telemetry import Telemetry

    training = Training(epochs=100, learning_rate=1e-4, sequence_length=ROW, warmup_steps=0)
    adapter = Adapter(lora=LoRA(rank=RANK, alpha=2 * RANK), target_modules=MODULES)
    with form_gang(os.environ, gpu=False) as gang:
        model = load_model(
            folder,
            adapter=adapter,
            seed=0,
            precision=Precision.FLOAT32,
            device=gang.device,
            head=language.HEAD,
        )
        loaded = time.perf_counter()
        division = Division(zero_stage=2, micro_batch_size=1, micro_steps=1)
        engine = Timed(make_engine(model, gang, training=training, precision=Precision.FLOAT32, division=division))
        engine.train()
        made = time.perf_counter()
        tokens: list[int] = []

        def report(_batch: Any, num_tokens: int, *_: Any) -> None:
            tokens.append(num_tokens)
            engine.steps.append((time.perf_counter(), engine.seconds))

        resolved = Resolved(
            total_steps=steps,
            steps_per_epoch=steps,
            global_batch_size=1,
            warmup_steps=0,
            learning_rate=1e-4,
            precision=Precision.FLOAT32,
            target_modules=MODULES,
        )
        course = Course(
            training=training, resolved=resolved, division=division, validate_every=10**9, checkpoint_seconds=10**9
        )
        surroundings = Surroundings(
            gang=gang,
            checkpoints=SimpleNamespace(  # type: ignore[arg-type]
                busy=False, skipped=(), poll=lambda: None, save=lambda *_, **__: None, finish=lambda: None
            ),
            clock=time.monotonic,
            stopping=lambda: False,
            validate=lambda: None,
            beat=lambda: None,
            waiting=nullcontext,
            report=report,
            telemetry=Telemetry,
        )
        data: Any = Learnt(tuple(np.array(ids, np.int32) for ids in documents(distribution)))
        train(engine, data, course, surroundings, done=0, history=History())
        ends, inside = zip((made, 0.0), *engine.steps, strict=True)
        print(
            json.dumps(
                {
                    "seconds": np.diff(ends).tolist()[1:],
                    "engine": np.diff(inside).tolist()[1:],
                    "tokens": tokens[1:],
                    "start": {
                        "imports": imported - began,
                        "model": loaded - imported,
                        "engine": made - loaded,
                        "first step": ends[1] - made,
                    },
                }
            ),
            flush=True,
        )
        os._exit(0)


if __name__ == "__main__":
    main()
