"""Mistral's own tokenizer files as tokenizer.json: the same ids in Hugging Face's library. Pure but for the files.

transformers 5.23 converts both kinds, too, but ranks the merges of SentencePiece by id and not by score, so that runs
of blanks come out otherwise; and the tokenizer.json of published models may split tekken's words by another pattern
(see `fix_mistral_regex` there).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from sentencepiece import SentencePieceProcessor
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

_BLANK = "\u2581"
_Piece = TypeVar("_Piece", str, bytes)


def fast_tokenizer(tokenizer: SentencePieceTokenizer | Tekkenizer, *, rendered: bool) -> Tokenizer:
    """The same vocabulary; a plain text gets BOS in front.

    Args:
        rendered: whether it is given what a chat template renders, which holds the blank that SentencePiece puts before
            a text, or plain texts, before which it is still to be put.
    """
    if isinstance(tokenizer, SentencePieceTokenizer):
        fast = _of_sentencepiece(tokenizer, rendered=rendered)
    else:
        fast = _of_tekken(tokenizer)
    special = sorted(tokenizer.special_ids | {tokenizer.unk_id})
    fast.add_special_tokens([AddedToken(tokenizer.id_to_piece(number), normalized=False) for number in special])
    bos = tokenizer.id_to_piece(tokenizer.bos_id)
    fast.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.bos_id)]
    )
    return fast


def _of_sentencepiece(tokenizer: SentencePieceTokenizer, *, rendered: bool) -> Tokenizer:
    model = SentencePieceProcessor(model_file=str(tokenizer.file_path))
    numbers = range(model.get_piece_size())
    vocabulary = {model.id_to_piece(number): number for number in numbers}
    merged = [
        number
        for number in numbers
        if not (model.is_control(number) or model.is_unknown(number) or model.is_byte(number))
    ]
    # The best score first, as SentencePiece merges: runs of blanks have ids of the first and scores of the last.
    merged.sort(key=model.get_score, reverse=True)
    pieces = {model.id_to_piece(number): number for number in merged}
    merges = [pair for piece in pieces for pair in _splits(piece, pieces)]
    unknown = model.id_to_piece(model.unk_id())
    fast = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    if rendered:
        fast.pre_tokenizer = pre_tokenizers.Metaspace(_BLANK, prepend_scheme="first", split=False)
    else:
        fast.normalizer = normalizers.Sequence([normalizers.Prepend(_BLANK), normalizers.Replace(" ", _BLANK)])
    fast.decoder = decoders.Sequence(
        [decoders.Replace(_BLANK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return fast


def _of_tekken(tokenizer: Tekkenizer) -> Tokenizer:
    content = json.loads(tokenizer.file_path.read_bytes())
    first = tokenizer.num_special_tokens
    tokens = [base64.b64decode(token["token_bytes"]) for token in content["vocab"][: tokenizer.n_words - first]]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    letters = _letters()

    spelt = {token: "".join(map(letters.__getitem__, token)) for token in tokens}
    vocabulary = {tokenizer.id_to_piece(number): number for number in range(first)}
    vocabulary |= {spelt[token]: first + rank for token, rank in ranks.items()}
    merges = [(spelt[left], spelt[right]) for token in tokens for left, right in _splits(token, ranks)]
    fast = Tokenizer(models.BPE(vocabulary, merges, fuse_unk=False, ignore_merges=True))
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(content["config"]["pattern"]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    fast.decoder = decoders.ByteLevel()
    return fast


def _splits(piece: _Piece, ranks: Mapping[_Piece, int]) -> list[tuple[_Piece, _Piece]]:
    """Pairs of pieces that together are this one, those of early pieces first."""
    pairs = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
    known = [(left, right) for left, right in pairs if left in ranks and right in ranks]
    return sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))


def _letters() -> Sequence[str]:
    """A printable character for each byte, as GPT-2 writes them: itself, or the next from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others: Iterator[int] = iter(range(256, 512))
    codes: Iterable[int] = (byte if byte in printable else next(others) for byte in range(256))
    return [chr(code) for code in codes]
