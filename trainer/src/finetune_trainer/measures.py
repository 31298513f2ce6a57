"""How well labels are told: what a classifier answered to rows whose labels are known. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune_api.model import Model
from finetune_trainer.prepared import Manifest

CONFIDENCE_BINS: Final = 15


@dataclass(frozen=True)
class LabelSet:
    """The labels that there are, and how often the train split has them."""

    names: tuple[str, ...]
    """By id."""
    rows: tuple[int, ...]
    """Documents of train by label."""
    documents: int
    """Of train."""
    multi_label: bool

    @classmethod
    def of(cls, manifest: Manifest, *, multi_label: bool) -> LabelSet:
        """Of prepared data."""
        train = manifest.splits["train"]
        rows = tuple(train.labels.get(name, 0) for name in manifest.labels)
        return cls(manifest.labels, rows, train.documents, multi_label)

    @property
    def balance(self) -> NDArray[np.float64]:
        """What each label's rows weigh where all labels count alike; shape (labels,).

        One label a row: the mean over the rows of train is 1. Several: rows without the label over those with it.
        """
        rows = np.maximum(1, np.array(self.rows, dtype=np.float64))
        if self.multi_label:
            return np.asarray(np.maximum(1, self.documents - rows) / rows)
        return np.asarray(self.documents / (np.count_nonzero(self.rows) * rows))


class Told(NamedTuple):
    """What was told of one document. JSON: it travels between ranks."""

    document: int
    truth: list[int]
    predicted: list[int]
    loss: float
    """Negative log-likelihood of the truth in nats, of several labels the mean over all."""


class LabelMeasure(Model):
    """Of one label."""

    label: str
    rows: int
    """That have it."""
    precision: float
    recall: float
    f1: float


class Measures(Model):
    """Of a split, or of its first rows."""

    rows: int
    loss: float
    """Nats per row."""
    accuracy: float
    """Share of rows of which all labels were told."""
    macro_f1: float
    """Mean over the labels that occur in truth or answers."""
    micro_f1: float
    """Over all (row, label); the accuracy, where a row has one label."""
    calibration_error: float
    """Mean distance of confidence and truth over 15 equal steps of confidence (ECE)."""
    labels: tuple[LabelMeasure, ...]
    """By id."""
    confusion: tuple[tuple[int, ...], ...] | None = None
    """Rows by true and told label; null where a row may have several."""


def measures(told: Sequence[Told], confidences: NDArray[np.float64], labels: LabelSet) -> Measures:
    """`confidences` holds (answers, sum of their confidences, right ones) of each bin, shape (CONFIDENCE_BINS, 3)."""
    count = len(labels.names)
    truth, predicted = np.zeros((2, len(told), count), dtype=bool)
    for row, one in enumerate(told):
        truth[row, one.truth] = True
        predicted[row, one.predicted] = True
    right = (truth & predicted).sum(axis=0)
    occurs = (truth | predicted).any(axis=0)
    f1 = _ratio(2 * right, truth.sum(axis=0) + predicted.sum(axis=0))
    precision, recall = _ratio(right, predicted.sum(axis=0)), _ratio(right, truth.sum(axis=0))
    confusion = None
    if not labels.multi_label:
        table = np.zeros((count, count), dtype=np.int64)
        np.add.at(table, ([one.truth[0] for one in told], [one.predicted[0] for one in told]), 1)
        confusion = tuple(map(tuple, table.tolist()))
    answers, confidence, correct = confidences.T
    return Measures(
        rows=len(told),
        loss=math.fsum(one.loss for one in told) / len(told),
        accuracy=float((truth == predicted).all(axis=1).mean()),
        macro_f1=float(f1[occurs].mean()) if occurs.any() else 0.0,
        micro_f1=float(_ratio(2 * right.sum(), truth.sum() + predicted.sum())),
        calibration_error=float(np.abs(confidence - correct).sum() / max(1.0, answers.sum())),
        labels=tuple(
            LabelMeasure(label=name, rows=rows, precision=one, recall=other, f1=both)
            for name, rows, one, other, both in zip(
                labels.names, truth.sum(axis=0).tolist(), precision.tolist(), recall.tolist(), f1.tolist(), strict=True
            )
        ),
        confusion=confusion,
    )


def chances(labels: LabelSet) -> NDArray[np.float64]:
    """Of each label, for who knows how often train has it (one more of each) and not the text; shape (labels,)."""
    rows = np.array(labels.rows, dtype=np.float64) + 1
    return np.asarray(rows / (labels.documents + 2 if labels.multi_label else rows.sum()))


def commonest(labels: LabelSet) -> list[int]:
    """What is best always told: the commonest label, of several those that more rows have than have not."""
    likely = chances(labels)
    return np.flatnonzero(likely > 0.5).tolist() if labels.multi_label else [int(likely.argmax())]


def prior(labels: LabelSet, truths: Sequence[list[int]]) -> Measures:
    """Of who has not read the texts and always tells the commonest."""
    likely, always = chances(labels), commonest(labels)
    sure = np.maximum(likely, 1 - likely) if labels.multi_label else likely[always]
    told = []
    confidences = np.zeros((CONFIDENCE_BINS, 3))
    for document, truth in enumerate(truths):
        true = np.isin(np.arange(len(likely)), truth)
        if labels.multi_label:
            loss = float(-np.log(np.where(true, likely, 1 - likely)).mean())
            hits = true == (likely > 0.5)
        else:
            loss, hits = float(-np.log(likely[truth[0]])), true[always]
        told.append(Told(document, truth, always, loss))
        add_confidences(confidences, sure, hits)
    return measures(told, confidences, labels)


def add_confidences(bins: NDArray[np.float64], confidences: NDArray[np.float64], hits: NDArray[np.bool_]) -> None:
    """Count answers with these confidences, of which `hits` are right; both of shape (answers,)."""
    places = np.minimum((confidences * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)
    np.add.at(bins, places, np.stack([np.ones(len(places)), confidences, hits], axis=1))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """0 where there is nothing to be a part of."""
    return np.asarray(part / np.maximum(1, whole))
