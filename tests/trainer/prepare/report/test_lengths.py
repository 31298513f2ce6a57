"""How long documents are."""

from __future__ import annotations

import numpy as np
import pytest

from finetune_trainer.prepare.report.lengths import lengths_of


def test_each_document_is_counted_once_between_round_bounds() -> None:
    found = lengths_of(np.array([1, 7, 8, 11, 12, 40, 100], dtype=np.int32))

    assert found is not None
    assert found.edges == (0, 8, 12, 16, 24, 32, 48, 64, 96, 128)
    assert found.counts == (2, 2, 1, 0, 0, 1, 0, 0, 1)
    assert (found.median, found.percentile_99, found.longest) == (11, 100, 100)


def test_bounds_begin_where_documents_do() -> None:
    found = lengths_of(np.array([20, 40], dtype=np.int32))

    assert found is not None
    assert (found.edges, found.counts) == ((16, 24, 32, 48), (1, 0, 1))


def test_no_documents_have_no_lengths() -> None:
    assert lengths_of(np.zeros(0, dtype=np.int32)) is None


@pytest.mark.parametrize("longest", [8, 12, 131_072])
def test_the_longest_is_inside_the_last_bound(longest: int) -> None:
    found = lengths_of(np.array([longest], dtype=np.int32))

    assert found is not None
    assert found.edges[-2] <= longest < found.edges[-1]
    assert len(found.counts) < 40
