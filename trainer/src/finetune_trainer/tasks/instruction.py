"""Instruction: conversations, or prompt and answer, trained on the assistant's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finetune_api.spec import InstructionTask
from finetune_trainer.tasks.rows import Document, InvalidRow, Messages, field_of, text_of
from finetune_trainer.tasks.shapes import (
    Shape,
    conversation,
    detect,
    pair,
    refuse_tools,
    with_history,
    with_material,
    with_system,
)
from finetune_trainer.tokenizers import ChatTokenizer

_TASK = "spec.task.instruction"


class Instruction:
    """The row's shape is the one that the spec maps, else the one that its fields tell."""

    def __init__(self, settings: InstructionTask) -> None:
        self._settings = settings

    def shape(self, fields: Mapping[str, object]) -> Shape:
        if self._settings.messages_field is not None:
            return Shape.MESSAGES
        return Shape.PAIR if self._settings.prompt_field is not None else detect(fields)

    def parse(self, fields: Mapping[str, object]) -> Messages:
        shape, name = self.shape(fields), self._settings.system_field
        messages = self._turns(shape, fields)
        if name is not None:
            return with_system(messages, field_of(fields, name, mapped_by=f"{_TASK}.systemField"), name)
        if shape in (Shape.ALPACA, Shape.CONVERSATIONS):
            return with_system(messages, fields.get("system"), "system")
        return messages

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
        refuse_tools(fields, "the row")
        if (name := self._settings.input_field) is not None:
            material = field_of(fields, name, mapped_by=f"{_TASK}.inputField")
            prompt = with_material(text_of(prompt, prompt_name), material, name)
        return pair(prompt, completion, prompt_name, completion_name)

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
