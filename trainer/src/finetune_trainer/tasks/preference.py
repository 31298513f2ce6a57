"""Preference: a prompt with an answer that was chosen and one that was rejected, as two linked sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from finetune_api.spec import PreferenceTask
from finetune_trainer.tasks.records import turns
from finetune_trainer.tasks.rows import Document, EmptyRow, InvalidRow, Messages, Room, field_of, too_long
from finetune_trainer.tasks.shapes import Shape, conversation, detect, named_turns, pair
from finetune_trainer.tasks.turns import check_turns
from finetune_trainer.tokenizers import ChatTokenizer, Encoded

_TASK: Final = "spec.task.preference"
_REJECTED: Final = "rejected"
"""Role of the last message; the one before it is the answer that was chosen."""


class Preference:
    """Rows as TRL has them: a prompt and two answers, texts or messages; or two conversations that end otherwise."""

    labels: Final = None

    def __init__(self, settings: PreferenceTask) -> None:
        self._settings = settings

    def shape(self, fields: Mapping[str, object]) -> Shape:
        named = (self._settings.chosen_field, self._settings.rejected_field)
        return Shape.PREFERENCE if all(name in fields for name in named) else detect(fields)

    def parse(self, fields: Mapping[str, object]) -> Messages:
        *prompt, chosen = self._conversation(fields, self._settings.chosen_field, "chosenField")
        *other, rejected = self._conversation(fields, self._settings.rejected_field, "rejectedField")
        if prompt != other:
            name = self._settings.rejected_field
            raise InvalidRow(f"{name} is no other answer to the same prompt: only the last may differ", field=name)
        return (*prompt, chosen, rejected._replace(role=_REJECTED) if rejected.role == "assistant" else rejected)

    def _conversation(self, fields: Mapping[str, object], name: str, mapped_by: str) -> Messages:
        """The prompt with the answer, or answers, of this field."""
        answer = field_of(fields, name, mapped_by=f"{_TASK}.{mapped_by}")
        prompt_name = self._prompt_field(fields)
        if prompt_name is not None:
            prompt = field_of(fields, prompt_name, mapped_by=f"{_TASK}.promptField")
            return pair(prompt, answer, prompt_name, name)
        if not isinstance(answer, list):
            raise InvalidRow(f"has no prompt beside {name}", absent=f"{_TASK}.promptField")
        return conversation(fields, name)

    def _prompt_field(self, fields: Mapping[str, object]) -> str | None:
        return self._settings.prompt_field or ("prompt" if fields.get("prompt") is not None else None)

    def check(self, messages: Messages, fields: Mapping[str, object]) -> None:
        *prompt, chosen, rejected = messages
        before = [] if (name := self._prompt_field(fields)) is None else named_turns(fields, name)
        for answer, field in ((chosen, self._settings.chosen_field), (rejected, self._settings.rejected_field)):
            role = "assistant" if answer.role == _REJECTED else answer.role
            check_turns((*prompt, answer._replace(role=role)), [*before, *named_turns(fields, field)])
        if (chosen.content, chosen.calls) == (rejected.content, rejected.calls):
            raise EmptyRow("chosen and rejected are the same")

    def record(self, messages: Messages) -> dict[str, object]:
        *prompt, chosen, rejected = messages
        names = (self._settings.prompt_field or "prompt", self._settings.chosen_field, self._settings.rejected_field)
        if [message.role for message in prompt] == ["user"] and not (chosen.calls or rejected.calls):
            return dict(zip(names, (prompt[0].content, chosen.content, rejected.content), strict=True))
        if any(message.role == "assistant" for message in prompt):  # which a prompt of its own may not hold
            names = ("", *names[1:])
        both = ([chosen], [rejected._replace(role="assistant")])
        lists = [turns(tuple(prompt)), *(turns((*([] if names[0] else prompt), *answer)) for answer in both)]
        return {name: found for name, found in zip(names, lists, strict=True) if name}

    def encode(self, messages: Messages, tokenizer: ChatTokenizer) -> Sequence[Document]:
        *prompt, chosen, rejected = messages
        first, second = (
            tokenizer.encode_messages((*prompt, answer))[-1] for answer in (chosen, rejected._replace(role="assistant"))
        )
        end = len(first.ids)
        start, stop = second.trained[-1]
        linked = Encoded(
            [*first.ids, *second.ids], (first.trained[-1], (start + end, stop + end)), first.last, breaks=(end,)
        )
        return (Document(linked, prompt=prompt[-1].content, answer=chosen.content, items=1),)

    def shorten(
        self, _messages: Messages, documents: Sequence[Document], _tokenizer: ChatTokenizer, room: Room, /
    ) -> Sequence[Document]:
        """Never: two answers are compared on the whole of their prompt. Raises TooLong."""
        raise too_long(documents, room)
