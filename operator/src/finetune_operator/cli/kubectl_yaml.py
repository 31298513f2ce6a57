"""Reads YAML as kubectl does, and keeps the line of every field.

kubectl's reader is neither YAML 1.1 nor 1.2: `2e-4` is a number, `on` and `y` are booleans, `010` is eight. PyYAML
reads all three otherwise; only its parser is used. Stricter than kubectl in one thing: a key given twice is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

Path: TypeAlias = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_CONSTANTS: Mapping[str, bool | float | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF"), math.inf),
}
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_BASES = (16, 2, 8, 10)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LIMIT = 100_000
"""Values in one document, aliases counted as often as they are used: a small file can stand for a huge one."""


@dataclass(frozen=True)
class Flaw:
    """What is wrong with the text itself."""

    line: int
    path: Path
    message: str


@dataclass(frozen=True)
class Document:
    """One document: JSON-compatible, and the line (from 1) of every value in it."""

    value: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """Line of the field, or of the nearest that holds it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def read_documents(text: str) -> tuple[list[Document], list[Flaw]]:
    """All documents of a file that are not empty, and everything that is wrong with the YAML itself."""
    documents: list[Document] = []
    flaws: list[Flaw] = []
    try:
        for root in yaml.compose_all(text, Loader=_Loader):
            build = _Build(flaws)
            value = build.value(root, ())
            if value is not None:
                documents.append(Document(value, build.lines))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        flaws.append(Flaw(mark.line + 1 if mark else 1, (), f"is not YAML: {error.problem or error.context}"))
    except yaml.YAMLError as error:
        flaws.append(Flaw(1, (), f"is not YAML: {' '.join(str(error).split())}"))
    except _TooLarge:
        flaws.append(Flaw(1, (), f"stands for more than {_LIMIT} values"))
    except RecursionError:
        flaws.append(Flaw(1, (), "is nested too deeply"))
    return documents, flaws


class _TooLarge(Exception):
    pass


class _Loader(yaml.SafeLoader):
    """PyYAML's parser; what a plain scalar means is decided here."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _TAG + _kind(value)
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return tag


def _kind(text: str) -> str:
    if text == "<<":
        return "merge"
    if text in _CONSTANTS:
        constant = _CONSTANTS[text]
        return "null" if constant is None else "bool" if isinstance(constant, bool) else "float"
    return "str" if _number(text) is None else "float"


def _number(text: str) -> int | float | None:
    if not text or text[0] not in "+-.0123456789":
        return None
    plain = text if text[0] == "." else text.replace("_", "")
    if match := _INTEGER.fullmatch(plain):
        digits, base = next(pair for pair in zip(match.groups()[1:], _BASES, strict=True) if pair[0])
        integer = int(f"{match[1]}{digits}", base)
        return integer if -(2**63) <= integer < 2**64 else float(integer)
    if not _FLOAT.fullmatch(plain):
        return None
    number = float(plain)
    if math.isinf(number):
        return None
    # As JSON, 3.0 and 3 are the same number.
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


@dataclass
class _Build:
    """Turns the nodes of one document into values."""

    flaws: list[Flaw]
    lines: dict[Path, int] = field(default_factory=dict)
    count: int = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.count += 1
        if self.count > _LIMIT:
            raise _TooLarge
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                for source in self._merged(value_node):
                    merged = self._mapping(source, path) | merged
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in own:
                self._flaw(key_node, (*path, key), f"is given twice, first on line {self.lines[(*path, key)]}")
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            own[key] = self.value(value_node, (*path, key))
        return merged | own

    def _merged(self, node: yaml.Node) -> Iterator[yaml.MappingNode]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(source, yaml.MappingNode):
                yield source
            else:
                self._flaw(source, (), "'<<' takes a mapping, or a list of mappings")

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        key = None if isinstance(node, yaml.CollectionNode) else self._scalar(node, path)
        if key is None:
            self._flaw(node, path, "has a key that is not text")
            return None
        return str(key).lower() if isinstance(key, bool) else str(key)

    def _scalar(self, node: yaml.Node, path: Path) -> str | bool | int | float | None:
        text: str = node.value
        tag = node.tag.removeprefix(_TAG)
        if tag in ("str", "merge"):
            return text
        if tag in ("null", "bool", "int", "float"):
            value = _CONSTANTS[text] if text in _CONSTANTS else _number(text)
            if not isinstance(value, float) or math.isfinite(value):
                return value
            self._flaw(node, path, f"is {text}, which is not a number in JSON")
            return None
        self._flaw(node, path, f"has the tag {node.tag}: leave it out")
        return None

    def _flaw(self, node: yaml.Node, path: Path, message: str) -> None:
        self.flaws.append(Flaw(node.start_mark.line + 1, path, message))
