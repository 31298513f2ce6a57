"""Test rows through the published tokenizer and chat template, as plain transformers reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from conversations import conversations
from corpora import conversation, pair
from finetune_api.spec import Overlong, Spec
from finetune_trainer.prepare.encode import encode_row
from finetune_trainer.prepare.records import record_line, records_path
from finetune_trainer.prepare.shards import DocumentList, Part, SplitWriter
from finetune_trainer.prepared import Manifest, PreparedData, open_split, row_id
from finetune_trainer.publish.proof import MAX_BYTES, compare, rendering_of
from finetune_trainer.publish.rendering import Rendering
from finetune_trainer.publish.tokenizer import TEMPLATE, VOCABULARY, write_tokenizer
from finetune_trainer.storage.files import FileStorage
from finetune_trainer.tasks import task_for
from finetune_trainer.tasks.rows import Messages, Room, TooLong
from finetune_trainer.tokenizers import ChatTokenizer, Message, ToolCall, load
from finetune_trainer.verified import files_under
from jobs import make_job
from mistral_files import wheel_file, write_relabelled
from results import PREPARED
from tiny_models import TokenizerKind
from tiny_models import write_tokenizer as write_tiny

SOURCE = "file:///raw/rows.jsonl"
EXACT = {"v1": "tokenizer.model.v1", "v2": "tokenizer.model.v2", "v3": "tokenizer.model.v3", "v13": "tekken.json"}


@dataclass(frozen=True)
class Base:
    """A base model's tokenizer, and what is published of it for conversations."""

    version: str
    folder: Path
    tokenizer: ChatTokenizer
    published: Path

    def publish(self, folder: Path, *, chats: bool) -> Path:
        folder.mkdir()
        write_tokenizer(self.tokenizer, self.folder, folder, chats=chats)
        return folder


@pytest.fixture(scope="module")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Base]:
    """By version; of each there is one."""

    @cache
    def made(version: str) -> Base:
        folder, published = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("published") / "model"
        match version:
            case "Hugging Face":
                write_tiny(folder, TokenizerKind.HUGGING_FACE)
            case "v13":
                write_relabelled(folder, version)
            case _:
                shutil.copy(wheel_file(version), folder / "tokenizer.model")
        base = Base(version, folder, load(folder), published)
        base.publish(published, chats=True)
        return base

    return made


def spec_of(task: str = "Instruction", *, tokens: int = 4096) -> Spec:
    """Rows that are longer are shortened."""
    job = make_job(
        task={"type": task}, training={"sequenceLength": tokens}, data={"overlong": Overlong.TRUNCATE_PROMPT.value}
    )
    return job.spec


def write_test_split(
    rows: Iterable[Messages], spec: Spec, tokenizer: ChatTokenizer, folder: Path, *, note: str = ""
) -> PreparedData:
    """What preparation makes of these rows, all of them for testing; it leaves out those that do not fit at all.

    Their records have a `note` beside what is learnt.
    """
    task, room = task_for(spec.task), Room(spec.training.sequence_length, spec.data.overlong)
    folder.mkdir()
    scratch = folder.parent / "scratch"
    scratch.mkdir()
    listed, records = DocumentList(with_texts=True), []
    for line, messages in enumerate(rows, 1):
        row = row_id(0, line)
        try:
            listed.add(row, encode_row(messages, row=row, task=task, tokenizer=tokenizer, room=room))
        except TooLong:
            continue
        records.append(record_line(SOURCE, line, {**task.record(messages), "note": note}))
    writer = SplitWriter(folder / "test", scratch)
    writer.add(Part(rows=len(records), documents=listed.to_bytes(), records=b"".join(records)))
    splits = {"test": writer.close()}
    manifest = Manifest(
        format=0,
        digest="",
        sources=(SOURCE,),
        summary=PREPARED.data,
        splits=splits,
        places=(),
        rows_too_long=0,
        files=files_under(folder),
    )
    test = open_split(folder, "test")
    return PreparedData(manifest, test, test, test)


def compared(rows: Iterable[Messages], spec: Spec, base: Base, published: Path, home: Path) -> Rendering:
    data = write_test_split(rows, spec, base.tokenizer, home / "data")
    lines = records_path(home / "data", "test").read_bytes().splitlines()
    return compare(lines, spec, data.test, (SOURCE,), base.tokenizer, published)


def parsed(task: str, *rows: dict[str, Any]) -> list[Messages]:
    return [task_for(spec_of(task).task).parse(row) for row in rows]


def with_ids_of_openai(messages: Messages) -> Messages:
    return tuple(
        message._replace(
            calls=tuple(call._replace(id=f"call_{call.id}_abcdef") for call in message.calls),
            call_id=message.call_id and f"call_{message.call_id}_abcdef",
        )
        for message in messages
    )


NUMBERED_ANEW = tuple(
    message
    for tool, result in (("weather", "rain"), ("time", '{"hour": 12}'))
    for message in (
        Message("user", f"The {tool}?"),
        Message("assistant", "", (ToolCall("call_0", tool, '{"city": "Oslo"}'),)),
        Message("tool", result, call_id="call_0"),
        Message("assistant", f"It is {result}."),
    )
)


def rows_for(version: str) -> list[Messages]:
    if version in ("v1", "Hugging Face"):
        return list(conversations(1))
    rows = list(conversations(int(version[1:])))
    return [*rows[::3], *map(with_ids_of_openai, rows[1::3]), NUMBERED_ANEW]


@pytest.mark.parametrize("version", [*EXACT, "Hugging Face"])
def test_every_form_of_conversation_is_rendered_to_the_trained_ids(
    base_of: Callable[[str], Base], version: str, tmp_path: Path
) -> None:
    base, rows = base_of(version), rows_for(version)
    found = compared(rows, spec_of(), base, base.published, tmp_path)
    assert found == Rendering(by="the chat template", rows=len(rows), exact=EXACT.get(base.version, ""))
    assert found.sentence == (
        f"In plain transformers the chat template makes the very ids that were trained of {len(rows)} test rows."
    )


def test_conversations_that_were_shortened_are_compared_as_they_were_trained(
    base_of: Callable[[str], Base], tmp_path: Path
) -> None:
    base, rows = base_of("v3"), rows_for("v3")
    (tmp_path / "whole").mkdir()
    whole = write_test_split(rows, spec_of(), base.tokenizer, tmp_path / "whole" / "data").test
    found = compared(rows, spec_of(tokens=150), base, base.published, tmp_path)
    assert (found.differing, found.marked) == (0, 0)
    assert len(set(whole.rows[whole.lengths > 150])) > 15
    assert found.rows > 15


@pytest.mark.parametrize(
    ("task", "rows"),
    [
        ("Completion", [{"text": "Rain  in Tromsø.\n\n    x = 1 "}, {"text": "one two three " * 40}]),
        ("Classification", [{"text": " Rain in Tromsø", "label": "a"}, {"text": "one two three " * 40, "label": "b"}]),
        ("Preference", [{"prompt": "Rain?", "chosen": "Yes.", "rejected": "No idea"}]),
    ],
)
@pytest.mark.parametrize("version", ["v13", "Hugging Face"])
def test_each_task_is_compared_as_it_is_encoded(
    base_of: Callable[[str], Base], task: str, rows: list[dict[str, Any]], version: str, tmp_path: Path
) -> None:
    base = base_of(version)
    published = base.publish(tmp_path / "model", chats=task == "Preference")
    found = compared(parsed(task, *rows), spec_of(task, tokens=256), base, published, tmp_path)
    assert (found.rows, found.differing) == (len(rows), 0)
    assert found.by == ("the chat template" if task == "Preference" else "the tokenizer")


ASKED = parsed("Instruction", *map(pair, range(3)))


def altered(published: Path, folder: Path, name: str, content: str | None) -> Path:
    shutil.copytree(published, folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    return folder


def test_a_template_that_writes_something_else_is_told_with_the_first_row_and_what_to_do(
    base_of: Callable[[str], Base], tmp_path: Path
) -> None:
    base = base_of("v3")
    template = (base.published / TEMPLATE).read_text().replace("[/INST]", "[/INST] ")
    found = compared(ASKED, spec_of(), base, altered(base.published, tmp_path / "model", TEMPLATE, template), tmp_path)
    assert (found.rows, found.differing, found.place) == (3, 3, f"{SOURCE}:1")
    assert found.sentence.startswith(
        "Warning: in plain transformers the chat template makes other ids than were trained of 3 of 3 test rows, the "
        f"first of them {SOURCE}:1 (from token "
    )
    assert found.sentence.endswith("); encode with mistral-common and `tokenizer.model.v3`.")


@pytest.mark.parametrize(
    ("name", "content", "compared_rows", "told"),
    [
        (TEMPLATE, "{{ raise_exception('no such turn') }}", 3, "no such turn"),
        (TEMPLATE, None, 3, "chat_template"),
        (VOCABULARY, "{}", 0, "does not load"),
    ],
)
def test_files_that_fail_are_told_and_never_raise(
    base_of: Callable[[str], Base], tmp_path: Path, name: str, content: str | None, compared_rows: int, told: str
) -> None:
    base = base_of("v13")
    found = compared(ASKED, spec_of(), base, altered(base.published, tmp_path / "model", name, content), tmp_path)
    assert found.rows == found.differing == compared_rows
    assert told in found.sentence
    assert found.sentence.startswith("Warning: ")


def test_the_text_of_a_control_token_is_no_fault_of_the_template(
    base_of: Callable[[str], Base], tmp_path: Path
) -> None:
    marked = parsed("Instruction", conversation("What does [INST] mean?", "A question begins."))
    base = base_of("v3")
    found = compared([*ASKED, *marked], spec_of(), base, base.published, tmp_path)
    assert (found.rows, found.marked, found.differing) == (4, 1, 0)
    assert "of 4 test rows (1 apart" in found.sentence


def test_as_much_of_the_rows_is_read_as_is_soon_compared(base_of: Callable[[str], Base], tmp_path: Path) -> None:
    base, spec = base_of("Hugging Face"), spec_of()
    data = write_test_split(ASKED, spec, base.tokenizer, tmp_path / "data", note="x" * (MAX_BYTES * 2 // 5))
    storage, uri = FileStorage(), f"file://{tmp_path}/data"
    assert rendering_of(storage, spec, uri, data, base.tokenizer, base.published).rows == 2

    records_path(tmp_path / "data", "test").unlink()
    gone = rendering_of(storage, spec, uri, data, base.tokenizer, base.published)
    assert gone.sentence.startswith("No test row was there to compare")
