"""MFU by hand."""

from __future__ import annotations

import pytest

from encoded import Encoded, Pairs
from finetune_api.flops import flops
from finetune_api.spec import Precision
from finetune_trainer.packing import Batch
from finetune_trainer.utilisation import AtPeak
from shapes import FULL, a_training

H100 = "NVIDIA H100 80GB HBM3"
DOCUMENTS = Encoded.random([4096, 2048, 2048, 4096], vocab_size=8)
BATCH = Batch(epoch=0, epoch_done=0.5, rows=((0,), (1, 2)))
PAIRS = Batch(epoch=0, epoch_done=0.5, rows=((0,), (1,)))


def test_the_real_lengths_of_the_batch_decide_how_long_its_gpus_take_at_least() -> None:
    training = a_training(FULL, has_vocabulary_head=False)
    by_parameters = 6 * training.shape.num_hidden_layers * training.shape.block_matrices * 8192
    # Of a pair of query and key 12 of each query's size, causal: half of the square of a document's length.
    pairs = sum(length * (length + 1) / 2 for length in (4096, 2048, 2048)) * training.shape.num_hidden_layers
    work = by_parameters + 12 * training.shape.query_size * pairs

    seconds = AtPeak(training, DOCUMENTS, H100).seconds(BATCH)

    assert seconds == pytest.approx(work / (989.5e12 * training.world_size))


def test_of_linked_sequences_none_sees_another_and_their_labelled_tokens_count() -> None:
    training = a_training(has_reference=True)
    work = flops(training, [2048, 2048, 1024, 1024], labelled=2 * 682 + 2 * 341).total

    seconds = AtPeak(training, Pairs.random([4096, 2048], vocab_size=8), H100).seconds(PAIRS)

    assert seconds == pytest.approx(work / 989.5e12)


@pytest.mark.parametrize(
    ("gpu", "precision"), [(None, Precision.BFLOAT16), ("Some GPU", Precision.BFLOAT16), (H100, Precision.FLOAT32)]
)
def test_where_no_peak_is_known_nothing_is_said(gpu: str | None, precision: Precision) -> None:
    assert AtPeak(a_training(precision=precision), DOCUMENTS, gpu).seconds(BATCH) is None
