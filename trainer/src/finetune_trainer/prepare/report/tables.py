"""The sections of the report that are tables: what was left out, splits, lengths, labels, files. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from finetune_trainer.pages.bars import Part, bar, histogram
from finetune_trainer.pages.shown import shown
from finetune_trainer.prepare.excerpt import beginning
from finetune_trainer.prepare.ledger import REJECTED_FILE, REMOVED_FILE, Rejection, Removal
from finetune_trainer.prepare.report.model import Figures, LeftOut
from finetune_trainer.prepare.report.verdict import percent, rows_of

MOST_ROWS = 30
"""Of a table; the rest is in report.json or counted."""

_MEANING: Final[Mapping[str, str]] = {
    Rejection.UNREADABLE: "No row can be made of what stands there.",
    Rejection.INVALID: "The task can make nothing of it.",
    Rejection.TOO_LONG: "It does not fit spec.training.sequenceLength.",
    Removal.EMPTY: "There is nothing to learn in it.",
    Removal.DUPLICATE: "Its texts are those of an earlier row.",
    Removal.NEAR_DUPLICATE: "Its words are nearly those of an earlier row.",
    Removal.CONTAMINATED: "Train quotes it, or it quotes a benchmark.",
    Removal.CONFLICTING: "Its text has other labels in as many other rows, or in more.",
    Removal.FILTERED: "spec.data.cleaning leaves it out.",
}


def rejected(figures: Figures) -> str:
    """By reason, with places."""
    summary = figures.summary
    found = [reason for reason in figures.reasons if reason.kind in set(Rejection)]
    if not found:
        return "<p>None.</p>"
    share = percent(summary.rows_rejected, summary.rows_read)
    return (
        f"<p>{rows_of(summary.rows_rejected)} ({share}) are wrong: unreadable, invalid or too long. They count towards "
        f"spec.data.maxBadRowPercent; each is in <code>{REJECTED_FILE}</code> with its reason.</p>{_reasons(found)}"
    )


def removed(figures: Figures) -> str:
    """By kind, with places."""
    found = [reason for reason in figures.reasons if reason.kind in set(Removal)]
    if not found:
        return "<p>None.</p>"
    return (
        f"<p>{rows_of(figures.summary.rows_removed)} are good, but not needed. They never fail a job; each is in "
        f"<code>{REMOVED_FILE}</code>.</p>{_reasons(found)}"
    )


def _reasons(found: Sequence[LeftOut]) -> str:
    rows = [
        (
            f"<b>{shown(_words(one.kind))}</b><br>{shown(one.reason or _MEANING.get(one.kind, ''))}",
            f"{one.rows:,}",
            "<br>".join(_place(place, kept) for place, kept in _with_kept(one)),
        )
        for one in found[:MOST_ROWS]
    ]
    more = sum(one.rows for one in found[MOST_ROWS:])
    note = f"<p>… and {rows_of(more)} for other reasons.</p>" if more else ""
    return _table(("Reason", "Rows", "First places"), rows, numbers={1}) + note


def _with_kept(one: LeftOut) -> Iterable[tuple[str, str]]:
    kept = one.kept or ("",) * len(one.places)
    return zip(one.places, kept, strict=True)


def _place(place: str, kept: str) -> str:
    instead = f" <span>kept: <code>{shown(short(kept))}</code></span>" if kept else ""
    return f"<code>{shown(short(place))}</code>{instead}"


def short(place: str) -> str:
    """The file's name and the line; the whole uri is in the lists."""
    return place.rpartition("/")[2] or place


def _words(kind: str) -> str:
    """`NearDuplicate` → `Near duplicate`."""
    return "".join(f" {letter.lower()}" if at and letter.isupper() else letter for at, letter in enumerate(kind))


def splits(figures: Figures) -> str:
    """Rows, shares and tokens of each, and what was kept together."""
    counts = figures.summary.splits.to_json()
    total = sum(counts.values())
    rows = [
        (
            name,
            f"{counts[name]:,}",
            percent(counts[name], total),
            f"{figures.percents[name]} %" if name in figures.percents else "given",
            f"{figures.splits[name].documents:,}",
            f"{figures.splits[name].tokens:,}",
            f"{figures.splits[name].trained:,}",
        )
        for name in counts
    ]
    findings = figures.findings
    groups = f"{findings.groups:,} group{'s' * (findings.groups != 1)}"
    told = [f"{rows_of(total)} are {groups}: what is alike stays in one split."]
    if findings.largest_group > 1:
        told.append(f"The largest group has {rows_of(findings.largest_group)}.")
    if findings.moved is not None:
        told.append(f"{rows_of(findings.moved)} moved to another split than in spec.data.split.previousUri.")
    warnings = "".join(f'<p class="warning">{shown(beginning(warning))}</p>' for warning in findings.warnings)
    table = _table(
        ("Split", "Rows", "Share", "Asked for", "Documents", "Tokens", "Learnt"), rows, numbers={1, 2, 3, 4, 5, 6}
    )
    return f"{table}<p>{' '.join(told)}</p>{warnings}"


def lengths(figures: Figures) -> str:
    """Of train as a drawing, of all splits as figures."""
    if not figures.lengths:
        return ""
    rows = [
        (name, *(f"{value:,}" for value in (one.median, one.percentile_90, one.percentile_99, one.longest)))
        for name, one in figures.lengths.items()
    ]
    first, one = next(iter(figures.lengths.items()))
    drawn = histogram(
        one.edges,
        one.counts,
        label=f"documents of {first} by tokens: half have {one.median:,} or fewer, the longest {one.longest:,}",
        marks=[("median", one.median)],
    )
    too_long = figures.rejected.get(Rejection.TOO_LONG, 0)
    told = f"spec.training.sequenceLength is {figures.sequence_length:,} tokens: "
    told += f"{rows_of(too_long)} longer, and rejected" if too_long else "nothing was rejected for its length"
    told += (
        f"; of {rows_of(figures.summary.rows_truncated)} the beginning was cut."
        if figures.summary.rows_truncated
        else "."
    )
    table = _table(("Split", "Median", "90 %", "99 %", "Longest"), rows, numbers={1, 2, 3, 4})
    return f'<p class="key">Documents of {first} by their tokens</p>{drawn}{table}<p>{told}</p>'


def labels(figures: Figures) -> str:
    """How often each occurs, and which look misspelt."""
    if not figures.labels:
        return ""
    found = figures.findings.labels
    most = max(row.train + row.validation + row.test for row in figures.labels)
    rows = []
    for row in figures.labels[:MOST_ROWS]:
        parts = [
            Part("train", row.train, "train"),
            Part("valid", row.validation, "validation"),
            Part("good", row.test, "test"),
        ]
        total = row.train + row.validation + row.test
        drawn = bar(parts, most, label=f"{total:,} rows", height=10)
        rows.append((f"{_name(row.label)}{drawn}", f"{row.train:,}", f"{row.validation:,}", f"{row.test:,}"))
    more = len(figures.labels) - MOST_ROWS
    note = f"<p>… and {more:,} more labels, in report.json.</p>" if more > 0 else ""
    slips = [(_name(slip.label), f"{slip.rows:,}", _name(slip.instead)) for slip in found.slips] if found else []
    respelt = [(_spellings(one.spellings), _name(one.label)) for one in found.respelt] if found else []
    more_tables = (
        (
            "Perhaps slips: nothing was changed",
            _table(("Written", "Rows", "Meant?"), slips[:MOST_ROWS], numbers={1}),
            slips,
        ),
        ("Spelt alike", _table(("Written", "Now"), respelt[:MOST_ROWS]), respelt),
    )
    others = "".join(f"<h3>{heading}</h3>{table}" for heading, table, rows in more_tables if rows)
    return _table(("Label", "Train", "Validation", "Test"), rows, numbers={1, 2, 3}) + note + others


def _name(label: str) -> str:
    return f"<bdi>{shown(beginning(label))}</bdi>"


def _spellings(spellings: Mapping[str, int]) -> str:
    return "<br>".join(f"{_name(spelling)}: {rows:,}" for spelling, rows in list(spellings.items())[:MOST_ROWS])


def files(figures: Figures) -> str:
    """Where the rows came from, what they look like and how they are written."""
    shapes = [(shown(name), f"{rows:,}") for name, rows in _by_count(figures.shapes)]
    encodings = [(shown(name), f"{count:,}") for name, count in _by_count(figures.encodings)]
    named = "".join(f"<li><code>{shown(uri)}</code></li>" for uri in figures.sources)
    more = figures.summary.files - len(figures.sources)
    rest = f"<li>and {more:,} more</li>" if more > 0 else ""
    return (
        f"{_table(('Shape of the rows', 'Rows'), shapes, numbers={1})}"
        f"{_table(('Encoding of text files', 'Files'), encodings, numbers={1}) if encodings else ''}"
        f"<details><summary>Files that were read</summary><ul>{named}{rest}</ul></details>"
    )


def _by_count(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[int] = ()) -> str:
    """`rows` hold markup. Scrolls by itself where the screen is narrow."""

    def style(column: int) -> str:
        return ' class="number"' if column in numbers else ""

    top = "".join(f'<th scope="col"{style(column)}>{head}</th>' for column, head in enumerate(heads))
    body = "".join(
        f"<tr>{''.join(f'<td{style(column)}>{cell}</td>' for column, cell in enumerate(row))}</tr>" for row in rows
    )
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{heads[0]}">{table}</div>'
