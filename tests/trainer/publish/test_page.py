"""report.html: everything that matters is on it, and nothing on it can run or load."""

from __future__ import annotations

import math

import numpy as np

import results
from finetune_api.contract import Stage
from finetune_api.result import SplitCounts
from finetune_api.snapshot import Snapshot
from finetune_trainer.checkpoint.layout import Skipped
from finetune_trainer.history import History, Point, Sample, Score, Validation
from finetune_trainer.likeness import Likeness
from finetune_trainer.measures import CONFIDENCE_BINS, LabelSet, Told, measures, prior
from finetune_trainer.publish.page import report_page
from finetune_trainer.publish.rendering import Rendering
from finetune_trainer.telemetry import Telemetry
from finetune_trainer.verified import ListedFile
from jobs import make_job
from outline import Outline
from results import but


def snapshot_of(name: str = "job") -> Snapshot:
    job = make_job(name, data={"sources": [{"uri": "s3://raw/support/*.jsonl"}]})
    return Snapshot(
        name=name, namespace="ml", uid="uid-1", stage=Stage.TRAIN, attempt=2, spec=job.spec, prepared=PREPARED
    )


PREPARED = but(
    results.PREPARED,
    model_digest="m" * 64,
    data=but(
        results.PREPARED.data,
        files=3,
        rows_read=1234,
        splits=SplitCounts(train=975, validation=122, test=122),
        trained_tokens=1_234_567,
    ),
)


def history_of(steps: int = 200, samples: tuple[Sample, ...] | None = ()) -> History:
    points = tuple(
        Point(
            step=step,
            loss=3 + math.exp(-step / 40) + 0.1 * math.sin(step),
            learning_rate=1e-3 * (1 - step / 201),
            gradient_norm=1 + 0.3 * math.cos(step),
        )
        for step in range(1, steps + 1)
    )
    return History(
        latest=points[-1],
        points=points,
        validations=tuple(
            Validation(step=step, loss=3.2 + math.exp(-step / 50), accuracy=0.5) for step in range(50, steps + 1, 50)
        ),
        base_test=Score(loss=4.012, accuracy=0.25),
        test=Score(loss=2.987, accuracy=0.5),
        test_rows=100,
        samples=samples,
    )


SAME = Rendering(by="the chat template", rows=122, exact="tekken.json")
FILES = (ListedFile(path="model/adapter_model.safetensors", size=123456, sha256="a" * 64),)


def page_of(history: History, name: str = "job", rendering: Rendering = SAME) -> str:
    return report_page(snapshot_of(name), PREPARED, history, Telemetry(), rendering, FILES)


def test_the_figures_of_data_training_and_outcome_are_on_the_page() -> None:
    text = Outline(page_of(history_of())).text

    for figure in ("ml/job", "4.012", "2.987", "−26%", "1,234 from 3 files", "975", "1,234,567", "a" * 64, "m" * 64):
        assert figure in text, figure


def test_curves_have_a_line_and_every_validation_a_point() -> None:
    page = page_of(history_of())

    assert page.count("<polyline") == 4
    assert page.count('<circle class="valid"') == 4
    assert "validation, step 200: 3.218" in page


def test_the_best_validation_and_steps_that_were_left_out_are_marked_on_the_curve() -> None:
    skipped = Skipped(first=90, last=99, reason="the loss or its gradient is no longer finite")
    history = history_of().model_copy(
        update={"best": Validation(step=150, loss=3.2, accuracy=0.5), "skipped": (skipped,)}
    )
    page = page_of(history)

    assert "best validation, step 150" in page
    assert "steps 90 to 99 left out: the loss or its gradient is no longer finite" in page
    assert (page.count('<circle class="best"'), page.count('<rect class="band"')) == (1, 1)
    assert "left out" not in page_of(history_of())


def test_samples_stand_side_by_side() -> None:
    text = Outline(page_of(history_of(samples=(Sample(prompt="P?", expected="E.", before="B.", after="A."),)))).text

    assert [text.index(part) for part in ("P?", "B.", "A.", "E.")] == sorted(
        text.index(part) for part in ("P?", "B.", "A.", "E.")
    )


def test_why_nothing_was_answered_stands_in_the_place_of_answers() -> None:
    text = Outline(page_of(history_of().model_copy(update={"unanswered": "Not answered: <too> little"}))).text

    assert "Answers to test rowsNot answered: <too> little." in text


def test_what_came_from_outside_is_shown_and_never_run() -> None:
    hostile = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    outline = Outline(
        page_of(history_of(samples=(Sample(prompt=hostile, expected=hostile, before=hostile, after=hostile),)))
    )

    assert outline.text.count(hostile) == 4
    assert not outline.tags & {"script", "img", "link", "iframe", "object"}
    assert not [name for name, _ in outline.attributes if name.startswith("on") or name in ("src", "href", "srcdoc")]


def test_a_run_of_one_step_and_without_test_rows_has_a_page_too() -> None:
    history = history_of(1).model_copy(update={"base_test": None, "test": None, "samples": None})

    text = Outline(page_of(history)).text

    assert "Answers to test rows" not in text
    assert "test loss" not in text


def test_labels_have_their_figures_and_a_table_of_what_was_taken_for_what() -> None:
    labels = LabelSet(("<b>bug", "praise"), (20, 10), 30, multi_label=False)
    told = [Told(0, [0], [0], 0.1), Told(1, [0], [1], 2.0), Told(2, [1], [1], 0.3)]
    found = measures(told, np.zeros((CONFIDENCE_BINS, 3)), labels)
    history = history_of().model_copy(update={"labels": found, "base_labels": prior(labels, [[0], [0], [1]])})
    outline = Outline(page_of(history))
    rows = "Of the first 100 of the test split's 122 rows."
    for figure in ("66.7% → 66.7%", "accuracy, from always the commonest label", rows, "<b>bug", "0.667", "0.800"):
        assert figure in outline.text, figure
    assert "nats per token" not in outline.text


def test_the_test_split_is_told_before_and_after_training() -> None:
    history = history_of().model_copy(
        update={
            "base_test": Score(loss=4.012, accuracy=0.25, figures={"Margin": 0.0}),
            "test": Score(loss=2.987, accuracy=0.5, figures={"Margin": 0.75}),
            "base_answers": Likeness(rows=64, exact_match=0.125, rouge_l=0.2, chrf=21.5),
            "answers": Likeness(rows=64, exact_match=0.875, rouge_l=0.9, chrf=88.25),
        }
    )
    text = Outline(page_of(history)).text
    for line in (
        "Of the first 100 of the test split's 122 rows.",
        "Loss, nats per token4.0122.987",
        "Perplexity55.2619.83",
        "Told right25.0%50.0%",
        "Margin0.0000.750",
        "Exact match, of 64 answers12.5%87.5%",
        "ROUGE-L, of 64 answers0.2000.900",
        "chrF2, of 64 answers21.588.2",
    ):
        assert line in text, line


def test_the_page_says_whether_the_published_tokenizer_makes_the_trained_ids() -> None:
    assert "the very ids that were trained of 122 test rows" in Outline(page_of(history_of())).text
    other = SAME.model_copy(update={"differing": 1, "place": "s3://raw/<b>.jsonl:7", "reason": "from token 3 of 9 on"})
    page = page_of(history_of(), rendering=other)
    assert (
        "s3://raw/<b>.jsonl:7 (from token 3 of 9 on); encode with mistral-common and `tekken.json`"
        in Outline(page).text
    )
    assert page.count('<p class="warning">') == 1
