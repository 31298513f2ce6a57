"""Learning tokens from those before them: the loss of a model that writes, and what it answers to test rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor
from torch.nn import functional

from finetune_api.memory import LOGITS_AT_ONCE
from finetune_api.spec import Spec
from finetune_trainer.architectures import causal_language_model
from finetune_trainer.evaluate import Examinee, evaluated_rows, first_of_rows, inference
from finetune_trainer.gathering import no_room
from finetune_trainer.generation import TOKENS_AT_ONCE, answers
from finetune_trainer.history import MAX_SAMPLES, History, Sample, Score
from finetune_trainer.likeness import Likeness, likeness
from finetune_trainer.model import Head, PackedModel
from finetune_trainer.prepared import Documents, PreparedData, Texts
from finetune_trainer.tokenizers import ChatTokenizer
from finetune_trainer.tokens import Tokens

log = logging.getLogger(__name__)


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
        evaluation = self.spec.evaluation
        chosen = first_of_rows(test, evaluation.generate_rows)
        unanswered = self._no_room(test, chosen, before_training=True)
        if unanswered is not None:
            chosen = []
        texts = [test.texts(index) for index in chosen]
        answered = self._answers(test, chosen)
        samples = tuple(
            Sample(prompt=text.prompt, expected=text.answer, before=answer)
            for text, answer in zip(texts, answered, strict=True)
        )
        changes = {
            "test_rows": evaluation.max_rows,
            "base_test": self.score(test, max_rows=evaluation.max_rows),
            "base_answers": _likeness(answered, texts),
            "samples": samples[:MAX_SAMPLES],
            "unanswered": unanswered,
        }
        return history.model_copy(update=changes)

    def measure_trained(self, history: History, test: Documents) -> History:
        """With what it makes of the very rows that `measure_base` chose, whatever the spec asks for by now.

        Where it cannot answer them the base model's answers are left out, too: there is nothing to compare them with.
        """
        samples = history.samples or ()
        number = len(samples) if history.base_answers is None else history.base_answers.rows
        chosen = first_of_rows(test, number)
        unanswered = self._no_room(test, chosen, before_training=False)
        if unanswered is not None:
            history = history.model_copy(update={"base_answers": None, "unanswered": unanswered})
            samples, chosen = (), []
        answered = self._answers(test, chosen)
        changes = {
            "test": self.score(test, max_rows=history.test_rows),
            "answers": _likeness(answered, [test.texts(index) for index in chosen]),
            "samples": tuple(
                sample.model_copy(update={"after": answer}) for sample, answer in zip(samples, answered, strict=False)
            ),
        }
        return history.model_copy(update=changes)

    def _no_room(self, documents: Documents, chosen: list[int], *, before_training: bool) -> str | None:
        reason = no_room(
            self.examinee.model,
            self.examinee.gang,
            [documents.prompt(index) for index in chosen],
            tokens_at_once=self._tokens_at_once,
            max_new_tokens=self.spec.evaluation.max_new_tokens,
            before_training=before_training,
        )
        if reason is not None and self.examinee.gang.rank == 0:
            log.warning("%s", reason)
        return reason

    def _answers(self, documents: Documents, chosen: list[int]) -> list[str]:
        ids = answers(
            self.examinee.model,
            self.examinee.gang,
            [documents.prompt(index) for index in chosen],
            tokens_at_once=self._tokens_at_once,
            max_new_tokens=self.spec.evaluation.max_new_tokens,
            eos_id=self.tokenizer.eos_id,
            beat=self.examinee.beat,
        )
        return [self.tokenizer.decode(answer) for answer in ids]

    @property
    def _tokens_at_once(self) -> int:
        """As many as training has in a pass, whose activations take far more memory: halving those halves these."""
        return min(TOKENS_AT_ONCE, self.examinee.micro_batch_size * self.spec.training.sequence_length)


def _likeness(answered: Sequence[str], texts: Sequence[Texts]) -> Likeness | None:
    """None where nothing was asked: a whole document that a model makes up cannot be like another."""
    if not any(text.prompt for text in texts):
        return None
    return likeness(answered, [text.answer for text in texts])
