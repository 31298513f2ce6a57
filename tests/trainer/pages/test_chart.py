"""Curves as SVG."""

from __future__ import annotations

import math
import re

import pytest

from finetune_trainer.pages.chart import HEIGHT, WIDTH, Band, Curve, chart, smoothed, ticks


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 100, 5, [0, 20, 40, 60, 80, 100]),
        (1, 200, 8, [50, 100, 150, 200]),
        (2.87, 4.01, 5, [3.0, 3.5, 4.0]),
        (1e-5, 1e-3, 5, [2e-4, 4e-4, 6e-4, 8e-4, 1e-3]),
        (3, 3, 5, [3]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, most: int, expected: list[float]) -> None:
    assert ticks(low, high, most) == pytest.approx(expected)


def test_a_smoothed_constant_is_that_constant() -> None:
    assert [y for _, y in smoothed([(x, 3.0) for x in range(50)])] == pytest.approx([3.0] * 50)


def test_smoothing_follows_with_a_delay() -> None:
    result = [y for _, y in smoothed([(x, float(x >= 50)) for x in range(100)])]

    assert result[49] == 0
    assert 0.09 < result[50] < 0.11
    assert result[99] > 0.99


def test_every_point_lies_in_the_frame() -> None:
    drawn = chart([Curve("a", "train", [(1, 5.0), (10, 1.0), (20, 3.0)])], label="a")
    points = drawn.split('points="')[1].split('"')[0].split()

    for x, y in (map(float, point.split(",")) for point in points):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert points[0].startswith("56.0,")


def test_what_is_not_finite_is_left_out_and_nothing_draws_nothing() -> None:
    assert "nan" not in chart([Curve("a", "train", [(1, math.nan), (2, 1.0), (3, math.inf), (4, 2.0)])], label="a")
    assert chart([Curve("a", "train", [])], label="a") == ""
    assert chart([Curve("a", "train", [(1, math.nan)])], label="a") == ""


def test_a_single_step_is_a_point() -> None:
    assert "<circle" in chart([Curve("a", "train", [(1, 2.0)])], label="a")


def test_a_band_covers_its_steps_and_stays_in_the_frame() -> None:
    bands = [Band("left out: <NaN>", 3, 4), Band("after the end", 9, 30)]
    drawn = chart([Curve("a", "train", [(1, 5.0), (11, 1.0)])], label="a", bands=bands)
    places = re.findall(r'class="band" x="([0-9.]+)" y="14" width="([0-9.]+)"', drawn)
    step = (WIDTH - 56 - 16) / 10
    assert [(float(x), float(width)) for x, width in places] == [
        (pytest.approx(56 + 1.5 * step, abs=0.1), pytest.approx(2 * step, abs=0.1)),
        (pytest.approx(56 + 7.5 * step, abs=0.1), pytest.approx(2.5 * step, abs=0.1)),
    ]
    assert "<title>left out: &lt;NaN&gt;</title>" in drawn
