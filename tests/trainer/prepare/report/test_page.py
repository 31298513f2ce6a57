"""report.html of preparation: everything that matters is on it, and nothing on it can run, load or hide."""

from __future__ import annotations

import unicodedata

from finetune_trainer.prepare.barrier.labels import LabelFindings, Respelt, Slip
from finetune_trainer.prepare.report.model import (
    AlikeRows,
    CleaningStep,
    Example,
    LabelRows,
    LeftOut,
    Point,
    PreparationReport,
    Verdict,
)
from finetune_trainer.prepare.report.page import report_page
from outline import Outline
from preparation_reports import report

HOSTILE = (
    "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u202e\x00\x1b[31m" + "W" * 5000 + "e\u0301" * 50
)


def label_findings(written: str, meant: str, *, number: int = 1) -> LabelFindings:
    return LabelFindings(
        rows_respelt=1,
        respelt=(Respelt(label=meant, spellings={written: 1, meant: 2}),) * number,
        slips=(Slip(label=written, rows=1, instead=meant, instead_rows=20),) * number,
        rows_outvoted=0,
        alike_but_labelled_otherwise=0,
    )


def hostile_report() -> PreparationReport:
    left_out = LeftOut(kind=HOSTILE, reason=HOSTILE, rows=5, places=(HOSTILE,), kept=(HOSTILE,))
    alike = AlikeRows(rows=2, places=(HOSTILE, HOSTILE), texts=(HOSTILE, HOSTILE))
    example = Example(place=HOSTILE, before=HOSTILE[:300], after=HOSTILE[300::-1])
    return report(
        sources=(HOSTILE,),
        reasons=(left_out, left_out.model_copy(update={"kind": "Invalid"})),
        duplicates=(alike,),
        conflicts=(alike,),
        cleaning={"html": CleaningStep(rows=1, examples=(example,))},
        labels=(LabelRows(label=HOSTILE, train=1, validation=0, test=0),),
        findings={"warnings": (HOSTILE,), "labels": label_findings(HOSTILE, HOSTILE)},
        shapes={HOSTILE: 1},
        encodings={HOSTILE: 1},
    )


def test_what_a_person_asks_for_is_on_the_page() -> None:
    places = ("s3://raw/a.jsonl:7", "s3://raw/b.jsonl:9")
    found = report(
        summary={"rows_rejected": 30, "rows_removed": 12},
        rejected={"Invalid": 30},
        removed={"NearDuplicate": 12},
        reasons=(
            LeftOut(kind="Invalid", reason="empty answer", rows=30, places=places),
            LeftOut(kind="NearDuplicate", reason="", rows=12, places=places[:1], kept=places[1:]),
        ),
        duplicates=(AlikeRows(rows=3, places=places, texts=("user: one", "user: two")),),
        findings={"conflicts": 2, "labels": label_findings("refnud", "refund")},
        conflicts=(AlikeRows(rows=2, places=places, texts=("user: yes", "user: no")),),
        cleaning={
            "lineEndings": CleaningStep(
                rows=44, examples=(Example(place="s3://raw/a.jsonl:3", before="one\r\ntwo", after="one\ntwo"),)
            )
        },
        labels=(LabelRows(label="refund", train=70, validation=8, test=9),),
    )
    text = Outline(report_page(found)).text

    for told in (
        "Good to train: 10,000 of 10,000 rows; 2 things to look at",
        "2 inputs have more than one output",
        "empty answer",
        "a.jsonl:7",
        "Near duplicate",
        "kept: b.jsonl:9",
        "user: two",
        "user: no",
        "lineEndings changed 44 rows (0.4 %)",
        "one␍\ntwo",
        "refund",
        "refnud",
        "4,096 tokens",
        "1,000,000",
    ):
        assert told in text, told


def test_the_points_lead_to_their_sections() -> None:
    outline = Outline(report_page(report(findings={"conflicts": 2}, summary={"rows_truncated": 3})))

    targets = {value for name, value in outline.attributes if name == "id"}
    links = {value for name, value in outline.attributes if name == "href"}
    assert links == {"#lengths"}  # there are no examples of conflicts, so no section shows them
    assert {(link or "").removeprefix("#") for link in links} <= targets


def test_what_came_from_outside_is_shown_and_never_run() -> None:
    outline = Outline(report_page(hostile_report()))

    assert outline.text.count("<script>alert(1)</script>") >= 12
    assert not outline.tags & {"script", "img", "link", "iframe", "object"}
    assert not [name for name, _ in outline.attributes if name.startswith("on") or name in ("src", "srcdoc")]
    assert all((value or "").startswith("#") for name, value in outline.attributes if name == "href")


def test_nothing_on_the_page_is_invisible_or_turns_the_line() -> None:
    page = report_page(hostile_report())

    assert {character for character in page if unicodedata.category(character) in ("Cc", "Cf")} == {"\n"}


def test_every_drawing_is_told_in_words_and_every_table_has_heads() -> None:
    page = report_page(hostile_report())

    assert page.count("<svg") == page.count('role="img" aria-label="') > 8
    assert page.count("<table>") == page.count("<thead>")
    assert page.count("<h1>") == 1


def test_the_page_can_be_made_again_from_the_file() -> None:
    found = report(cleaning={"html": CleaningStep(rows=1, examples=(Example(place="a:1", before="b", after="c"),))})

    assert report_page(PreparationReport.model_validate_json(found.model_dump_json(by_alias=True))) == report_page(
        found
    )


def test_the_page_stays_small_whatever_was_found() -> None:
    reason = LeftOut(kind="Invalid", reason="r" * 200, rows=1, places=("p" * 250,) * 3)
    label = LabelRows(label="l" * 60, train=1, validation=1, test=1)
    example = Example(place="p" * 250, before="<" * 420, after="\x00" * 420)
    page = report_page(
        report(
            reasons=(reason,) * 100,
            labels=(label,) * 1000,
            findings={"labels": label_findings("a" * 60, "b" * 60, number=100)},
            cleaning={f"step{number}": CleaningStep(rows=9, examples=(example,) * 3) for number in range(15)},
        )
    )

    assert len(page) < 1_500_000


def test_data_without_a_row_has_a_page_too() -> None:
    empty = report(
        summary={"rows_read": 0},
        lengths={},
        shapes={},
        encodings={},
    ).model_copy(update={"verdict": Verdict(sentence="Not ready", points=(Point(section="gone", text="look"),))})

    text = Outline(report_page(empty)).text

    assert "Not ready" in text
    assert "Lengths" not in text
