"""Memory that is left to ranks without a GPU, by what Linux tells."""

from __future__ import annotations

import sys

from finetune_trainer.free_memory import left_on_machine, left_to_pod, shared

MEMINFO = "MemTotal:       24000000 kB\nMemFree:          500000 kB\nMemAvailable:   20000000 kB\n"
STAT = "anon 600\nfile 300\nkernel 50\nshmem 100\n"


def test_a_pod_has_what_its_limit_leaves_and_the_pages_of_files_that_can_be_given_back() -> None:
    assert left_to_pod(limit="2000\n", current="950\n", stat=STAT) == 2000 - 950 + 200
    assert left_to_pod(limit="max\n", current="950\n", stat=STAT) == sys.maxsize
    assert left_to_pod(limit="", current="", stat="") == sys.maxsize


def test_of_a_machine_what_is_available_counts() -> None:
    assert left_on_machine(MEMINFO) == 20_000_000 * 1024


def test_ranks_of_one_machine_share_what_is_left_on_it_and_none_takes_more_than_its_pod_may() -> None:
    assert shared([("a", 90, sys.maxsize), ("a", 90, sys.maxsize), ("b", 50, sys.maxsize)]) == 45
    assert shared([("a", 90, 80), ("b", 90, 70)]) == 70
