"""A Progress as Prometheus reads it: gauges of one pod, without labels. Pure.

The format is short, and its own library costs the first process of every pod 0.2 s, which the ranks wait for
(prometheus.io/docs/instrumenting/exposition_formats).
"""

from __future__ import annotations

from typing import Final

from finetune_api.progress import Progress

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_GAUGES: Final = {
    "attempt": "Number of the attempt, from 1: how often the stage was started",
    "rows_read": "Rows that preparation has read",
    "step": "Optimizer steps done, those of earlier attempts included",
    "total_steps": "Optimizer steps of the run",
    "epoch": "Passes over the data done",
    "loss": "Of the last step, in nats per trained token, or per row learnt as a whole",
    "validation_loss": "The latest",
    "learning_rate": "Of the last step",
    "gradient_norm": "Of the last step, before clipping",
    "tokens_per_second": "Tokens without padding, over all workers",
    "mfu": "Share of the GPUs' peak that the work itself takes",
    "memory_bytes": "Most that rank 0 has held, on its GPU or of the machine's memory",
    "slowest_rank": "Whose forward passes of the last step took longest",
    "seconds_left": "Until the last step",
    "checkpoint_step": "Step of the last committed checkpoint",
}


def written(progress: Progress) -> bytes:
    """In the text format; what is not known yet is left out."""
    values = {name: getattr(progress, name) for name in _GAUGES}
    helps = dict(_GAUGES)
    if progress.checkpoint_time is not None:
        # A time and not an age: who reads it knows how late it is by then.
        values["checkpoint_timestamp_seconds"] = progress.checkpoint_time.timestamp()
        helps["checkpoint_timestamp_seconds"] = "When the last committed checkpoint was heard of first"
    return "".join(
        f"# HELP finetune_{name} {helps[name]}.\n# TYPE finetune_{name} gauge\nfinetune_{name} {value!r}\n"
        for name, value in values.items()
        if value is not None
    ).encode()
