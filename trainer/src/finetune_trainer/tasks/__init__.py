"""A task says how rows become texts, which of them make sense, and which tokens are to be learnt: one file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from finetune_api import spec
from finetune_trainer.tasks import classification, completion, instruction, preference
from finetune_trainer.tasks.labels import LabelRules
from finetune_trainer.tasks.rows import Document, Messages, Room
from finetune_trainer.tasks.shapes import Shape
from finetune_trainer.tokenizers import ChatTokenizer, NotEncodable


class Task(Protocol):
    """Torch-free. The loss is uniform: a sum over what each document marks, divided by how much that is."""

    @property
    def labels(self) -> LabelRules | None:
        """What is known of labels, where the task's rows have some."""

    def shape(self, fields: Mapping[str, object]) -> Shape:
        """What a raw row looks like, for the report."""

    def parse(self, fields: Mapping[str, object]) -> Messages:
        """Find the texts of a raw row. Raises InvalidRow."""

    def check(self, messages: Messages, fields: Mapping[str, object], /) -> None:
        """What the cleaned texts of the raw row must be like. Raises InvalidRow, or EmptyRow for nothing to learn."""

    def record(self, messages: Messages) -> dict[str, object]:
        """A raw row of which `parse` makes the same messages, for people and for other jobs."""

    def encode(self, messages: Messages, tokenizer: ChatTokenizer) -> Sequence[Document]:
        """Documents that train this row once. Raises NotEncodable."""

    def shorten(
        self, messages: Messages, documents: Sequence[Document], tokenizer: ChatTokenizer, room: Room, /
    ) -> Sequence[Document]:
        """Documents that fit, in place of those that `encode` gave. Raises TooLong or NotEncodable."""


_TASKS: Final[Mapping[spec.TaskType, Callable[[spec.Task], Task]]] = {
    spec.TaskType.INSTRUCTION: lambda task: instruction.Instruction(task.instruction or spec.InstructionTask()),
    spec.TaskType.COMPLETION: lambda task: completion.Completion(task.completion or spec.CompletionTask()),
    spec.TaskType.CLASSIFICATION: lambda task: classification.Classification(
        task.classification or spec.ClassificationTask()
    ),
    spec.TaskType.PREFERENCE: lambda task: preference.Preference(task.preference or spec.PreferenceTask()),
}


PLAIN_TEXTS: Final = frozenset({spec.TaskType.COMPLETION, spec.TaskType.CLASSIFICATION})
"""Tasks whose documents are texts as they are, without the form of a conversation."""


def task_for(task: spec.Task) -> Task:
    """The task that the spec names."""
    return _TASKS[task.type](task)


def documents_of(messages: Messages, task: Task, tokenizer: ChatTokenizer, room: Room) -> tuple[Document, ...]:
    """What a row becomes. Raises NotEncodable or TooLong."""
    documents = tuple(task.encode(messages, tokenizer))
    if not all(start < end for document in documents for start, end in document.encoded.trained):
        raise NotEncodable("the tokenizer makes no tokens of what is to be learnt")
    if max(len(document.encoded.ids) for document in documents) > room.tokens:
        documents = tuple(task.shorten(messages, documents, tokenizer, room))
    return documents
