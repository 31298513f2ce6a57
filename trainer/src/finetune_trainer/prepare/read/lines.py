"""Blocks of bytes to lines, of which none is ever longer than a row may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from finetune_trainer.prepare.read.rows import MAX_ROW_BYTES


def lines_of(blocks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Each line without its line feed; None stands for one that is longer than MAX_ROW_BYTES."""
    held = bytearray()
    too_long = False
    for block in blocks:
        head, *others = block.split(b"\n")
        if not too_long:
            held += head
        if len(held) > MAX_ROW_BYTES:
            too_long = True
            held = bytearray()
        if not others:
            continue
        yield None if too_long else bytes(held)
        too_long = False
        yield from others[:-1]
        held = bytearray(others[-1])
    if too_long:
        yield None
    elif held:
        yield bytes(held)
