"""Learning tokens from those before them: the loss of a model that writes, and what it answers to test rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor
from torch.nn import functional

from finetune_api.memory import LOGITS_AT_ONCE
from finetune_api.spec import Spec
from finetune_trainer.architectures import causal_language_model
from finetune_trainer.evaluate import evaluated_rows, first_of_rows, inference, shared_out
from finetune_trainer.gang import Gang
from finetune_trainer.generation import answers
from finetune_trainer.history import MAX_SAMPLES, History, Sample, Score
from finetune_trainer.likeness import Likeness, likeness
from finetune_trainer.model import Head, PackedModel
from finetune_trainer.prepared import Documents, PreparedData, Texts
from finetune_trainer.tokenizers import ChatTokenizer
from finetune_trainer.tokens import Tokens, tokens_of


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

    def examination(
        self, model: CausalLanguageModel, gang: Gang, *, micro_batch_size: int, beat: Callable[[], None]
    ) -> LanguageExamination:
        return LanguageExamination(self.spec, gang, model, self.tokenizer, beat, micro_batch_size)


@dataclass(frozen=True)
class LanguageExamination:
    """Of a model that writes."""

    spec: Spec
    gang: Gang
    model: CausalLanguageModel
    tokenizer: ChatTokenizer
    beat: Callable[[], None]
    micro_batch_size: int

    def score(self, documents: Documents, *, max_rows: int) -> Score | None:
        """Each trained token of a split's first rows counted once, whatever the ranks; None when it is empty."""
        rows = evaluated_rows(documents, sequence_length=self.spec.training.sequence_length, max_rows=max_rows)
        if not rows:
            return None
        total, labelled = torch.zeros(2, dtype=torch.float64, device=self.gang.device), 0
        with inference(self.model):
            for micro_batch in shared_out(rows, self.gang, self.micro_batch_size):
                tokens = tokens_of(documents, micro_batch, self.gang.device)
                total += self.model.told(tokens)
                labelled += len(tokens.targets)
                self.beat()
        loss, right, count = self.gang.sum([*total.tolist(), labelled])
        return Score(loss=loss / count, accuracy=right / count)

    def measure_base(self, history: History, test: Documents) -> History:
        """With what the model makes of the test split before it is trained."""
        evaluation = self.spec.evaluation
        chosen = first_of_rows(test, evaluation.generate_rows)
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
        }
        return history.model_copy(update=changes)

    def measure_trained(self, history: History, test: Documents) -> History:
        """With what it makes of the very rows that `measure_base` chose, whatever the spec asks for by now."""
        samples = history.samples or ()
        number = len(samples) if history.base_answers is None else history.base_answers.rows
        chosen = first_of_rows(test, number)
        answered = self._answers(test, chosen)
        changes = {
            "test": self.score(test, max_rows=history.test_rows),
            "answers": _likeness(answered, [test.texts(index) for index in chosen]),
            "samples": tuple(
                sample.model_copy(update={"after": answer}) for sample, answer in zip(samples, answered, strict=False)
            ),
        }
        return history.model_copy(update=changes)

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


def _likeness(answered: Sequence[str], texts: Sequence[Texts]) -> Likeness | None:
    """None where nothing was asked: a whole document that a model makes up cannot be like another."""
    if not any(text.prompt for text in texts):
        return None
    return likeness(answered, [text.answer for text in texts])
