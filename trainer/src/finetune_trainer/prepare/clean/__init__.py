"""Cleaning of rows. A repair has a detector and changes only what it found; what is clean comes out byte for byte."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from importlib.metadata import version
from typing import Final

from finetune_api.spec import Cleaning
from finetune_trainer.prepare.clean import filters
from finetune_trainer.prepare.clean.characters import (
    mend_byte_order_marks,
    mend_controls,
    mend_empty,
    mend_invisible,
    mend_line_endings,
)
from finetune_trainer.prepare.clean.context import RowContext
from finetune_trainer.prepare.clean.encoding import mend_mojibake
from finetune_trainer.prepare.clean.markup import mend_entities, mend_html, rewrite_tags
from finetune_trainer.prepare.clean.personal import mask_json, masks
from finetune_trainer.prepare.clean.spacing import mend_runaway, mend_trailing, rewrite_whitespace
from finetune_trainer.prepare.clean.step import Mend, Step
from finetune_trainer.tasks.rows import OF_TOOLS, Messages
from finetune_trainer.tokenizers import Message

LIBRARIES: Final = {name: version(name) for name in ("ftfy", "phonenumbers", "py3langid", "python-stdnum")}
"""Versions of what shapes the bytes that come out."""


class Cleaner:
    """The steps that a spec switches on."""

    def __init__(self, cleaning: Cleaning) -> None:
        self._cleaning = cleaning
        self._mends = _switched_on(cleaning)
        self._mask = _masked(masks(frozenset(cleaning.personal_data)))

    def messages(self, messages: Messages) -> tuple[Messages, Step]:
        """The cleaned row and the steps that changed it; the very same object when none did. Pure and idempotent.

        What tools are given and give back stays as it is, for it will come like this again and is often JSON: only
        personal data is masked in it.
        """
        done = Step.NONE
        while True:  # one repair can lay bare what another is for: a mark behind blank lines
            texts = [message.content for message in messages]
            context = RowContext(texts)
            changed = Step.NONE
            for index, text in enumerate(texts):
                if messages[index].role in OF_TOOLS:
                    continue
                for step, mend in self._mends:
                    mended = mend(text, context)
                    if mended is not text and mended != text:
                        text, changed = mended, changed | step
                texts[index] = text
            if not changed:
                break
            done |= changed
            messages = tuple(message._replace(content=text) for message, text in zip(messages, texts, strict=True))
        if self._cleaning.personal_data and any(message.calls or message.role in OF_TOOLS for message in messages):
            masked = tuple(self._without_personal_data(message) for message in messages)
            if masked != messages:
                messages, done = masked, done | Step.PERSONAL_DATA
        at = 1 if messages[0].role == "tools" else 0
        if self._cleaning.empty_texts and len(messages) > at + 1 and messages[at] == Message("system", ""):
            return (*messages[:at], *messages[at + 1 :]), done | Step.EMPTY_TEXTS
        return messages, done

    def _without_personal_data(self, message: Message) -> Message:
        calls = tuple(call._replace(arguments=mask_json(call.arguments, self._mask)) for call in message.calls)
        content = mask_json(message.content, self._mask) if message.role in OF_TOOLS else message.content
        return message._replace(content=content, calls=calls)

    def text(self, text: str) -> tuple[str, Step]:
        """The same for a text that is a row of its own."""
        (message,), done = self.messages((Message("text", text),))
        return message.content, done

    def refusal(self, messages: Messages) -> str | None:
        """Why a cleaned row is left out, in words that name the field of the spec; None when it stays."""
        return filters.refusal(messages, self._cleaning)


def _switched_on(cleaning: Cleaning) -> tuple[tuple[Step, Mend], ...]:
    mask = _masked(masks(frozenset(cleaning.personal_data)))
    mends: dict[Step, Mend] = {
        Step.EMPTY_TEXTS: mend_empty,
        Step.MOJIBAKE: mend_mojibake,
        Step.CONTROL_CHARACTERS: mend_controls,
        Step.LINE_ENDINGS: mend_line_endings,
        Step.BYTE_ORDER_MARKS: mend_byte_order_marks,
        Step.HTML: mend_html,
        Step.HTML_ENTITIES: mend_entities,
        Step.INVISIBLE_CHARACTERS: mend_invisible,
        Step.RUNAWAY_SPACES: mend_runaway,
        Step.TRAILING_BLANKS: mend_trailing,
        Step.UNICODE_COMPOSITION: lambda text, _: unicodedata.normalize("NFC", text),
        Step.TAGS: rewrite_tags,
        Step.BOILERPLATE_LINES: _without_lines(frozenset(map(str.strip, cleaning.boilerplate_lines))),
        Step.WHITESPACE: rewrite_whitespace,
        Step.PERSONAL_DATA: lambda text, _: mask(text),
    }
    return tuple((step, mend) for step, mend in mends.items() if getattr(cleaning, field_of(step)))


def field_of(step: Step) -> str:
    """Its name in `spec.data.cleaning`."""
    return str(step.name).lower()


def _without_lines(unwanted: frozenset[str]) -> Mend:
    def mend(text: str, _row: RowContext) -> str:
        lines = text.split("\n")
        kept = [line for line in lines if line.strip() not in unwanted]
        return text if len(kept) == len(lines) else "\n".join(kept)

    return mend


def _masked(kinds: tuple[Callable[[str], str], ...]) -> Callable[[str], str]:
    def mask(text: str) -> str:
        for mask_kind in kinds:
            text = mask_kind(text)
        return text

    return mask
