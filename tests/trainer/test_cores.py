"""Of the machine's cores those that are ours."""

from __future__ import annotations

import pytest

from finetune_trainer.cores import usable_cores


@pytest.mark.parametrize(
    ("affinity", "asked", "cpu_max", "usable"),
    [
        (64, None, "", 64),
        (64, 2, "max 100000\n", 2),
        (2, 8, "", 2),
        (64, None, "250000 100000\n", 3),
        (64, None, "5000 100000", 1),
        (64, 4, "1600000 100000", 4),
        (4, 0, "", 4),
        (4, None, "max", 4),
    ],
)
def test_the_smallest_of_all_limits_counts(affinity: int, asked: int | None, cpu_max: str, usable: int) -> None:
    assert usable_cores(affinity=affinity, asked=asked, cpu_max=cpu_max) == usable
