"""What goes with a finished model: its card, the report for people, and its figures for programs."""

from __future__ import annotations

import json
from pathlib import Path

from finetune_api.result import Prepared
from finetune_api.snapshot import Snapshot
from finetune_trainer.history import History
from finetune_trainer.publication import METRICS, REPORT, SAMPLES
from finetune_trainer.publish.card import CARD, model_card
from finetune_trainer.publish.page import report_page
from finetune_trainer.publish.rendering import Rendering
from finetune_trainer.publish.tensorboard import write_events
from finetune_trainer.telemetry import Telemetry
from finetune_trainer.verified import files_under


def write_reports(
    folder: Path,
    snapshot: Snapshot,
    prepared: Prepared,
    history: History,
    telemetry: Telemetry,
    rendering: Rendering,
) -> None:
    """Below `folder`, where the model's own files lie already."""
    (folder / CARD).write_text(model_card(snapshot, prepared, history, rendering), "utf-8")
    model_files = files_under(folder)
    (folder / "reports").mkdir()
    samples = [sample.to_json() for sample in history.samples or ()]
    (folder / SAMPLES).write_text(json.dumps(samples, indent=2, ensure_ascii=False), "utf-8")
    (folder / METRICS).write_text(
        json.dumps(
            {
                "metrics": history.metrics.to_json(),
                "rendering": rendering.to_json(),
                "steps": [point.to_json() for point in history.points],
                "validations": [validation.to_json() for validation in history.validations],
                **{
                    name: found.to_json()
                    for name, found in (
                        ("baseTest", history.base_test),
                        ("test", history.test),
                        ("baseAnswers", history.base_answers),
                        ("answers", history.answers),
                        ("baseLabels", history.base_labels),
                        ("labels", history.labels),
                    )
                    if found is not None
                },
                **({} if history.unanswered is None else {"unanswered": history.unanswered}),
            },
            indent=2,
        ),
        "utf-8",
    )
    (folder / REPORT).write_text(report_page(snapshot, prepared, history, telemetry, rendering, model_files), "utf-8")
    write_events(folder, history, telemetry)
