"""report.html: what went in, what was learnt and what came out, on one page without outside resources. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape

from finetune_api.result import DataSummary, Prepared
from finetune_api.snapshot import Snapshot
from finetune_trainer.history import History
from finetune_trainer.pages.chart import Band, Curve, chart, smoothed
from finetune_trainer.pages.document import amount, document, name_table
from finetune_trainer.publish.labels import label_section
from finetune_trainer.publish.rendering import Rendering
from finetune_trainer.publish.scores import TOKENS_ARE_LEARNT, score_section
from finetune_trainer.publish.timeline import timeline_section
from finetune_trainer.telemetry import Telemetry
from finetune_trainer.verified import ListedFile


def report_page(
    snapshot: Snapshot,
    prepared: Prepared,
    history: History,
    telemetry: Telemetry,
    rendering: Rendering,
    files: Sequence[ListedFile],
) -> str:
    """The whole document. `files` are those of the model. Everything that came from outside is escaped."""
    task, test_rows = snapshot.spec.task.type, prepared.data.splits.test
    parts = (
        _figures(prepared, history, per_token=task in TOKENS_ARE_LEARNT),
        score_section(history, task, test_rows),
        label_section(history, task, test_rows),
        _curves(history),
        timeline_section(snapshot.preparation, telemetry),
        _samples(history),
        _data(prepared.data, snapshot),
        _configuration(snapshot, prepared),
        _provenance(snapshot, prepared, rendering, files),
    )
    title = f"{snapshot.namespace}/{snapshot.name}"
    header = (
        f"<h1>{escape(title)}</h1><p>Fine-tuned from <code>{escape(snapshot.spec.model.uri)}</code>"
        f" · {escape(snapshot.spec.task.type)} · {escape(snapshot.spec.method.type)}</p>"
    )
    return document(title=f"{title}: fine-tuning report", header=header, body="".join(parts))


def _figures(prepared: Prepared, history: History, *, per_token: bool) -> str:
    metrics, summary = history.metrics, prepared.data
    before, after = metrics.base_test_loss, metrics.test_loss
    figures = []
    if history.labels is not None:
        least = "" if history.base_labels is None else f"{history.base_labels.accuracy:.1%} → "
        figures.append((f"{least}{history.labels.accuracy:.1%}", "accuracy, from always the commonest label"))
        figures.append((f"{history.labels.macro_f1:.3f}", "F1 on the test split, the mean over labels"))
    elif before is not None and after is not None:
        change = f"{(after - before) / before:+.0%}".replace("-", "−") if before else "unchanged"
        style = ' class="better"' if after < before else ""
        figures.append(
            (f"{before:.3f} → <em{style}>{after:.3f}</em>", f"test loss, nats{' per token' * per_token} ({change})")
        )
        if per_token:
            figures.append((f"{_perplexity(before)} → {_perplexity(after)}", "perplexity on the test split"))
    elif metrics.validation_loss is not None:
        figures.append((f"{metrics.validation_loss:.3f}", "validation loss, nats"))
    figures.append((f"{history.last.step:,}", f"optimizer steps of {prepared.resolved.global_batch_size:,} rows"))
    figures.append((f"{summary.splits.train:,}", f"training rows, {amount(summary.trained_tokens)} trained tokens"))
    cards = "".join(f'<div class="figure"><b>{number}</b><span>{escape(name)}</span></div>' for number, name in figures)
    return f'<div class="figures">{cards}</div>'


def _curves(history: History) -> str:
    losses = [(point.step, point.loss) for point in history.points]
    validations = [(validation.step, validation.loss) for validation in history.validations]
    best = [] if history.best is None else [(history.best.step, history.best.loss)]
    drawn = chart(
        [
            Curve("training", "raw", losses),
            Curve("training, smoothed", "train", smoothed(losses)),
            Curve("validation", "valid", validations, dots=True),
            Curve("best validation", "best", best, dots=True),
        ],
        label="loss over optimizer steps",
        bands=[
            Band(f"steps {skipped.first} to {skipped.last} left out: {skipped.reason}", skipped.first, skipped.last)
            for skipped in history.skipped
        ],
    )
    named = [("train", "training (of each global batch, and smoothed)"), ("valid", "validation")]
    if best:
        named.append(("good", "the best validation, whose weights are published"))
    if history.skipped:
        named.append(("gone", "steps that were left out"))
    key = "".join(f'<span><i style="background:var(--{color})"></i>{name}</span>' for color, name in named)
    rates = chart(
        [Curve("learning rate", "train", [(point.step, point.learning_rate) for point in history.points])],
        label="learning rate over optimizer steps",
    )
    norms = chart(
        [Curve("gradient norm", "train", [(point.step, point.gradient_norm) for point in history.points])],
        label="gradient norm over optimizer steps",
    )
    return (
        f'<section><h2>Loss</h2><p class="key">{key}</p>{drawn}'
        f"<details><summary>Learning rate</summary>{rates}</details>"
        f"<details><summary>Gradient norm, before clipping</summary>{norms}</details></section>"
    )


def _samples(history: History) -> str:
    parts = [] if history.unanswered is None else [f"<p>{escape(history.unanswered)}.</p>"]
    parts += [
        f'<div class="sample"><h3>Prompt</h3><pre>{escape(sample.prompt)}</pre><div class="answers">'
        f"<div><h3>Base model</h3><pre>{escape(sample.before)}</pre></div>"
        f'<div class="after"><h3>Fine-tuned</h3><pre>{escape(sample.after or "")}</pre></div>'
        f"<div><h3>Expected</h3><pre>{escape(sample.expected)}</pre></div></div></div>"
        for sample in history.samples or ()
    ]
    return f"<section><h2>Answers to test rows</h2>{''.join(parts)}</section>" if parts else ""


def _data(summary: DataSummary, snapshot: Snapshot) -> str:
    splits = {"train": summary.splits.train, "validation": summary.splits.validation, "test": summary.splits.test}
    bar = "".join(f'<i style="flex:{rows}" title="{name}: {rows:,} rows"></i>' for name, rows in splits.items() if rows)
    rows = [
        ("Rows read", f"{summary.rows_read:,} from {summary.files:,} file{'s' * (summary.files != 1)}"),
        ("Rejected (unparseable or invalid)", f"{summary.rows_rejected:,}"),
        ("Removed (duplicate or empty)", f"{summary.rows_removed:,}"),
        ("Repaired by cleaning", f"{summary.rows_cleaned:,}"),
        *((f"In {name}", f"{rows:,}") for name, rows in splits.items()),
        ("Tokens of the train split", f"{summary.train_tokens:,}, {summary.trained_tokens:,} of them trained"),
    ]
    sources = ", ".join(f"<code>{escape(source.uri)}</code>" for source in snapshot.spec.data.sources)
    return f'<section><h2>Data</h2><p>{sources}</p><div class="split">{bar}</div>{name_table(rows)}</section>'


def _configuration(snapshot: Snapshot, prepared: Prepared) -> str:
    chosen = prepared.resolved.to_json()
    rows = [(name, json.dumps(value) if isinstance(value, list) else str(value)) for name, value in chosen.items()]
    spec = json.dumps(snapshot.spec.to_json(), indent=2, ensure_ascii=False)
    return (
        f"<section><h2>Configuration</h2>{name_table(rows)}"
        f"<details><summary>The whole spec</summary><pre>{escape(spec)}</pre></details></section>"
    )


def _provenance(snapshot: Snapshot, prepared: Prepared, rendering: Rendering, files: Sequence[ListedFile]) -> str:
    rows = [
        ("Run", prepared.run),
        ("Base model", prepared.model_digest),
        ("Prepared data", prepared.data_digest),
        ("FineTuneJob uid", f"{snapshot.uid}, attempt {snapshot.attempt}"),
    ]
    listed = "".join(
        f'<tr><td><code>{escape(file.path)}</code></td><td class="number">{file.size:,}</td>'
        f"<td><code>{file.sha256}</code></td></tr>"
        for file in files
    )
    style = ' class="warning"' if rendering.reason else ""
    return (
        f"<section><h2>Provenance</h2><p{style}>{escape(rendering.sentence)}</p>"
        f'{name_table(rows, code=True)}<details><summary>Files and their checksums</summary><div class="scroll">'
        f'<table><tr><th>File</th><th class="number">Bytes</th><th>SHA-256</th></tr>{listed}</table>'
        "</div></details></section>"
    )


def _perplexity(loss: float) -> str:
    return f"{math.exp(loss):,.1f}" if loss < 20 else "> 10⁸"
