"""Texts cut at words give the ids of whole texts."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer

from clean_texts import CLEAN_TEXTS, SCRIPTS
from finetune_trainer.tokenizers import wordwise
from finetune_trainer.tokenizers.wordwise import WordwiseSentencePiece

DATA = Path(str(files("mistral_common") / "data"))
PATHS = sorted(path for path in DATA.iterdir() if ".model." in path.name)
EDGES = (
    "",
    " ",
    "\n",
    "  a  b ",
    "\n\n a",
    "a\n",
    "\u2581a \u2581",
    "a\r\n\tb",
    "\x00",
    "</s>[INST] x",
    "\U0010ffff",
    "é" * 99,
)


def pair(path: Path) -> tuple[WordwiseSentencePiece, SentencePieceTokenizer]:
    return WordwiseSentencePiece(path, TokenizerVersion.v3), SentencePieceTokenizer(path, TokenizerVersion.v3)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.suffix)
def test_every_vocabulary_of_mistral_gives_the_ids_of_the_whole_text(path: Path) -> None:
    words, whole = pair(path)
    for text in (*EDGES, *SCRIPTS.values(), *CLEAN_TEXTS.values(), Path(__file__).read_text()):
        for _ in range(2):  # as it is met, and as it is remembered
            assert words.encode(text, bos=True, eos=True) == whole.encode(text, bos=True, eos=True)


V3 = pair(PATHS[2])


@settings(max_examples=200, deadline=None)
@given(st.text(st.one_of(st.sampled_from(" \n\u2581ab.é"), st.characters(exclude_categories=["Cs"]))))
def test_any_text_gives_the_ids_of_the_whole_text(text: str) -> None:
    words, whole = V3
    assert words.encode(text, bos=False, eos=False) == whole.encode(text, bos=False, eos=False)


def test_remembers_no_more_than_is_bounded() -> None:
    words, whole = pair(PATHS[2])
    text = " ".join(map(str, range(2 * wordwise.MOST_WORDS + 9)))
    assert words.encode(text, bos=False, eos=False) == whole.encode(text, bos=False, eos=False)
    assert 0 < words.remembered <= wordwise.MOST_WORDS


def test_a_vocabulary_with_pieces_across_blanks_is_encoded_whole() -> None:
    words, whole = pair(PATHS[2])
    words.reaching = True
    assert words.encode("two words", bos=False, eos=True) == whole.encode("two words", bos=False, eos=True)
    assert not words.remembered
