"""The measurements that a job asks for: the loss of a split, and answers to its first rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from finetune_api.spec import Spec
from finetune_trainer.evaluate import answers, evaluated_rows, mean_loss
from finetune_trainer.gang import Gang
from finetune_trainer.history import Sample
from finetune_trainer.model import CausalLanguageModel
from finetune_trainer.prepared import Documents
from finetune_trainer.tokenizers import ChatTokenizer


@dataclass(frozen=True)
class Examiner:
    """Measures the model as it stands. Every method is collective."""

    spec: Spec
    gang: Gang
    model: CausalLanguageModel
    tokenizer: ChatTokenizer
    beat: Callable[[], None]
    micro_batch_size: int

    def loss(self, documents: Documents) -> float | None:
        """Nats per trained token of a split, None when it is empty."""
        rows = evaluated_rows(
            documents,
            sequence_length=self.spec.training.sequence_length,
            max_rows=self.spec.evaluation.max_rows,
        )
        return mean_loss(
            self.model,
            self.gang,
            documents,
            rows,
            micro_batch_size=self.micro_batch_size,
            beat=self.beat,
        )

    def samples(self, documents: Documents) -> tuple[Sample, ...]:
        """What the model answers to the first rows of a split."""
        chosen = self._chosen(documents)
        texts = [documents.texts(index) for index in chosen]
        return tuple(
            Sample(prompt=text.prompt, expected=text.answer, before=answer)
            for text, answer in zip(texts, self._answers(documents, chosen), strict=True)
        )

    def answered(self, samples: tuple[Sample, ...], documents: Documents) -> tuple[Sample, ...]:
        """The same samples with what the model answers now."""
        after = self._answers(documents, self._chosen(documents))
        return tuple(sample.model_copy(update={"after": answer}) for sample, answer in zip(samples, after, strict=True))

    def _chosen(self, documents: Documents) -> list[int]:
        _, first = np.unique(documents.rows, return_index=True)
        return [int(index) for index in first[: self.spec.evaluation.generate_rows]]

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
