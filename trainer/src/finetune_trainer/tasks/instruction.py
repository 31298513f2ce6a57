"""Instruction: conversations, or prompt and answer, trained on the assistant's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finetune_api.spec import InstructionTask
from finetune_trainer.tasks.rows import Document, InvalidRow, Messages, text_field, text_of
from finetune_trainer.tokenizers import ChatTokenizer, Message

_TASK = "spec.task.instruction"
_ROLES = ("system", "user", "assistant")


class Instruction:
    """The row's shape is the one that the spec maps, else the first of `messages`, prompt and completion, Alpaca."""

    def __init__(self, settings: InstructionTask) -> None:
        self._settings = settings

    def parse(self, fields: Mapping[str, object]) -> Messages:
        settings = self._settings
        if settings.messages_field is not None:
            return _conversation(fields, settings.messages_field)
        if settings.prompt_field is not None and settings.completion_field is not None:
            return _pair(fields, settings.prompt_field, settings.completion_field)
        if "messages" in fields:
            return _conversation(fields, "messages")
        if "prompt" in fields and "completion" in fields:
            return _pair(fields, "prompt", "completion")
        if "instruction" in fields and "output" in fields:
            return _alpaca(fields)
        raise InvalidRow("has no known shape (messages; prompt and completion; instruction and output)", absent=_TASK)

    def check(self, messages: Messages) -> None:
        expected = "user"
        for index, (role, content) in enumerate(messages):
            field = f"message {index + 1}"
            if role == "system" and index == 0:
                continue
            if role != expected:
                raise InvalidRow(f"{field} is the {role}'s where the {expected}'s should be", field=field)
            if not content.strip():
                raise InvalidRow("empty answer" if role == "assistant" else "empty prompt", field=field)
            expected = "assistant" if role == "user" else "user"
        if messages[-1].role != "assistant":
            raise InvalidRow("ends without an answer", field=f"message {len(messages)}")

    def encode(self, messages: Messages, tokenizer: ChatTokenizer) -> Sequence[Document]:
        encoded = tokenizer.encode_messages(messages)
        answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
        # Where one document trains all answers, it is shown by its last.
        return [
            Document(document, prompt=messages[answer - 1].content, answer=messages[answer].content)
            for document, answer in zip(encoded, answers[-len(encoded) :], strict=True)
        ]


def _pair(fields: Mapping[str, object], prompt: str, completion: str) -> Messages:
    return (
        Message("user", text_field(fields, prompt, mapped_by=f"{_TASK}.promptField")),
        Message("assistant", text_field(fields, completion, mapped_by=f"{_TASK}.completionField")),
    )


def _alpaca(fields: Mapping[str, object]) -> Messages:
    instruction = text_of(fields["instruction"], "instruction")
    material = text_of(fields.get("input") or "", "input")
    prompt = f"{instruction}\n\n{material}" if material.strip() else instruction
    return (Message("user", prompt), Message("assistant", text_of(fields["output"], "output")))


def _conversation(fields: Mapping[str, object], name: str) -> Messages:
    if name not in fields:
        raise InvalidRow(f"has no field {name!r}", field=name, absent=f"{_TASK}.messagesField")
    turns = fields[name]
    if not isinstance(turns, list) or not turns:
        raise InvalidRow(f"{name} is no list of messages", field=name)
    return tuple(_message(turn, f"{name}[{index}]") for index, turn in enumerate(turns))


def _message(turn: object, place: str) -> Message:
    if not isinstance(turn, dict) or "role" not in turn or "content" not in turn:
        raise InvalidRow(f"{place} has no role and content", field=place)
    role = text_of(turn["role"], f"{place}.role")
    if role not in _ROLES:
        raise InvalidRow(f"{place} has the unknown role {role[:40]!r}", field=f"{place}.role")
    return Message(role, text_of(turn["content"], f"{place}.content"))
