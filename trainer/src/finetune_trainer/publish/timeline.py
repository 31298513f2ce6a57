"""The section of report.html on time: preparation, starts of the gang and how divided, speed and memory. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from finetune_api.progress import Activity
from finetune_api.snapshot import Period
from finetune_trainer.pages.chart import Curve, chart
from finetune_trainer.telemetry import Moment, Start, Telemetry


def timeline_section(preparation: Period | None, telemetry: Telemetry) -> str:
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
        f"<section><h2>Time</h2>{_prepared(preparation)}{_starts(telemetry)}{_stages(telemetry)}"
        f"<details><summary>Tokens per second, over all workers</summary>{speed}</details>"
        f"<details><summary>Memory that rank 0 held at most, GiB</summary>{memory}</details></section>"
    )


def _prepared(preparation: Period | None) -> str:
    if preparation is None:
        return ""
    took = timedelta(seconds=round((preparation.finish_time - preparation.start_time).total_seconds()))
    return f"<p>Data and model were prepared from {_time(preparation.start_time)} on, in {took}.</p>"


def _starts(telemetry: Telemetry) -> str:
    head = "".join(f'<th class="number">{name}</th>' for name in _COLUMNS)
    lines = "".join(_line(start) for start in telemetry.starts)
    lost = _lost([start.attempt for start in telemetry.starts])
    note = f"<p>{_LOST.format(', '.join(map(str, lost)))}</p>" if lost else ""
    return f'<div class="scroll"><table><tr><th>Start of the gang</th>{head}</tr>{lines}</table></div>{note}'


_COLUMNS: Final = ("Attempt", "From step", "Processes", "ZeRO", "Rows at once", "Forward passes", "Recomputed")
_LOST: Final = "Attempts that ended before they had saved anything, and of which nothing is known here: {}."


def _line(start: Start) -> str:
    figures = (
        f"{start.attempt:,}",
        f"{start.step:,}",
        f"{start.world_size:,}",
        f"{start.zero_stage}",
        f"{start.micro_batch_size:,}",
        f"{start.micro_steps:,}",
        start.activation_checkpointing.lower(),
    )
    cells = "".join(f'<td class="number">{figure}</td>' for figure in figures)
    return f"<tr><td>{_time(start.time)}</td>{cells}</tr>"


def _lost(attempts: Sequence[int]) -> list[int]:
    """Numbers that are left out. An object of the same name that was applied anew counts from 1 again."""
    return [lost for before, after in pairwise((0, *attempts)) for lost in range(before + 1, after)]


def _stages(telemetry: Telemetry) -> str:
    """A bar for each process of rank 0: what it took up, one after the other."""
    bars = "".join(_bar(telemetry, moments, until) for moments, until in _processes(telemetry.moments))
    return f"<details open><summary>What each start was busy with</summary>{bars}</details>" if bars else ""


def _processes(moments: Sequence[Moment]) -> Iterator[tuple[Sequence[Moment], datetime | None]]:
    """Moments of each, and when the next one started."""
    starts = [at for at, moment in enumerate(moments) if moment.activity is Activity.STARTING]
    for first, behind in pairwise([*starts, len(moments)]):
        yield moments[first:behind], moments[behind].time if behind < len(moments) else None


def _bar(telemetry: Telemetry, moments: Sequence[Moment], until: datetime | None) -> str:
    last = moments[-1].time
    # Of a process that ended in the middle of something: as long as its last checkpoint knows of it.
    seen = [reading.time for reading in telemetry.readings if until is None or reading.time < until]
    ends = [*(moment.time for moment in moments[1:]), max([last, *seen[-1:]])]
    spans = [(moment.activity, (end - moment.time).total_seconds()) for moment, end in zip(moments, ends, strict=True)]
    told = ", ".join(
        f"{each.lower()} {timedelta(seconds=round(seconds)) if seconds else ''}".strip() for each, seconds in spans
    )
    parts = "".join(f'<i style="flex:{seconds:.1f};background:var(--{_COLORS[each]})"></i>' for each, seconds in spans)
    begun = f"Attempt {moments[0].attempt:,}, {_time(moments[0].time)}"
    return f'<p class="key">{begun}: {told}</p><div class="split">{parts}</div>'


_COLORS: Final = {
    Activity.STARTING: "dim",
    Activity.EVALUATING: "valid",
    Activity.TRAINING: "train",
    Activity.PUBLISHING: "good",
}


def _time(time: datetime) -> str:
    return f"<time>{time:%Y-%m-%d %H:%M:%S} UTC</time>"
