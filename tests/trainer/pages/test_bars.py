"""Bars and columns as SVG."""

from __future__ import annotations

import re

from finetune_trainer.pages.bars import Part, bar, histogram


def test_parts_of_a_bar_follow_each_other_in_their_shares() -> None:
    drawn = bar([Part("train", 80, "train"), Part("valid", 0, "none"), Part("good", 15, "test")], 100, label="rows")

    assert re.findall(r'class="(\w+)" x="([\d.]+)%" width="([\d.]+)%"', drawn) == [
        ("train", "0.00", "80.00"),
        ("good", "80.00", "15.00"),
    ]
    assert 'role="img" aria-label="rows"' in drawn


def test_what_is_not_nothing_is_seen_and_stays_inside() -> None:
    drawn = bar([Part("train", 999_999, "left"), Part("lost", 1, "lost")], 1_000_000, label="rows")

    assert re.findall(r'class="(\w+)" x="([\d.]+)%" width="([\d.]+)%"', drawn)[1] == ("lost", "99.60", "0.40")


def test_columns_are_as_high_as_their_counts() -> None:
    drawn = histogram([0, 8, 12, 16], [5, 0, 10], label="lengths", marks=[("median", 12)])

    heights = [float(height) for height in re.findall(r'<rect class="train"[^>]* height="([\d.]+)"', drawn)]
    assert heights == [65.0, 130.0]
    assert "<title>12 to 15: 10</title>" in drawn
    assert '<line class="mark" x1="66.67%"' in drawn


def test_nothing_to_draw_is_an_empty_frame() -> None:
    assert "<rect" not in histogram([0], [], label="lengths")
