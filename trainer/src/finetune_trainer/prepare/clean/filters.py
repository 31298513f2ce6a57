"""Rows that are left out for what they are: too short, too long, or in another language."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from py3langid import langid

from finetune_api.spec import Cleaning
from finetune_trainer.tasks.rows import OF_TOOLS, Messages

TOO_SHORT_TO_TELL: Final = 60
"""Letters. Below, no identifier can be trusted, and the row stays."""
_READ_CHARACTERS: Final = 4000
_CERTAIN: Final = 0.9


def refusal(messages: Messages, cleaning: Cleaning) -> str | None:
    """Why the row is left out, naming the field of the spec that says so; None when it stays."""
    spoken = [message.content for message in messages if message.role not in OF_TOOLS]
    characters = sum(map(len, spoken))
    if characters < cleaning.min_characters:
        return f"{characters} characters, spec.data.cleaning.minCharacters is {cleaning.min_characters}"
    if cleaning.max_characters is not None and characters > cleaning.max_characters:
        return f"{characters} characters, spec.data.cleaning.maxCharacters is {cleaning.max_characters}"
    if cleaning.languages:
        language = language_of("\n".join(spoken))
        if language is not None and language not in cleaning.languages:
            return f"in {language!r}, spec.data.cleaning.languages has {', '.join(cleaning.languages)}"
    return None


def language_of(text: str) -> str | None:
    """ISO 639-1, by the first few thousand characters; None when it can't be told with certainty."""
    text = text[:_READ_CHARACTERS]
    if sum(map(str.isalpha, text)) < TOO_SHORT_TO_TELL:
        return None
    language, certainty = _identifier().classify(text)
    return str(language) if certainty >= _CERTAIN else None


@cache
def _identifier() -> Any:
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
