"""Learning tokens from those before them: the loss of a model that writes, and how often it guesses right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor
from torch.nn import functional

from finetune_api.memory import LOGITS_AT_ONCE
from finetune_api.spec import Spec
from finetune_trainer.architectures import causal_language_model
from finetune_trainer.evaluate import Examinee, evaluated_rows, inference
from finetune_trainer.history import History, Score
from finetune_trainer.model import Head, PackedModel
from finetune_trainer.objectives.answering import Answering
from finetune_trainer.prepared import Documents, PreparedData
from finetune_trainer.tokenizers import ChatTokenizer
from finetune_trainer.tokens import Tokens


class CausalLanguageModel(PackedModel):
    """Learns tokens from those before them."""

    def forward(self, tokens: Tokens) -> Tensor:
        """Sum of the negative log-likelihoods of the labelled tokens: fp32 scalar, in nats."""
        loss: Tensor = self.mistral.lm_head(self._predictors(tokens), tokens.targets)
        return loss

    def told(self, tokens: Tokens) -> Tensor:
        """fp64[2]: that sum, and how many labelled tokens are the likeliest of all."""
        total = torch.zeros(2, dtype=torch.float64, device=tokens.ids.device)
        hidden = torch.split(self._predictors(tokens), LOGITS_AT_ONCE)
        for part, targets in zip(hidden, torch.split(tokens.targets, LOGITS_AT_ONCE), strict=True):
            logits = self.mistral.lm_head(part).float()
            losses = functional.cross_entropy(logits, targets, reduction="none")
            total += torch.stack([losses.double().sum(), (logits.argmax(dim=1) == targets).double().sum()])
        return total

    def _predictors(self, tokens: Tokens) -> Tensor:
        return self.hidden(tokens).index_select(0, tokens.predictors)


HEAD: Final = Head(architecture=causal_language_model, peft_task="CAUSAL_LM", module=CausalLanguageModel)


@dataclass(frozen=True)
class Language:
    """Of Instruction and Completion."""

    spec: Spec
    tokenizer: ChatTokenizer
    head: Head = HEAD

    @classmethod
    def of(cls, spec: Spec, _data: PreparedData, tokenizer: ChatTokenizer) -> Self:
        return cls(spec, tokenizer)

    def examination(self, examinee: Examinee[CausalLanguageModel]) -> LanguageExamination:
        return LanguageExamination(self.spec, examinee, self.tokenizer)


@dataclass(frozen=True)
class LanguageExamination:
    """Of a model that writes."""

    spec: Spec
    examinee: Examinee[CausalLanguageModel]
    tokenizer: ChatTokenizer

    def score(self, documents: Documents, *, max_rows: int) -> Score | None:
        """Each trained token of a split's first rows counted once, whatever the ranks; None when it is empty."""
        rows = evaluated_rows(documents, sequence_length=self.spec.training.sequence_length, max_rows=max_rows)
        if not rows:
            return None
        model, gang = self.examinee.model, self.examinee.gang
        total, labelled = torch.zeros(2, dtype=torch.float64, device=gang.device), 0
        with inference(model):
            for tokens in self.examinee.micro_batches(documents, rows):
                total += model.told(tokens)
                labelled += len(tokens.targets)
        loss, right, count = gang.sum([*total.tolist(), labelled])
        return Score(loss=loss / count, accuracy=right / count)

    def measure_base(self, history: History, test: Documents) -> History:
        """With what the model makes of the test split before it is trained."""
        rows = self.spec.evaluation.max_rows
        answered = self._answering.measure_base(history, test)
        return answered.model_copy(update={"test_rows": rows, "base_test": self.score(test, max_rows=rows)})

    def measure_trained(self, history: History, test: Documents) -> History:
        """With what it makes of the very rows that `measure_base` chose, whatever the spec asks for by now."""
        answered = self._answering.measure_trained(history, test)
        return answered.model_copy(update={"test": self.score(test, max_rows=history.test_rows)})

    @property
    def _answering(self) -> Answering:
        return Answering(self.spec, self.examinee, self.tokenizer)
