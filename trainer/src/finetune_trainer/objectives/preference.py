"""Preferring one answer to another by direct preference optimization: Rafailov et al. 2023, arXiv 2305.18290."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from finetune_api.spec import PreferenceTask, Spec
from finetune_trainer.adapters import as_it_began
from finetune_trainer.architectures import causal_language_model
from finetune_trainer.dropout import RowsInFlight
from finetune_trainer.evaluate import Examinee, evaluated_rows, inference
from finetune_trainer.history import History, Score
from finetune_trainer.model import Head, PackedModel
from finetune_trainer.objectives.answering import Answering
from finetune_trainer.prepared import Documents, PreparedData
from finetune_trainer.tokenizers import ChatTokenizer
from finetune_trainer.tokens import Tokens


class Pairs(NamedTuple):
    """Of each document, fp32[documents]."""

    margins: Tensor
    """β times by how much more the adapter has raised the log-likelihood of the chosen answer than of the rejected."""
    leads: Tensor
    """By how much the chosen answer's log-likelihood is the higher."""


class PreferenceModel(PackedModel):
    """Learns to prefer, compared with itself as it was before training: without adapters, or with the initial one."""

    def __init__(self, mistral: Any, in_flight: RowsInFlight, *, beta: float) -> None:
        super().__init__(mistral, in_flight)
        self._beta = beta

    def forward(self, tokens: Tokens) -> Tensor:
        """Sum of the documents' losses: fp32 scalar, in nats."""
        return -functional.logsigmoid(self.pairs(tokens).margins).sum()

    def pairs(self, tokens: Tokens) -> Pairs:
        """Of documents of two linked sequences: the chosen answer and the rejected one."""
        with torch.no_grad(), as_it_began(self):
            reference = self._log_likelihoods(tokens)
        policy = self._log_likelihoods(tokens)
        pairs = torch.tensor(tokens.sequences, dtype=torch.int64, device=policy.device).reshape(-1, 2)
        chosen, rejected = pairs.unbind(dim=1)
        gains = policy - reference
        return Pairs(self._beta * (gains[chosen] - gains[rejected]), policy[chosen] - policy[rejected])

    def _log_likelihoods(self, tokens: Tokens) -> Tensor:
        """fp32[sequences]: of the labelled tokens of each together."""
        labelled = self.hidden(tokens).index_select(0, tokens.predictors)
        losses = self.mistral.lm_head(labelled, tokens.targets, reduction="none")
        sums = torch.zeros(len(tokens.documents.lengths), dtype=losses.dtype, device=losses.device)
        return sums.index_add(0, tokens.owners, -losses)


def head(beta: float) -> Head:
    """Below the loss of pairs."""
    return Head(
        architecture=causal_language_model,
        peft_task="CAUSAL_LM",
        module=lambda mistral, in_flight: PreferenceModel(mistral, in_flight, beta=beta),
        compared=True,
    )


@dataclass(frozen=True)
class Preference:
    """Of pairs of answers. Only with adapters, as the spec's rules have it: without them there is no reference."""

    spec: Spec
    tokenizer: ChatTokenizer
    head: Head

    @classmethod
    def of(cls, spec: Spec, _data: PreparedData, tokenizer: ChatTokenizer) -> Self:
        return cls(spec, tokenizer, head((spec.task.preference or PreferenceTask()).beta))

    def examination(self, examinee: Examinee[PreferenceModel]) -> PreferenceExamination:
        return PreferenceExamination(self.spec, examinee, self.tokenizer)


@dataclass(frozen=True)
class PreferenceExamination:
    """Of a model that prefers."""

    spec: Spec
    examinee: Examinee[PreferenceModel]
    tokenizer: ChatTokenizer

    def score(self, documents: Documents, *, max_rows: int) -> Score | None:
        """Each pair of a split's first rows counted once, whatever the ranks; None when it is empty.

        Accurate is a pair of which the adapter has raised the chosen answer more than the rejected one.
        """
        rows = evaluated_rows(documents, sequence_length=self.spec.training.sequence_length, max_rows=max_rows)
        if not rows:
            return None
        model, gang = self.examinee.model, self.examinee.gang
        total, count = torch.zeros(4, dtype=torch.float64, device=gang.device), 0
        with inference(model):
            for tokens in self.examinee.micro_batches(documents, rows):
                margins, leads = (value.double() for value in model.pairs(tokens))
                losses = -functional.logsigmoid(margins)
                total += torch.stack([value.sum() for value in (losses, margins > 0, margins, leads > 0)])
                count += len(tokens.numbers)
        loss, right, margin, likelier, pairs = gang.sum([*total.tolist(), count])
        figures = {"Margin": margin / pairs, "Chosen is likelier": likelier / pairs}
        return Score(loss=loss / pairs, accuracy=right / pairs, figures=figures)

    def measure_base(self, history: History, test: Documents) -> History:
        """With what the model prefers, and answers, before it is trained."""
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
