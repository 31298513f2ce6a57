"""The section of report.html on time: when the gang was started, how fast it went and what it held. Pure."""

from __future__ import annotations

from finetune_trainer.pages.chart import Curve, chart
from finetune_trainer.telemetry import Start, Telemetry


def timeline_section(telemetry: Telemetry) -> str:
    """Empty before the first start."""
    if not telemetry.starts:
        return ""
    readings = telemetry.readings
    speed = chart(
        [Curve("tokens per second", "train", [(reading.step, reading.tokens_per_second) for reading in readings])],
        label="tokens per second over optimizer steps",
    )
    memory = chart(
        [Curve("GiB", "train", [(reading.step, reading.memory_bytes / 2**30) for reading in readings])],
        label="memory in GiB over optimizer steps",
    )
    return (
        f"<section><h2>Time</h2>{_starts(telemetry)}"
        f"<details><summary>Tokens per second, over all workers</summary>{speed}</details>"
        f"<details><summary>Memory that rank 0 held at most, GiB</summary>{memory}</details></section>"
    )


def _starts(telemetry: Telemetry) -> str:
    head = "".join(f"<th{style}>{name}</th>" for name, style in _COLUMNS)
    lines = "".join(_line(start) for start in telemetry.starts)
    return f"<table><tr>{head}</tr>{lines}</table>"


_COLUMNS = (
    ("Start of the gang", ""),
    ("Attempt", ' class="number"'),
    ("Processes", ' class="number"'),
    ("From step", ' class="number"'),
)


def _line(start: Start) -> str:
    numbers = "".join(f'<td class="number">{number:,}</td>' for number in (start.attempt, start.world_size, start.step))
    return f"<tr><td>{start.time:%Y-%m-%d %H:%M:%S} UTC</td>{numbers}</tr>"
