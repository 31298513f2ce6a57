"""Telling labels from a text's last token, with the head of transformers' own sequence classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from finetune_api.spec import ClassificationTask, ClassWeights, Spec
from finetune_trainer.architectures import sequence_classifier
from finetune_trainer.dropout import RowsInFlight
from finetune_trainer.evaluate import Examinee, evaluated_rows, first_of_rows, inference
from finetune_trainer.history import MAX_SAMPLES, History, Sample, Score
from finetune_trainer.measures import (
    CONFIDENCE_BINS,
    LabelSet,
    Measures,
    Told,
    add_confidences,
    commonest,
    measures,
    prior,
)
from finetune_trainer.model import Head, PackedModel
from finetune_trainer.prepared import Documents, PreparedData, unused_id
from finetune_trainer.tokenizers import ChatTokenizer
from finetune_trainer.tokens import Tokens

SCORE: Final = "score"
"""The head, as transformers calls it."""


class SequenceClassifier(PackedModel):
    """A model that answers with its loss; one label or several for each document, told at its last token."""

    _weights: Tensor | None

    def __init__(self, mistral: Any, in_flight: RowsInFlight, *, multi_label: bool, weights: Tensor | None) -> None:
        """`weights` of the labels, fp32[labels]: of rows that have one, or of the rows that have each of several."""
        super().__init__(mistral, in_flight)
        self._multi_label = multi_label
        self.register_buffer("_weights", weights, persistent=False)

    def logits(self, tokens: Tokens) -> Tensor:
        """fp32[documents, labels], whatever the precision of the blocks."""
        ends = self.hidden(tokens).index_select(0, tokens.marks)
        found: Tensor = self.mistral.score(ends)
        return found

    def forward(self, tokens: Tokens) -> Tensor:
        """Sum of the documents' losses: fp32 scalar, in nats."""
        logits = self.logits(tokens)
        weights = None if self._weights is None else self._weights.float()
        if self._multi_label:
            targets = torch.zeros_like(logits)
            for row, labels in enumerate(tokens.labels):
                targets[row, list(labels)] = 1
            losses = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none")
            return losses.mean(dim=1).sum()
        only = torch.tensor([labels[0] for labels in tokens.labels], dtype=torch.int64, device=logits.device)
        return functional.cross_entropy(logits, only, weight=weights, reduction="sum")


def head(labels: LabelSet, *, balanced: bool, pad_id: int) -> Head:
    """`pad_id` occurs in no document: by it transformers finds the last token of a row that is padded."""
    weights = torch.from_numpy(labels.balance).float() if balanced else None
    return Head(
        architecture=sequence_classifier,
        peft_task="SEQ_CLS",
        module=lambda mistral, in_flight: SequenceClassifier(
            mistral, in_flight, multi_label=labels.multi_label, weights=weights
        ),
        settings={
            "id2label": dict(enumerate(labels.names)),
            "label2id": {name: number for number, name in enumerate(labels.names)},
            "problem_type": "multi_label_classification" if labels.multi_label else "single_label_classification",
            "pad_token_id": pad_id,
        },
        layer=SCORE,
    )


def examine(
    examinee: Examinee[SequenceClassifier],
    documents: Documents,
    labels: LabelSet,
    *,
    sequence_length: int,
    max_rows: int,
) -> tuple[Measures, tuple[Told, ...]] | None:
    """Of a split's first rows, and what was told of each; the same for any ranks. None without rows. Collective."""
    rows = evaluated_rows(documents, sequence_length=sequence_length, max_rows=max_rows)
    if not rows:
        return None
    told: list[Told] = []
    bins = np.zeros((CONFIDENCE_BINS, 3))
    with inference(examinee.model):
        for tokens in examinee.micro_batches(documents, rows):
            told += _told(examinee.model.logits(tokens).double().cpu(), tokens, labels, bins)
    everyone = sorted(Told(*one) for of_rank in examinee.gang.gather(told) for one in of_rank)
    total = np.array(examinee.gang.sum(bins.ravel().tolist())).reshape(bins.shape)
    return measures(everyone, total, labels), tuple(everyone)


def _told(logits: Tensor, tokens: Tokens, labels: LabelSet, bins: np.ndarray) -> list[Told]:
    found = []
    for number, truth, row in zip(tokens.numbers, tokens.labels, logits, strict=True):
        true = np.isin(np.arange(len(labels.names)), truth)
        if labels.multi_label:
            targets = torch.from_numpy(true).double()
            loss = float(functional.binary_cross_entropy_with_logits(row, targets))
            chances = torch.sigmoid(row).numpy()
            predicted = np.flatnonzero(chances > 0.5).tolist()
            add_confidences(bins, np.maximum(chances, 1 - chances), true == (chances > 0.5))
        else:
            spread = torch.log_softmax(row, dim=0).numpy()
            predicted = [int(spread.argmax())]
            loss = float(-spread[truth[0]])
            add_confidences(bins, np.exp(spread[predicted]), true[predicted])
        found.append(Told(number, list(truth), predicted, loss))
    return found


@dataclass(frozen=True)
class Classification:
    """Of texts with one label, or several."""

    spec: Spec
    labels: LabelSet
    head: Head

    @classmethod
    def of(cls, spec: Spec, data: PreparedData, tokenizer: ChatTokenizer) -> Self:
        settings = spec.task.classification or ClassificationTask()
        labels = LabelSet.of(data.manifest, multi_label=settings.multi_label)
        preferred = (tokenizer.pad_id, tokenizer.eos_id)
        pad_id = unused_id(data.splits, preferred, vocab_size=tokenizer.vocab_size)
        balanced = settings.class_weights is ClassWeights.BALANCED
        return cls(spec, labels, head(labels, balanced=balanced, pad_id=pad_id))

    def examination(self, examinee: Examinee[SequenceClassifier]) -> ClassificationExamination:
        return ClassificationExamination(self.spec, examinee, self.labels)


@dataclass(frozen=True)
class ClassificationExamination:
    """Of a classifier."""

    spec: Spec
    examinee: Examinee[SequenceClassifier]
    labels: LabelSet

    def score(self, documents: Documents, *, max_rows: int) -> Score | None:
        """Of a split's first rows, each counted alike; None when it is empty."""
        examined = self._examine(documents, max_rows)
        return None if examined is None else _score(examined[0])

    def measure_base(self, history: History, test: Documents) -> History:
        """A base model tells no labels: what is to be beaten is who knows how often each occurs."""
        evaluation = self.spec.evaluation
        chosen = first_of_rows(test, evaluation.max_rows)
        base = prior(self.labels, [list(test.labels(index)) for index in chosen]) if chosen else None
        always = self._names(commonest(self.labels))
        texts = [test.texts(index) for index in chosen[: min(evaluation.generate_rows, MAX_SAMPLES)]]
        samples = tuple(Sample(prompt=text.prompt, expected=text.answer, before=always) for text in texts)
        changes = {
            "test_rows": evaluation.max_rows,
            "base_test": _score(base) if base else None,
            "base_labels": base.model_copy(update={"confusion": None, "labels": ()}) if base else None,
            "samples": samples,
        }
        return history.model_copy(update=changes)

    def measure_trained(self, history: History, test: Documents) -> History:
        """Of the very rows that `measure_base` chose, whatever the spec asks for by now."""
        examined = self._examine(test, history.test_rows)
        if examined is None:
            return history
        found, told = examined
        answered = tuple(
            sample.model_copy(update={"after": self._names(one.predicted)})
            for sample, one in zip(history.samples or (), told, strict=False)
        )
        return history.model_copy(update={"test": _score(found), "labels": found, "samples": answered})

    def _examine(self, documents: Documents, max_rows: int) -> tuple[Measures, tuple[Told, ...]] | None:
        length = self.spec.training.sequence_length
        return examine(self.examinee, documents, self.labels, sequence_length=length, max_rows=max_rows)

    def _names(self, labels: Sequence[int]) -> str:
        return ", ".join(self.labels.names[label] for label in labels)


def _score(found: Measures) -> Score:
    return Score(loss=found.loss, accuracy=found.accuracy, macro_f1=found.macro_f1)
