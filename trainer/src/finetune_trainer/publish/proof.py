"""Whether plain transformers makes the trained ids with the published tokenizer: on the job's own test rows."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

from finetune_api.spec import Spec
from finetune_trainer.prepare.records import records_path
from finetune_trainer.prepared import Documents, PreparedData, row_place
from finetune_trainer.publish.rendering import Rendering
from finetune_trainer.publish.tokenizer import versioned_name
from finetune_trainer.storage import NotFound, Storage
from finetune_trainer.tasks import PLAIN_TEXTS, documents_of, task_for
from finetune_trainer.tasks.rows import Messages, Room
from finetune_trainer.tokenizers import ChatTokenizer, Encoded, Message
from finetune_trainer.tokenizers.mistral import MistralChatTokenizer
from finetune_trainer.tokenizers.template_input import Turn, template_input

MAX_ROWS: Final = 500
MAX_BYTES: Final = 1 << 20
"""Of the cleaned rows: the other ranks wait, and what differs most often differs at once."""
_MAX_WORDS: Final = 200

log = logging.getLogger(__name__)


def rendering_of(
    storage: Storage, spec: Spec, data_uri: str, data: PreparedData, trained: ChatTokenizer, published: Path
) -> Rendering:
    """Of what `published` holds, in the place of the tokenizer that was trained with.

    Never raises for what it finds: the weights are right whatever becomes of their tokenizer.
    """
    path = records_path(Path(), "test").as_posix()
    size = next((file.size for file in data.manifest.files if file.path == path), 0)
    try:
        content, _ = storage.read(f"{data_uri}/{path}", 0, min(size, MAX_BYTES))
    except NotFound:  # deleted since this start found it
        content = b""
    # Where it was cut, the last line is not whole; behind the last of all there is none.
    lines = content.split(b"\n")[:-1]
    rendering = compare(lines, spec, data.test, data.manifest.sources, trained, published)
    log.log(logging.WARNING if rendering.reason else logging.INFO, "%s", rendering.sentence)
    return rendering


def compare(
    lines: Sequence[bytes],
    spec: Spec,
    test: Documents,
    sources: Sequence[str],
    trained: ChatTokenizer,
    published: Path,
) -> Rendering:
    """`lines` are cleaned rows, in the order of the documents in `test` that were made of them."""
    outcome = Rendering(
        by="the tokenizer" if spec.task.type in PLAIN_TEXTS else "the chat template",
        exact=versioned_name(trained.published) if isinstance(trained, MistralChatTokenizer) else "",
    )
    try:
        tokenizer = AsPublished(trained, published)
    except Exception as error:  # noqa: BLE001 whatever it is, it may not cost the weights
        return outcome.model_copy(update={"reason": _words(error)})
    task, room = task_for(spec.task), Room(spec.training.sequence_length, spec.data.overlong)
    rows = marked = 0
    different: list[tuple[int, str]] = []
    for line, (row, expected) in islice(zip(lines, _rows(test), strict=False), MAX_ROWS):
        rows += 1
        messages: Messages = ()
        try:
            messages = task.parse(json.loads(line))
            made = [document.encoded.ids for document in documents_of(messages, task, tokenizer, room)]
            difference = _difference(made, expected)
        except Exception as error:  # noqa: BLE001 a template is a program of somebody else's
            difference = _words(error)
        if difference is None:
            continue
        if tokenizer.finds_control_token(messages):
            marked += 1
        else:
            different.append((row, difference))
    found: dict[str, object] = {"rows": rows, "marked": marked, "differing": len(different)}
    if different:
        row, reason = different[0]
        found |= {"place": row_place(row, sources), "reason": reason}
    return outcome.model_copy(update=found)


class AsPublished:
    """A ChatTokenizer that marks what the one that was trained with marks, and makes its ids of published files."""

    def __init__(self, trained: ChatTokenizer, folder: Path) -> None:
        """Raises whatever transformers raises when it cannot read them."""
        # Here, for few starts come this far. Not AutoTokenizer: beside mistral-common it reads tekken.json instead.
        from transformers import PreTrainedTokenizerFast

        self.vocab_size, self.eos_id, self.pad_id = trained.vocab_size, trained.eos_id, trained.pad_id
        self._trained = trained
        self._plain: Any = PreTrainedTokenizerFast.from_pretrained(folder)
        special = (token.content for token in self._plain.added_tokens_decoder.values() if token.special)
        self._control_tokens = re.compile("|".join(map(re.escape, special)) or r"(?!)")

    def encode_messages(self, messages: Sequence[Message]) -> tuple[Encoded, ...]:
        return tuple(
            replace(document, ids=self._rendered(messages[: document.last % len(messages) + 1]))
            for document in self._trained.encode_messages(messages)
        )

    def _rendered(self, messages: Sequence[Message]) -> list[int]:
        turns, tools = _given(messages, self._trained)
        ids: list[int] = self._plain.apply_chat_template(turns, tools=tools, return_dict=False)
        # What a template writes behind the EOS of the last answer was never trained.
        behind = ids[::-1].index(self.eos_id) if self.eos_id in ids else 0
        return ids[: len(ids) - behind]

    def prove(self, messages: Sequence[Message], documents: Sequence[Encoded]) -> None:
        self._trained.prove(messages, documents)

    def encode_text(self, text: str) -> Encoded:
        return replace(self._trained.encode_text(text), ids=[*self._plain(text)["input_ids"], self.eos_id])

    def decode(self, ids: Sequence[int]) -> str:
        return self._trained.decode(ids)

    def finds_control_token(self, messages: Messages) -> bool:
        """Whether a text holds that of a control token, which plain libraries take for the token itself."""
        texts = (text for each in messages for text in (each.content, *(call.arguments for call in each.calls)))
        return any(map(self._control_tokens.search, texts))


def _given(messages: Sequence[Message], tokenizer: ChatTokenizer) -> tuple[list[Turn], list[dict[str, Any]] | None]:
    """The conversation as the model card tells people to give it to `apply_chat_template`."""
    if not isinstance(tokenizer, MistralChatTokenizer):
        return template_input(messages)
    turns, tools = template_input(tokenizer.as_given(messages))
    if tokenizer.version.value in ("v2", "v3"):
        turns = [turn | {"content": _value(turn["content"])} if turn["role"] == "tool" else turn for turn in turns]
    return turns, tools


def _value(result: str) -> Any:
    """Of the JSON that a tool gave back; what is none is a text."""
    try:
        return json.loads(result)
    except ValueError:
        return result


def _rows(test: Documents) -> Iterator[tuple[int, list[list[int]]]]:
    """Each row's id, and the ids of its documents."""
    for row, documents in groupby(range(len(test)), key=test.rows.__getitem__):
        yield int(row), [test.ids(document).tolist() for document in documents]


def _difference(made: Sequence[list[int]], trained: Sequence[list[int]]) -> str | None:
    if len(made) != len(trained):
        return f"{len(made)} sequences in place of {len(trained)}"
    for ours, theirs in zip(trained, made, strict=True):
        if ours != theirs:
            pairs = enumerate(zip(ours, theirs, strict=False))
            place = next((at for at, (one, other) in pairs if one != other), min(len(ours), len(theirs)))
            return f"from token {place} of {len(ours)} on"
    return None


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_MAX_WORDS]
