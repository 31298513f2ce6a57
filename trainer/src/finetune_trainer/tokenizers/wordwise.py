"""SentencePiece, word by word: the same ids as for the whole text, several times faster, for words come again."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Final

from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer

_BLANK: Final = "\u2581"
"""What SentencePiece writes for a blank; in a text it takes it for one."""
_WORD = re.compile(" *[^ \n]+| +|\n")
_LONG_WORD: Final = 40
MOST_WORDS: Final = 1 << 16
"""Some 20 MB. Then the dictionary starts anew: the words that come often are soon there again."""


class WordwiseSentencePiece(SentencePieceTokenizer):
    """Pieces are merged from their parts, so where no piece reaches across a boundary, texts can be cut there.

    No piece of Mistral's vocabularies has a blank behind another character, or a line feed. A vocabulary that has is
    encoded whole.
    """

    def __init__(self, path: Path, version: TokenizerVersion) -> None:
        super().__init__(path, version)
        across = re.compile(f"[^{_BLANK}]{_BLANK}|\n")
        self.reaching = any(map(across.search, self.vocab()))
        self._words = _Words(self._model.encode)

    @property
    def remembered(self) -> int:
        """Words whose ids are known, MOST_WORDS at most."""
        return len(self._words)

    def encode(self, s: str, bos: bool, eos: bool) -> list[int]:
        if self.reaching:
            return super().encode(s, bos, eos)
        # A blank is put before a text, as SentencePiece does it; nothing is encoded as nothing.
        words = _WORD.findall(f" {s}".replace(_BLANK, " ")) if s else []
        ids = [self.bos_id] if bos else []
        ids += chain.from_iterable(map(self._words.__getitem__, words))
        if eos:
            ids.append(self.eos_id)
        return ids


class _Words(dict[str, list[int]]):
    """The ids of each word, found out when it is asked for."""

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        super().__init__()
        self._encode = encode
        self._before = len(encode("\n"))

    def __missing__(self, word: str) -> list[int]:
        # Behind a line feed, for only there SentencePiece adds no blank of its own.
        ids = self._encode("\n" + word)[self._before :]
        if len(word) <= _LONG_WORD:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = ids
        return ids
