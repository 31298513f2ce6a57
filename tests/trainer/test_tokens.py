from typing import Any

import numpy as np

from encoded import Encoded

DOCUMENTS = ([11, 12, 13], [21, 22, 23, 24], [31])


class Linked(Encoded):
    """Each document of four tokens is two sequences of two; all is labelled."""

    def breaks(self, index: int) -> tuple[int, ...]:
        return (2,) if len(self.documents[index]) == 4 else ()

    def mask(self, index: int) -> np.ndarray:
        return np.ones(len(self.documents[index]), np.bool_)


class AllLabelled(Encoded):
    def mask(self, index: int) -> np.ndarray:
        return np.ones(len(self.documents[index]), np.bool_)


KINDS = {"last": Encoded, "all": AllLabelled, "linked": Linked}


def tensors(rows: list[list[int]], first_place: int = 0, kind: str = "last") -> dict[str, Any]:
    import torch

    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    data = KINDS[kind](tuple(np.array(ids, np.int32) for ids in DOCUMENTS))
    placed = [PlacedRow(first_place + index, tuple(row)) for index, row in enumerate(rows)]
    tokens = tokens_of(data, placed, torch.device("cpu"))
    return {
        "ids": tokens.ids.tolist(),
        "positions": tokens.positions.tolist(),
        "offsets": tokens.documents.offsets.tolist(),
        "targets": tokens.targets.tolist(),
        "predicted from": tokens.ids[0, tokens.predictors].tolist(),
        "owners": tokens.owners.tolist(),
        "sequences": tokens.sequences,
        "rows": tokens.rows,
    }


def test_documents_lie_one_after_the_other_and_the_last_tokens_of_each_are_targets(preloaded):
    assert preloaded.run(tensors, rows=[[1, 0], [2]]) == [
        {
            "ids": [[21, 22, 23, 24, 11, 12, 13, 31]],
            "positions": [[0, 1, 2, 3, 0, 1, 2, 0]],
            "offsets": [0, 4, 7, 8],
            "targets": [23, 24, 13],
            "predicted from": [22, 23, 12],
            "owners": [0, 0, 1],
            "sequences": [[0], [1], [2]],
            "rows": [[0, 7], [1, 1]],
        }
    ]


def test_the_first_token_of_a_document_is_never_predicted_from_another_document(preloaded):
    (answer,) = preloaded.run(tensors, rows=[[0, 2, 1]], kind="all")
    assert answer["targets"] == [12, 13, 22, 23, 24]
    assert answer["predicted from"] == [11, 12, 21, 22, 23]


def test_a_dummy_row_is_one_token_without_a_target(preloaded):
    (answer,) = preloaded.run(tensors, rows=[[]], first_place=3)
    assert (answer["ids"], answer["targets"], answer["rows"]) == ([[0]], [], [[3, 1]])


def test_linked_sequences_lie_in_one_row_and_are_documents_of_their_own_to_attention(preloaded):
    (answer,) = preloaded.run(tensors, rows=[[0], [], [1]], kind="linked")
    assert answer == {
        "ids": [[11, 12, 13, 0, 21, 22, 23, 24]],
        "positions": [[0, 1, 2, 0, 0, 1, 0, 1]],
        "offsets": [0, 3, 4, 6, 8],
        "targets": [12, 13, 22, 24],
        "predicted from": [11, 12, 21, 23],
        "owners": [0, 0, 2, 3],
        "sequences": [[0], [2, 3]],
        "rows": [[0, 3], [1, 1], [2, 4]],
    }
