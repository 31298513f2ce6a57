"""What a run has measured so far: part of every checkpoint, so that a resume neither forgets nor repeats it."""

from __future__ import annotations

from typing import Self

from finetune_api.model import Model
from finetune_api.result import Metrics
from finetune_trainer.checkpoint.layout import Skipped
from finetune_trainer.divergence import REMEMBERED
from finetune_trainer.likeness import Likeness
from finetune_trainer.measures import Measures
from finetune_trainer.thinning import added

MAX_SAMPLES = 16
"""Test rows whose texts are kept, however many are measured."""
MAX_POINTS = 2000
"""Beyond it every other point is let go: a checkpoint's manifest holds the history and stays small."""

MAX_VALIDATIONS = 500
"""As for points."""


class Point(Model):
    """One optimizer step."""

    step: int
    loss: float
    """Nats per trained token, or per row learnt as a whole, over the global batch, before the step."""
    learning_rate: float
    gradient_norm: float
    """Before clipping."""


class Score(Model):
    """How good a model is on a split, or on its first rows."""

    loss: float
    """Nats per trained token, or per row learnt as a whole."""
    accuracy: float
    """Share of these that are told right."""
    macro_f1: float | None = None
    """F1, the mean over labels, where there are labels."""
    figures: dict[str, float] = {}
    """What else the task measures, by the name that the report gives it."""


class Validation(Score):
    """One evaluation of the validation split."""

    step: int


class Sample(Model):
    """A test row, and what the model answers to it."""

    prompt: str
    expected: str
    before: str
    """By the base model."""
    after: str | None = None
    """By the trained model."""


class History(Model):
    """Grows by `with_…`; equal runs have equal histories."""

    latest: Point | None = None
    points: tuple[Point, ...] = ()
    every: int = 1
    """Steps between two points."""
    recent: tuple[float, ...] = ()
    """The latest losses, of every step: what tells a spike."""
    skipped: tuple[Skipped, ...] = ()
    """Steps that were left out after training had gone wrong there."""
    validations: tuple[Validation, ...] = ()
    every_validation: int = 1
    """Steps between two of `validations` are a multiple of it."""
    last_validation: Validation | None = None
    best: Validation | None = None
    """So far, where its weights are the ones to publish; None: the last weights are."""
    since_best: int = 0
    """Validations after it."""
    test_rows: int = 0
    """Raw rows of the test split, at most, that the base model was measured on: the trained one is, on the same."""
    base_test: Score | None = None
    """Of the base model, or of who has not read the texts, where the base model cannot know what is learnt."""
    test: Score | None = None
    base_labels: Measures | None = None
    """The same of the test split by label, where the task has labels."""
    labels: Measures | None = None
    base_answers: Likeness | None = None
    """Of what the base model answers to test rows, where the task has answers."""
    answers: Likeness | None = None
    samples: tuple[Sample, ...] | None = None
    """None: the base model has not been measured yet."""
    longest_answer: int = 0
    """Tokens, at most, that the base model answered with: the trained one does, too."""
    unanswered: str | None = None
    """Why test rows were not answered, neither before nor after training, where they were to be."""

    def with_point(self, point: Point) -> Self:
        recent = (*self.recent, point.loss)[-REMEMBERED:]
        points, every = added(self.points, point, every=self.every, most=MAX_POINTS)
        return self.model_copy(update={"points": points, "every": every, "latest": point, "recent": recent})

    def with_validation(self, step: int, score: Score) -> Self:
        validation = Validation(step=step, **dict(score))
        validations, every = added(self.validations, validation, every=self.every_validation, most=MAX_VALIDATIONS)
        return self.model_copy(
            update={
                "validations": validations,
                "every_validation": every,
                "last_validation": validation,
                "since_best": self.since_best + 1,
            }
        )

    def with_best(self) -> Self:
        """The last validation is."""
        return self.model_copy(update={"best": self.last_validation, "since_best": 0})

    def skips(self, step: int) -> bool:
        """Whether it is left out."""
        return any(skipped.first <= step <= skipped.last for skipped in self.skipped)

    @property
    def published_step(self) -> int:
        """The step whose weights are published. Raises ValueError before the first."""
        return self.last.step if self.best is None else self.best.step

    @property
    def last(self) -> Point:
        """The latest step, recorded among `points` or not. Raises ValueError before the first."""
        if self.latest is None:
            raise ValueError("no step has been taken")
        return self.latest

    @property
    def validation_loss(self) -> float | None:
        """The latest."""
        return None if self.last_validation is None else self.last_validation.loss

    @property
    def metrics(self) -> Metrics:
        """Of the weights that are published."""
        return Metrics(
            base_test_loss=self.base_test.loss if self.base_test else None,
            test_loss=self.test.loss if self.test else None,
            validation_loss=self.validation_loss if self.best is None else self.best.loss,
            train_loss=self.latest.loss if self.latest else None,
            base_test_accuracy=self.base_test.accuracy if self.base_test else None,
            test_accuracy=self.test.accuracy if self.test else None,
            test_macro_f1=self.test.macro_f1 if self.test else None,
            base_exact_match=self.base_answers.exact_match if self.base_answers else None,
            exact_match=self.answers.exact_match if self.answers else None,
            base_rouge_l=self.base_answers.rouge_l if self.base_answers else None,
            rouge_l=self.answers.rouge_l if self.answers else None,
            base_chrf=self.base_answers.chrf if self.base_answers else None,
            chrf=self.answers.chrf if self.answers else None,
        )
