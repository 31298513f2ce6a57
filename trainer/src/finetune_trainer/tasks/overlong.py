"""Conversations that do not fit: documents without their oldest turns, so that each answer is still trained once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from finetune_trainer.tasks.rows import Messages, TooLong
from finetune_trainer.tokenizers import ChatTokenizer, Encoded, Message

_WORD = 64
"""Characters that are given up at most so that a cut text begins with a word."""


def shortened(messages: Messages, tokenizer: ChatTokenizer, limit: int) -> tuple[Encoded, ...]:
    """Documents of at most `limit` tokens; definitions of tools and the system prompt stay in each.

    Whole turns are left out first, oldest first; then the start of a question. Answers, calls and results are never
    cut. Where one document trains several answers, what it repeats of the one before takes at most half of it.
    Raises TooLong.
    """
    head = sum(1 for message in messages[:2] if message.role in ("tools", "system"))
    starts = [index for index, message in enumerate(messages) if message.role == "user"]
    ends = [*starts[1:], len(messages)]
    apart = len(tokenizer.encode_messages(messages)) > 1

    def encode(first: int, trained: int, end: int) -> tuple[Encoded, ...]:
        """Turns `first` to `end`, of which those from `trained` on are learnt."""
        kept = (*messages[:head], *messages[starts[first] : ends[end - 1]])
        documents = tokenizer.encode_messages(kept)
        if len(documents) > 1:
            documents = documents[-(end - trained) :]
        else:
            known = sum(1 for message in messages[starts[first] : starts[trained]] if message.role == "assistant")
            documents = tuple(replace(document, trained=document.trained[known:]) for document in documents)
        return tuple(_in_row(document, len(kept), ends[end - 1]) for document in documents)

    def size(first: int, end: int) -> int:
        return max(len(document.ids) for document in encode(first, end - 1, end))

    found: list[Encoded] = []
    turn = 0
    while turn < len(starts):
        if size(turn, turn + 1) > limit:
            cut = _cut((*messages[:head], *messages[starts[turn] : ends[turn]]), head, tokenizer, limit)
            found.append(replace(cut, last=ends[turn] - 1))
            turn += 1
            continue
        room = limit if apart or turn == 0 else limit // 2
        first = min(turn, bisect_left(range(turn), -room, key=lambda first: -size(first, turn + 1)))
        end = turn + 1
        if not apart:
            end += bisect_left(range(turn + 2, len(starts) + 1), limit + 1, key=lambda end: size(first, end))
        found += encode(first, turn, end)
        turn = end
    return tuple(found)


def _in_row(document: Encoded, kept: int, end: int) -> Encoded:
    """The same with its last answer counted in the whole row, whose messages up to `end` are the last of `kept`."""
    return replace(document, last=document.last % kept + end - kept)


def _cut(messages: Sequence[Message], head: int, tokenizer: ChatTokenizer, limit: int) -> Encoded:
    """One turn, less the start of its question. Raises TooLong."""
    question = messages[head].content

    def encode(characters: int) -> Encoded:
        asked = messages[head]._replace(content=question[characters:])
        (document,) = tokenizer.encode_messages((*messages[:head], asked, *messages[head + 1 :]))
        return document

    most = len(question.rstrip()) - 1
    if len(shortest := encode(most).ids) > limit:
        raise TooLong(f"{len(shortest)} tokens without its question, which alone may be cut", limit)
    cut = bisect_left(range(most), -limit, key=lambda characters: -len(encode(characters).ids))
    blank = next((at for at in range(cut, min(cut + _WORD, most)) if question[at].isspace()), None)
    document = encode(cut if blank is None else blank + 1)
    return document if len(document.ids) <= limit else encode(most)
