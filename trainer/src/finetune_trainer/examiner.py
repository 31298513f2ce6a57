"""The measurements that a job asks for: the loss of a split, and answers to its first rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from finetune_api.spec import Spec
from finetune_trainer.evaluate import answers, evaluated_rows, mean_loss
from finetune_trainer.gang import Gang
from finetune_trainer.history import History, Sample
from finetune_trainer.model import PackedModel
from finetune_trainer.prepared import Documents
from finetune_trainer.tokenizers import ChatTokenizer


class Examination(Protocol):
    """Measures the model as it stands. Every method is collective."""

    def loss(self, documents: Documents, *, max_rows: int) -> float | None:
        """Nats, as the loop counts them, of a split's first rows; None when it is empty."""

    def measure_base(self, history: History, test: Documents) -> History:
        """With what is made of the test split before training."""

    def measure_trained(self, history: History, test: Documents) -> History:
        """With what the trained model makes of the very rows that `measure_base` chose."""


@dataclass(frozen=True)
class Examiner:
    """Of a model that writes."""

    spec: Spec
    gang: Gang
    model: PackedModel
    tokenizer: ChatTokenizer
    beat: Callable[[], None]
    micro_batch_size: int

    def loss(self, documents: Documents, *, max_rows: int) -> float | None:
        """Nats per trained token of a split's first rows, None when it is empty."""
        return mean_loss(
            self.model,
            self.gang,
            documents,
            evaluated_rows(documents, sequence_length=self.spec.training.sequence_length, max_rows=max_rows),
            micro_batch_size=self.micro_batch_size,
            beat=self.beat,
        )

    def measure_base(self, history: History, test: Documents) -> History:
        """With what the model makes of the test split before it is trained."""
        evaluation = self.spec.evaluation
        chosen = first_of_rows(test, evaluation.generate_rows)
        texts = [test.texts(index) for index in chosen]
        samples = tuple(
            Sample(prompt=text.prompt, expected=text.answer, before=answer)
            for text, answer in zip(texts, self._answers(test, chosen), strict=True)
        )
        loss = self.loss(test, max_rows=evaluation.max_rows)
        return history.model_copy(update={"test_rows": evaluation.max_rows, "base_test_loss": loss, "samples": samples})

    def measure_trained(self, history: History, test: Documents) -> History:
        """With what it makes of the very rows that `measure_base` chose, whatever the spec asks for by now."""
        samples = history.samples or ()
        after = self._answers(test, first_of_rows(test, len(samples)))
        answered = tuple(
            sample.model_copy(update={"after": answer}) for sample, answer in zip(samples, after, strict=True)
        )
        loss = self.loss(test, max_rows=history.test_rows)
        return history.model_copy(update={"test_loss": loss, "samples": answered})

    def _answers(self, documents: Documents, chosen: list[int]) -> list[str]:
        ids = answers(
            self.model,
            self.gang,
            [documents.prompt(index) for index in chosen],
            max_new_tokens=self.spec.evaluation.max_new_tokens,
            eos_id=self.tokenizer.eos_id,
            beat=self.beat,
        )
        return [self.tokenizer.decode(answer) for answer in ids]


def first_of_rows(documents: Documents, num_rows: int) -> list[int]:
    """The first document of each of the first raw rows."""
    _, first = np.unique(documents.rows, return_index=True)
    return [int(index) for index in first[:num_rows]]
