"""An objective says what is minimised, by the head on the model's blocks, and how that is measured: one file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from finetune_api.spec import Spec, TaskType
from finetune_trainer.evaluate import Examinee
from finetune_trainer.history import History, Score
from finetune_trainer.model import Head
from finetune_trainer.objectives.classification import Classification
from finetune_trainer.objectives.language import Language
from finetune_trainer.objectives.preference import Preference
from finetune_trainer.prepared import Documents, PreparedData
from finetune_trainer.tokenizers import ChatTokenizer


class Examination(Protocol):
    """Measures the model as it stands. Every method is collective."""

    def score(self, documents: Documents, *, max_rows: int) -> Score | None:
        """Of a split's first raw rows, with the loss as the loop counts it; None when it is empty."""

    def measure_base(self, history: History, test: Documents) -> History:
        """With what is made of the test split before training."""

    def measure_trained(self, history: History, test: Documents) -> History:
        """With what the trained model makes of the very rows that `measure_base` chose."""


class Objective(Protocol):
    """What a task minimises."""

    @property
    def head(self) -> Head:
        """What stands on the blocks and answers with the summed loss of the tokens it is given."""

    def examination(self, examinee: Examinee[Any]) -> Examination:
        """Of the module that `head` made."""


_OBJECTIVES: Final[Mapping[TaskType, Callable[[Spec, PreparedData, ChatTokenizer], Objective]]] = {
    TaskType.INSTRUCTION: Language.of,
    TaskType.COMPLETION: Language.of,
    TaskType.CLASSIFICATION: Classification.of,
    TaskType.PREFERENCE: Preference.of,
}


def objective_for(spec: Spec, data: PreparedData, tokenizer: ChatTokenizer) -> Objective:
    """Of the task that the spec names."""
    return _OBJECTIVES[spec.task.type](spec, data, tokenizer)
