"""Parts of texts for people to look at, a few hundred characters each, whatever the size of the texts. Pure."""

from __future__ import annotations

from typing import Final

from finetune_trainer.pages.shown import ELLIPSIS
from finetune_trainer.tasks.rows import Messages

CONTEXT: Final = 60
"""Characters that are kept before and after a change."""
LONGEST: Final = 300
_MOST_MESSAGES: Final = 4


def beginning(text: str, longest: int = LONGEST) -> str:
    """The first characters of the text."""
    return text if len(text) <= longest else text[:longest] + ELLIPSIS


def conversation(messages: Messages) -> str:
    """A row as people read one: who says what, each cut."""
    turns = [f"{message.role}: {beginning(message.content)}" for message in messages[:_MOST_MESSAGES]]
    return "\n".join([*turns, ELLIPSIS] if len(messages) > _MOST_MESSAGES else turns)


def around_change(before: str, after: str) -> tuple[str, str]:
    """The same part of both texts, with what differs and a little of what does not."""
    shared = min(len(before), len(after))
    head = _equal(before, after, shared)
    tail = _equal(before[head:][::-1], after[head:][::-1], shared - head)
    start = max(0, head - CONTEXT)

    def cut(text: str) -> str:
        end = min(len(text) - tail + CONTEXT, start + LONGEST)
        return ELLIPSIS * (start > 0) + text[start:end] + ELLIPSIS * (end < len(text))

    return cut(before), cut(after)


def _equal(one: str, other: str, most: int) -> int:
    """How many characters both begin with; by halves, for texts may be megabytes long."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
