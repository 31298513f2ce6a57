"""What a model that writes answers to test rows, before it is trained and after: the same rows, greedily."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from finetune_api.spec import Spec
from finetune_trainer.evaluate import Examinee, first_of_rows
from finetune_trainer.gathering import no_room
from finetune_trainer.generation import TOKENS_AT_ONCE, answers
from finetune_trainer.history import MAX_SAMPLES, History, Sample
from finetune_trainer.likeness import Likeness, likeness
from finetune_trainer.model import PackedModel
from finetune_trainer.prepared import Documents, Texts
from finetune_trainer.tokenizers import ChatTokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answering:
    """Of a model with the head of a language model. Every method is collective."""

    spec: Spec
    examinee: Examinee[PackedModel]
    tokenizer: ChatTokenizer

    def measure_base(self, history: History, test: Documents) -> History:
        """With answers to as many test rows as the spec asks for."""
        longest = self.spec.evaluation.max_new_tokens
        chosen = first_of_rows(test, self.spec.evaluation.generate_rows)
        unanswered = self._no_room(test, chosen, longest, before_training=True)
        if unanswered is not None:
            chosen = []
        texts = [test.texts(index) for index in chosen]
        answered = self._answers(test, chosen, longest)
        samples = tuple(
            Sample(prompt=text.prompt, expected=text.answer, before=answer)
            for text, answer in zip(texts, answered, strict=True)
        )
        changes = {
            "base_answers": _likeness(answered, texts),
            "samples": samples[:MAX_SAMPLES],
            "longest_answer": longest,
            "unanswered": unanswered,
        }
        return history.model_copy(update=changes)

    def measure_trained(self, history: History, test: Documents) -> History:
        """With answers to the very rows that `measure_base` chose, and as long, whatever the spec asks for by now.

        Where it cannot answer them the base model's answers are left out, too: there is nothing to compare them with.
        """
        samples, longest = history.samples or (), history.longest_answer
        number = len(samples) if history.base_answers is None else history.base_answers.rows
        chosen = first_of_rows(test, number)
        unanswered = self._no_room(test, chosen, longest, before_training=False)
        if unanswered is not None:
            history = history.model_copy(update={"base_answers": None, "unanswered": unanswered})
            samples, chosen = (), []
        answered = self._answers(test, chosen, longest)
        changes = {
            "answers": _likeness(answered, [test.texts(index) for index in chosen]),
            "samples": tuple(
                sample.model_copy(update={"after": answer}) for sample, answer in zip(samples, answered, strict=False)
            ),
        }
        return history.model_copy(update=changes)

    def _no_room(self, documents: Documents, chosen: list[int], longest: int, *, before_training: bool) -> str | None:
        reason = no_room(
            self.examinee.model,
            self.examinee.gang,
            [documents.prompt(index) for index in chosen],
            tokens_at_once=self._tokens_at_once,
            max_new_tokens=longest,
            before_training=before_training,
        )
        if reason is not None and self.examinee.gang.rank == 0:
            log.warning("%s", reason)
        return reason

    def _answers(self, documents: Documents, chosen: list[int], longest: int) -> list[str]:
        ids = answers(
            self.examinee.model,
            self.examinee.gang,
            [documents.prompt(index) for index in chosen],
            tokens_at_once=self._tokens_at_once,
            max_new_tokens=longest,
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
