"""Words and their runs as hashes, of many texts at once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_trainer.prepare.words import hashed_words, ngrams

WORDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs"]), min_size=1, max_size=12),
    st.sampled_from(["a", "A", "aa", "x" * 8, "x" * 9, "x" * 511, "x" * 512, "x" * 513, "y" + "x" * 600, "été"]),
)
TEXTS = st.lists(st.lists(WORDS, max_size=12), max_size=6)


def plain(words: list[str]) -> list[bytes]:
    return " ".join(words).lower().encode().split()


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from([" ", "\n", "\t", " \r\n "]))
def test_equal_words_have_equal_hashes_and_others_have_others(texts: list[list[str]], separator: str) -> None:
    hashed = hashed_words([separator.join(words) for words in texts])
    expected = [word for words in texts for word in plain(words)]
    assert hashed.offsets.tolist() == [sum(len(plain(words)) for words in texts[:end]) for end in range(len(texts) + 1)]
    assert len(hashed.values) == len(expected)
    assert len(set(zip(expected, hashed.values.tolist(), strict=True))) == len(set(expected))
    assert len(set(hashed.values.tolist())) == len(set(expected))


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 6))
def test_runs_of_words_are_those_within_one_text(texts: list[list[str]], size: int) -> None:
    found = ngrams(hashed_words([" ".join(words) for words in texts]), size)
    expected = [
        (number, tuple(words[start : start + size]))
        for number, words in enumerate(map(plain, texts))
        for start in range(len(words) - size + 1)
    ]
    assert found.owners.tolist() == [number for number, _ in expected]
    runs = [run for _, run in expected]
    assert len(set(zip(runs, found.values.tolist(), strict=True))) == len(set(runs))
    assert len(set(found.values.tolist())) == len(set(runs))


def test_no_texts_have_no_words() -> None:
    assert hashed_words([]).values.tolist() == ngrams(hashed_words([]), 5).values.tolist() == []
    assert hashed_words(["", " \n"]).offsets.tolist() == [0, 0, 0]
