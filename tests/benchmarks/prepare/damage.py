"""How much of real damage is repaired, and how much clean text is harmed, by our repairs and by others.

    PYTHONPATH=tests/kit python tests/benchmarks/prepare/damage.py

Each clean text is damaged by what damages text in practice; a repair counts when the very text comes back. Kinds with
a star are held out: they were measured after the repairs had been written, and no repair was changed for them.
"""

from __future__ import annotations

import ast
import html
import random
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

import ftfy

from clean_texts import CLEAN_TEXTS, SCRIPTS, standard_library
from finetune_api.spec import Cleaning
from finetune_trainer.prepare.clean import Cleaner

SEED: Final = 5
PROSE: Final = 300
"""Paragraphs of English, from the documentation in the standard library."""
LATIN: Final = (
    "L’été dernier, nous sommes allés à Besançon où Noël déjeune près du café.",
    "Die Straße führt über die Brücke nach Köln; dort heißt alles „schön“.",
    "El niño soñó que la cigüeña voló a España, ¿verdad?",
    "Małgorzata zażółciła gęślą jaźń w Łodzi, a potem wróciła do domu.",
    "“It’s naïve,” she said – “but the café’s résumé was déjà vu…”",
    "Příliš žluťoučký kůň úpěl ďábelské ódy až do rána.",
    "Çığır açan öğrenci İstanbul’da güneşli bir gün geçirdi.",
    "Crème brûlée costs €5 or £4 at the hôtel — it’s worth it.",
)


def damages(text: str, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Kind of damage, and the text as it comes out of it, where that differs."""
    encoded = text.encode()
    for wrong in ("latin-1", "cp1252", "cp1251", "macroman"):
        broken = encoded.decode(f"sloppy-windows-{wrong[2:]}" if wrong.startswith("cp") else wrong)
        yield f"mojibake, {wrong}", broken
    for wrong in ("cp437", "iso-8859-2"):
        yield f"mojibake, {wrong}*", encoded.decode(wrong)
    once = encoded.decode("sloppy-windows-1252")
    yield "mojibake, twice", once.encode().decode("sloppy-windows-1252")
    yield "mojibake, half of the text", _half(text, lambda part: part.encode().decode("sloppy-windows-1252"), chance)
    yield "entities, once", html.escape(text).replace("é", "&eacute;").replace("’", "&rsquo;").replace("—", "&mdash;")
    yield "entities, twice", html.escape(html.escape(text))
    yield "HTML", f"<p>{html.escape(text, quote=False)}</p>\n"
    yield "HTML of an editor*", f'<p><span style="font-size:11pt">{html.escape(text, quote=False)}</span></p>'
    yield "numeric entities*", text.encode("ascii", "xmlcharrefreplace").decode()
    yield "HTML, escaped", html.escape(f"<p>{text}</p>")
    yield "C0 controls", _sprinkled(text, "\x00\x08\x1b", chance)
    yield "terminal colours", f"\x1b[1;32m{text}\x1b[0m"
    yield "byte order mark", f"\ufeff{text}"
    yield "zero-width characters", _sprinkled(text, "\u200b\ufeff\u2060", chance)
    yield "direction marks", f"\u202a{text}\u202c"
    yield "soft hyphens", re.sub(r"(?<=[a-z]{3})(?=[a-z]{3})", "\u00ad", text)
    yield "CRLF", text.replace("\n", "\r\n")
    yield "runaway spaces", re.sub(" ", lambda _: " " * chance.choice((1, 1, 1, 4, 7)), text)
    yield "blanks at line ends", re.sub("$", lambda _: " " * chance.choice((0, 1, 3)), text, flags=re.MULTILINE)
    yield "blank lines around", f"\n\n{text}\n\n\n"
    yield "mark, CRLF, mojibake", f"\ufeff{text}\n".replace("\n", "\r\n").encode().decode("sloppy-windows-1252")


def _half(text: str, damage: Callable[[str], str], chance: random.Random) -> str:
    words = text.split(" ")
    return " ".join(damage(word) if chance.random() < 0.5 else word for word in words)


def _sprinkled(text: str, characters: str, chance: random.Random) -> str:
    return "".join(f"{letter}{chance.choice(characters)}" if chance.random() < 0.05 else letter for letter in text)


def prose() -> Iterator[str]:
    """Paragraphs of at least twelve words that look like sentences."""
    for _, source in standard_library():
        try:
            documentation = ast.get_docstring(ast.parse(source)) or ""
        except (SyntaxError, ValueError):
            continue
        for paragraph in documentation.split("\n\n"):
            if (
                re.fullmatch(r"[A-Z][\w\s,'’\"()-]+\.", paragraph)
                and "  " not in paragraph
                and len(paragraph.split()) >= 12
            ):
                yield " ".join(paragraph.split())


def collapsed(text: str) -> str:
    """What a pipeline of today does after ftfy: unescape, then one blank for all white space."""
    return re.sub(r"\s+", " ", html.unescape(ftfy.fix_text(text))).strip()


_OURS: Final = Cleaner(Cleaning())
CLEANERS: Final[Mapping[str, Callable[[str], str]]] = {
    "ours": lambda text: _OURS.text(text)[0],
    "ftfy.fix_text": ftfy.fix_text,
    "ftfy, unescape, collapse": collapsed,
}


def main() -> None:
    """Print both tables."""
    chance = random.Random(SEED)
    texts = [*islice(prose(), PROSE), *LATIN, *SCRIPTS.values()]
    repaired: dict[str, dict[str, int]] = {}
    rows: dict[str, int] = {}
    for text in texts:
        for kind, damaged in damages(text, chance):
            if damaged == text:
                continue
            rows[kind] = rows.get(kind, 0) + 1
            counts = repaired.setdefault(kind, dict.fromkeys(CLEANERS, 0))
            for name, clean in CLEANERS.items():
                counts[name] += clean(damaged).rstrip("\n") == text.rstrip("\n")
    print(f"| damage | rows | {' | '.join(CLEANERS)} |\n|---|---|{'---|' * len(CLEANERS)}")
    for kind, counts in repaired.items():
        print(f"| {kind} | {rows[kind]} | {' | '.join(f'{100 * n / rows[kind]:.0f} %' for n in counts.values())} |")
    shares = {
        name: sum(counts[name] / rows[kind] for kind, counts in repaired.items()) / len(rows) for name in CLEANERS
    }
    print(f"| mean of the kinds | {sum(rows.values())} | {' | '.join(f'{100 * n:.0f} %' for n in shares.values())} |")
    clean_texts = [*texts, *CLEAN_TEXTS.values(), *(source for _, source in islice(standard_library(), 500))]
    harmed = {name: sum(clean(text) != text for text in clean_texts) for name, clean in CLEANERS.items()}
    print(f"| clean texts changed | {len(clean_texts)} | {' | '.join(map(str, harmed.values()))} |")


if __name__ == "__main__":
    main()
