"""README.md of a published model: what it is, how well it does, how to load it, and where it comes from. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import version
from typing import Final

from finetune_api.result import Prepared
from finetune_api.snapshot import Snapshot
from finetune_api.spec import TaskType
from finetune_trainer.history import History
from finetune_trainer.publish.rendering import Rendering
from finetune_trainer.publish.scores import compared, headings, measured_rows
from finetune_trainer.tasks import PLAIN_TEXTS

CARD: Final = "model/README.md"
_TEXTS_SAID: Final = "It was trained on texts as they are, so there is no chat template."
_OF_TOOLS: Final = (
    "Arguments of tools are given to it as objects, and so are results that are JSON where the tokenizer is v2 or v3; "
    "ids of calls have nine letters or digits, and results the order of the calls. mistral-common, and vLLM with "
    "`--tokenizer-mode mistral`, make the trained ids of `{exact}`, and take no text for a control token."
)
_USE_TEXT: Final = 'inputs = tokenizer("a text", return_tensors="pt")\n'
_USE_CHAT: Final = (
    'messages = [{"role": "user", "content": "a question"}]\n'
    "inputs = tokenizer.apply_chat_template(\n"
    '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"\n'
    ")\n"
)
_GENERATE: Final = "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=256)[0]))\n"
_CLASSIFY: Final = (
    "logits = model(**inputs).logits[0].tolist()\n"
    "print({label: logits[number] for number, label in model.config.id2label.items()})\n"
)
LIBRARIES: Final = ("deepspeed", "finetune-trainer", "peft", "torch", "transformers")


def model_card(snapshot: Snapshot, prepared: Prepared, history: History, rendering: Rendering) -> str:
    """Markdown under the front matter that hubs read."""
    spec = snapshot.spec
    is_adapter = spec.method.adapter is not None
    parts = (
        _front_matter(snapshot, is_adapter=is_adapter),
        f"# {snapshot.name}\n",
        (
            f"Fine-tuned from `{spec.model.uri}`: {spec.task.type}, {spec.method.type}, "
            f"{_steps(history, prepared.resolved.global_batch_size)}.\n"
        ),
        "## How well it does\n",
        _how_well(history, spec.task.type, prepared.data.splits.test),
        "## How to load it\n",
        f"```python\n{_loading(spec.task.type, spec.model.uri, is_adapter=is_adapter)}```\n",
        f"{_of_texts(spec.task.type, rendering)}\n",
        "## Where it comes from\n",
        _table(("", ""), _provenance(snapshot, prepared)),
        "## How it was made\n",
        f"```json\n{json.dumps(spec.to_json(), indent=2, ensure_ascii=False)}\n```\n",
    )
    return "\n".join(parts)


def _steps(history: History, rows: int) -> str:
    taken = f"{history.last.step:,} optimizer steps of {rows:,} packed rows"
    if history.best is None:
        return taken
    return f"{taken}; these are the weights after step {history.best.step:,}, which validated best"


def _front_matter(snapshot: Snapshot, *, is_adapter: bool) -> str:
    labels = snapshot.spec.task.type is TaskType.CLASSIFICATION
    lines = (
        "---",
        # JSON strings are YAML strings, whatever the uri holds.
        f"base_model: {json.dumps(snapshot.spec.model.uri)}",
        f"library_name: {'peft' if is_adapter else 'transformers'}",
        f"pipeline_tag: {'text-classification' if labels else 'text-generation'}",
        "tags: [mistral, fine-tuned]",
        "---",
        "",
    )
    return "\n".join(lines)


def _how_well(history: History, task: TaskType, in_split: int) -> str:
    figures = compared(history, task)
    table = _table(("", *headings(history)), figures) + "\n" if figures else ""
    told = f"Of {measured_rows(history, in_split)}." if figures else "Not measured: the test split has no rows."
    unanswered = "" if history.unanswered is None else f" {history.unanswered}."
    answers = ", and answers before and after" if history.samples else ""
    return f"{table}{told}{unanswered} `reports/report.html` beside this folder has the curves{answers}.\n"


def _loading(task: TaskType, base_uri: str, *, is_adapter: bool) -> str:
    labels = task is TaskType.CLASSIFICATION
    architecture = "AutoModelForSequenceClassification" if labels else "AutoModelForCausalLM"
    base = json.dumps(f"{base_uri}, downloaded")
    use = _USE_TEXT if task in PLAIN_TEXTS else _USE_CHAT
    use += _CLASSIFY if labels else _GENERATE
    if not is_adapter:
        return (
            f"from transformers import AutoTokenizer, {architecture}\n\n"
            'tokenizer = AutoTokenizer.from_pretrained("this folder")\n'
            f'model = {architecture}.from_pretrained("this folder")\n'
            f"{use}"
        )
    config = ', config=AutoConfig.from_pretrained("this folder")' if labels else ""
    return (
        "from peft import PeftModel\n"
        f"from transformers import {'AutoConfig, ' if labels else ''}AutoTokenizer, {architecture}\n\n"
        'tokenizer = AutoTokenizer.from_pretrained("this folder")\n'
        f"base = {architecture}.from_pretrained({base}{config})\n"
        'model = PeftModel.from_pretrained(base, "this folder")\n'
        f"{use}"
    )


def _of_texts(task: TaskType, rendering: Rendering) -> str:
    """How they become the ids that were trained."""
    if task in PLAIN_TEXTS:
        return f"{_TEXTS_SAID} {rendering.sentence}"
    return f"{rendering.sentence} {_OF_TOOLS.format(exact=rendering.exact)}" if rendering.exact else rendering.sentence


def _provenance(snapshot: Snapshot, prepared: Prepared) -> list[tuple[str, str]]:
    return [
        ("Run", f"`{prepared.run}`"),
        ("Base model", f"`{prepared.model_digest}`"),
        ("Prepared data", f"`{prepared.data_digest}`, {prepared.data.splits.train:,} rows to train on"),
        ("FineTuneJob", f"`{snapshot.namespace}/{snapshot.name}`, uid `{snapshot.uid}`"),
        *((library, version(library)) for library in LIBRARIES),
    ]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
