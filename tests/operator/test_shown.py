"""What the indices are asked for."""

from __future__ import annotations

from finetune_operator.apply import Kind, Ref
from finetune_operator.shown import Entry, Shown, Writer
from jobs import UID, make_job

KEY = Ref(Kind.FINE_TUNE_JOB, "ml", "triage")


def test_rivals_are_the_other_writers_of_the_same_output() -> None:
    theirs = Ref(Kind.FINE_TUNE_JOB, "research", "triage")
    writers = [Writer("9", theirs), Writer(UID, KEY)]
    shown = Shown(outputs={"s3://models/triage": writers, "s3://models/other": [Writer("8", KEY)]})
    assert shown.rivals(make_job("triage")) == (theirs,)
    assert shown.rivals(make_job("triage", output={"uri": "s3://models/third"})) == ()


def test_finished_jobs_are_known_by_their_uid() -> None:
    entries = {"1": [Entry("7", "Training", finished=False)], "2": [Entry("8", "Failed", finished=True)]}
    assert Shown(indices={Kind.FINE_TUNE_JOB: entries}).finished() == {"2"}


def test_before_the_watches_start_nothing_is_shown() -> None:
    assert Shown().versions(Kind.JOB) == {}
    assert Shown().rivals(make_job()) == ()
    assert list(Shown().phases(without=frozenset())) == []
