"""Two corpora of any size, the same bytes on every machine with the same locked packages: conversations and documents.

The words are those of botocore's documentation, cut up as Emacs's `dissociate-press` does, so that text reads like
prose, its words are as frequent as in prose, and no two rows quote each other but those that are planted; the code is
that of transformers. Known shares of rows are repeated, nearly repeated, or damaged.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Final

import ftfy  # noqa: F401  (registers the sloppy codecs)

from clean_texts import SCRIPTS

SEED: Final = 20_261_123
FILES: Final = 8
REPEATED: Final = 0.05
NEARLY_REPEATED: Final = 0.05
DAMAGED: Final = 0.10
_TYPOGRAPHIC: Final = 0.3
_OTHER_SCRIPT: Final = 0.04
_WITH_SYSTEM: Final = 0.1
_REMEMBERED: Final = 4096
_SERVICES: Final = 90
_CODE_FILES: Final = 400

_SYSTEM: Final = (
    "You are a helpful assistant.",
    "You are an expert in cloud infrastructure. Answer briefly, and show code where it helps.",
    "You answer questions of engineers. Say so when you do not know.",
)
_QUESTIONS: Final = ("How do I use {}?", "What is {}?", "Please explain {}.", "Why does this fail: {}", "{}", "Can {}?")
_FOLLOW_UPS: Final = ("And what about {}?", "Thanks! {}?", "That did not work, {}", "Could you show {}?")


class Press:
    """Makes text of the words of others."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._words = [word for sentence in _sentences() for word in sentence.split()]
        self._places: dict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(self._words[:-40]):
            self._places[word].append(place)
        self._starts = [place + 1 for place, word in enumerate(self._words[:-40]) if word.endswith(".")]
        self._code = list(_functions())
        self._others = {name: text.split() for name, text in SCRIPTS.items()}

    def words(self, count: int) -> str:
        """About so many words, from the start of a sentence."""
        draw, words, places = self._chance.random, self._words, self._places
        place = self._starts[int(draw() * len(self._starts))]
        made: list[str] = []
        while len(made) < count:
            piece = words[place : place + 3 + int(draw() * 6)]
            made += piece
            found = places[piece[-1]] or self._starts
            place = found[int(draw() * len(found))] + 1
        return " ".join(made)

    def paragraph(self) -> str:
        """Sentences."""
        return self.words(int(self._chance.triangular(8, 120, 50))).rstrip(".,;: ") + "."

    def block(self) -> str:
        """A paragraph, a list, or code."""
        kind = self._chance.random()
        if kind < 0.72:
            return self.paragraph()
        if kind < 0.9:
            items = [self.words(self._chance.randint(4, 16)) for _ in range(self._chance.randint(3, 7))]
            mark = self._chance.choice(("- {}", "* {}", "{number}. {}"))
            return "\n".join(mark.format(item, number=number) for number, item in enumerate(items, start=1))
        code = re.sub(r"\b[a-z_]{4,}\b", self._renamed, self._chance.choice(self._code))
        return f"```python\n{code}\n```"

    def _renamed(self, name: re.Match[str]) -> str:
        return f"{name[0]}_{self._chance.randrange(100)}" if self._chance.random() < 0.1 else name[0]

    def text(self, blocks: int) -> str:
        """So many blocks, a few of them in another script, a third with typographers' punctuation."""
        made = [self.block() for _ in range(blocks)]
        if self._chance.random() < _OTHER_SCRIPT:
            words = self._others[self._chance.choice(list(self._others))]
            made.append(" ".join(self._chance.choices(words, k=40)))
        return "\n\n".join(made)


def _sentences() -> Iterator[str]:
    """Each once."""
    seen = set()
    services = sorted((path for path in (files("botocore") / "data").iterdir() if path.is_dir()), key=lambda p: p.name)
    for service in services[:: max(1, len(services) // _SERVICES)]:
        newest = max(service.iterdir(), key=lambda version: version.name)
        for path in newest.iterdir():
            if path.name.startswith("service-2.json"):
                content = path.read_bytes()
                model = json.loads(gzip.decompress(content) if path.name.endswith(".gz") else content)
                for text in _documentation(model):
                    plain = html.unescape(re.sub("<[^>]+>", " ", text))
                    for sentence in re.findall(r"[A-Z][\w',()-]+(?: [\w',()-]+){4,}\.", " ".join(plain.split())):
                        if sentence not in seen:
                            seen.add(sentence)
                            yield sentence


def _documentation(model: object) -> Iterator[str]:
    if isinstance(model, dict):
        if isinstance(text := model.get("documentation"), str):
            yield text
        for value in model.values():
            yield from _documentation(value)
    elif isinstance(model, list):
        for value in model:
            yield from _documentation(value)


def _functions() -> Iterator[str]:
    root = files("transformers") / "models"
    sources = sorted(Path(str(root)).glob("*/modeling_*.py"))
    seen = set()
    for path in sources[:: max(1, len(sources) // _CODE_FILES)]:
        for piece in re.split(r"\n(?=(?:    )?(?:def|class|@) ?)", path.read_text("utf-8")):
            code = textwrap.dedent(piece).strip()
            if code.startswith("def ") and 120 < len(code) < 1500 and code not in seen:
                seen.add(code)
                yield code


def _typographic(text: str) -> str:
    curled = re.sub(r"(?<=\w)'(?=\w)", "’", text).replace("e.g.", "e. g.").replace(" (", " – (")
    return re.sub(r"\b(re)?(sume|naive|cafe|role|facade)\b", lambda found: found[0].replace("e", "é"), curled)


def _mojibake(text: str, _: Random) -> str:
    return f"“{text}” — naïve".encode().decode("sloppy-windows-1252")


def _sprinkled(characters: str) -> Callable[[str, Random], str]:
    def damage(text: str, chance: Random) -> str:
        words = text.split(" ")
        for _ in range(1 + len(words) // 50):
            words[chance.randrange(len(words))] += chance.choice(characters)
        return " ".join(words)

    return damage


_DAMAGES: Final[Mapping[str, Callable[[str, Random], str]]] = {
    "mojibake": _mojibake,
    "entities": lambda text, _: html.escape(f"“{text}” & more").replace("“", "&ldquo;").replace("”", "&rdquo;"),
    "controls": _sprinkled("\x00\x08\x1b\x7f"),
    "zero-width": _sprinkled("\u200b\ufeff\u2060"),
    "mark": lambda text, _: f"\ufeff{text}",
    "CRLF": lambda text, _: text.replace("\n", "\r\n") + "\r\n",
    "blanks": lambda text, _: re.sub(r"(?m)$", "   ", text),
    "runaway": lambda text, _: text.replace(". ", ".     "),
}

Row = list[str]
"""The texts of a row, in order."""


def chat_row(press: Press, chance: Random) -> Row:
    """A system prompt or nothing, then turns."""
    texts = [chance.choice(_SYSTEM) if chance.random() < _WITH_SYSTEM else ""]
    for turn in range(chance.choices((1, 2, 3, 4), (60, 22, 12, 6))[0]):
        about = press.words(chance.randint(4, 24)).rstrip(".")
        question = chance.choice(_FOLLOW_UPS if turn else _QUESTIONS).format(about)
        if chance.random() < 0.2:
            question += f"\n\n{press.block()}"
        texts += [question, press.text(chance.choices((1, 2, 3, 5), (40, 30, 20, 10))[0])]
    return texts


def text_row(press: Press, chance: Random) -> Row:
    """A document."""
    title = f"# {press.words(chance.randint(3, 8))}\n\n" if chance.random() < 0.3 else ""
    return [title + press.text(chance.choices((2, 4, 8, 16), (35, 35, 20, 10))[0])]


def _as_chat(texts: Row) -> dict[str, object]:
    system, *turns = texts
    messages = [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(turns)]
    return {"messages": [{"role": "system", "content": system}, *messages] if system else messages}


def _as_text(texts: Row) -> dict[str, object]:
    return {"text": texts[0]}


KINDS: Final = {"chat": (chat_row, _as_chat), "text": (text_row, _as_text)}


def rows(kind: str) -> Iterator[dict[str, object]]:
    """Rows without end."""
    chance = Random(f"{SEED}:{kind}")
    press = Press(chance)
    make, shape = KINDS[kind]
    earlier: list[Row] = []
    while True:
        draw = chance.random()
        if len(earlier) > 100 and draw < REPEATED + NEARLY_REPEATED:
            texts = chance.choice(earlier)
            if draw >= REPEATED:
                texts = [_reworded(text, chance) for text in texts]
            yield shape(texts)
            continue
        texts = make(press, chance)
        if chance.random() < _TYPOGRAPHIC:
            texts = [_typographic(text) for text in texts]
        if chance.random() < DAMAGED:
            damage = _DAMAGES[chance.choice(list(_DAMAGES))]
            texts[-1] = damage(texts[-1], chance)
        if len(earlier) < _REMEMBERED:
            earlier.append(texts)
        else:
            earlier[chance.randrange(_REMEMBERED)] = texts
        yield shape(texts)


def _reworded(text: str, chance: Random) -> str:
    words = text.split(" ")
    for _ in range(len(words) // 100):
        words[chance.randrange(len(words))] = f"other{chance.randrange(1000)}"
    return " ".join(words)


def write_corpus(folder: Path, kind: str, megabytes: int) -> tuple[int, str]:
    """FILES of JSON Lines in `folder`, written unless they are there. Returns rows and the sha256 of all bytes."""
    done = folder / "corpus.json"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        source = rows(kind)
        digest = hashlib.sha256()
        count = 0
        for number in range(FILES):
            left = megabytes * 1_000_000 // FILES
            with (folder / f"{number}.jsonl").open("wb") as file:
                while left > 0:
                    line = json.dumps(next(source), ensure_ascii=False).encode() + b"\n"
                    left -= file.write(line)
                    digest.update(line)
                    count += 1
        done.write_text(json.dumps({"rows": count, "sha256": digest.hexdigest()}))
    found = json.loads(done.read_text())
    return found["rows"], found["sha256"]
