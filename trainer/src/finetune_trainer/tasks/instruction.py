"""Instruction: conversations, or prompt and answer, trained on the assistant's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from finetune_api.spec import InstructionTask, Overlong
from finetune_trainer.tasks.overlong import shortened
from finetune_trainer.tasks.records import tools, turns
from finetune_trainer.tasks.rows import Document, InvalidRow, Messages, Room, field_of, text_of, too_long
from finetune_trainer.tasks.shapes import (
    Shape,
    conversation,
    detect,
    named_turns,
    pair,
    with_history,
    with_material,
    with_system,
)
from finetune_trainer.tasks.tools import definitions, paired
from finetune_trainer.tasks.turns import check_turns
from finetune_trainer.tokenizers import ChatTokenizer, Encoded, Message

_TASK = "spec.task.instruction"


class Instruction:
    """The row's shape is the one that the spec maps, else the one that its fields tell."""

    labels: Final = None

    def __init__(self, settings: InstructionTask) -> None:
        self._settings = settings

    def shape(self, fields: Mapping[str, object]) -> Shape:
        if self._settings.messages_field is not None:
            return Shape.MESSAGES
        return Shape.PAIR if self._settings.prompt_field is not None else detect(fields)

    def parse(self, fields: Mapping[str, object]) -> Messages:
        shape, name = self.shape(fields), self._settings.system_field
        turns = self._turns(shape, fields)
        messages = paired(turns, self._names(fields)[-len(turns) :])
        if name is not None:
            messages = with_system(messages, field_of(fields, name, mapped_by=f"{_TASK}.systemField"), name)
        elif shape in (Shape.ALPACA, Shape.CONVERSATIONS):
            messages = with_system(messages, fields.get("system"), "system")
        return (*self._definitions(fields), *messages)

    def _definitions(self, fields: Mapping[str, object]) -> Messages:
        name = self._settings.tools_field
        if name is None:
            return definitions(fields)
        return definitions({"tools": field_of(fields, name, mapped_by=f"{_TASK}.toolsField")}, written=name)

    def _turns(self, shape: Shape, fields: Mapping[str, object]) -> Messages:
        settings = self._settings
        match shape:
            case Shape.MESSAGES:
                name = settings.messages_field or "messages"
                field_of(fields, name, mapped_by=f"{_TASK}.messagesField")
                return conversation(fields, name)
            case Shape.CONVERSATIONS:
                return conversation(fields, "conversations")
            case Shape.PAIR:
                return self._pair(fields, settings.prompt_field or "prompt", settings.completion_field or "completion")
            case Shape.ALPACA:
                prompt = with_material(text_of(fields["instruction"], "instruction"), fields.get("input"), "input")
                answer = text_of(fields["output"], "output")
                return with_history(pair(prompt, answer, "instruction", "output"), fields.get("history"), "history")
            case Shape.LABELLED | Shape.TEXT:
                raise InvalidRow(f"is {shape}: neither a conversation nor a prompt and its answer", absent=_TASK)
        raise InvalidRow(
            "has no known shape (messages; conversations; prompt and completion; instruction and output)", absent=_TASK
        )

    def _pair(self, fields: Mapping[str, object], prompt_name: str, completion_name: str) -> Messages:
        prompt = field_of(fields, prompt_name, mapped_by=f"{_TASK}.promptField")
        completion = field_of(fields, completion_name, mapped_by=f"{_TASK}.completionField")
        if (name := self._settings.input_field) is not None:
            material = field_of(fields, name, mapped_by=f"{_TASK}.inputField")
            prompt = with_material(text_of(prompt, prompt_name), material, name)
        return pair(prompt, completion, prompt_name, completion_name)

    def check(self, messages: Messages, fields: Mapping[str, object]) -> None:
        check_turns(messages, self._names(fields))

    def _names(self, fields: Mapping[str, object]) -> list[str]:
        """How a row that could be read names its turns, with a system prompt in front that it may have."""
        shape, settings = self.shape(fields), self._settings
        names = [settings.system_field or "system"]
        match shape:
            case Shape.MESSAGES:
                names += named_turns(fields, settings.messages_field or "messages")
            case Shape.CONVERSATIONS:
                names += named_turns(fields, "conversations")
            case Shape.PAIR:
                names += named_turns(fields, settings.prompt_field or "prompt")
                names += named_turns(fields, settings.completion_field or "completion")
            case Shape.ALPACA:
                history = fields.get("history")
                pairs = len(history) if isinstance(history, list) else 0
                names += [f"history[{index}][{side}]" for index in range(pairs) for side in (0, 1)]
                names += ["instruction", "output"]
        return names

    def record(self, messages: Messages) -> dict[str, object]:
        settings, row = self._settings, dict[str, object]()
        if settings.tools_field is not None:
            row[settings.tools_field] = ""
        if messages[0].role == "tools":
            row |= tools(messages[0], settings.tools_field or "tools")
            messages = messages[1:]
        if settings.system_field is not None:
            has_one = messages[0].role == "system" and bool(messages[0].content.strip())
            row[settings.system_field] = messages[0].content if has_one else ""
            messages = messages[has_one:]
        if settings.prompt_field is None or settings.completion_field is None:
            return row | {settings.messages_field or "messages": turns(messages)}
        if settings.input_field is not None:
            row[settings.input_field] = ""  # it is in the prompt
        if [message.role for message in messages] == ["user", "assistant"] and not messages[1].calls:
            return row | {settings.prompt_field: messages[0].content, settings.completion_field: messages[1].content}
        first = next(number for number, message in enumerate(messages) if message.role == "assistant")
        return row | {
            settings.prompt_field: turns(messages[:first]),
            settings.completion_field: turns(messages[first:]),
        }

    def encode(self, messages: Messages, tokenizer: ChatTokenizer) -> Sequence[Document]:
        return [_document(messages, encoded) for encoded in tokenizer.encode_messages(messages)]

    def shorten(
        self, messages: Messages, documents: Sequence[Document], tokenizer: ChatTokenizer, room: Room, /
    ) -> Sequence[Document]:
        if room.overlong is Overlong.REJECT:
            raise too_long(documents, room)
        return [
            replace(_document(messages, encoded), cut=True) for encoded in shortened(messages, tokenizer, room.tokens)
        ]


def _document(messages: Messages, encoded: Encoded) -> Document:
    return Document(encoded, prompt=_shown(messages[encoded.last - 1]), answer=_shown(messages[encoded.last]))


def _shown(message: Message) -> str:
    """What is said and called, for people."""
    calls = [f"{call.name}({call.arguments})" for call in message.calls]
    return "\n".join([message.content, *calls] if message.content else calls)
