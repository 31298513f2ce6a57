"""HTML where prose should be: whole fields of it, residue of its entities, and as a rewrite every tag."""

from __future__ import annotations

import html
import re
from typing import Final

from finetune_trainer.prepare.clean.context import RowContext, is_code

_TAG = re.compile(
    r"""<(?P<close>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]*)
    (?P<attributes>(?:\s+[a-zA-Z-]+(?:\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=]+))?)*)\s*/?>""",
    re.VERBOSE,
)
_ADDRESS = re.compile(r"""\b(?:href|src)\s*=\s*["']([^"'\s]+)["']""")
_START = re.compile(r"""\bstart\s*=\s*["']?(\d{1,6})\b""")
_SHOWN = re.compile(r"""\balt\s*=\s*["']([^"'<>]*)["']""")
_TEMPLATE = re.compile(r"\{\{|\{%|\$\{|\[%")
_PARAGRAPHS: Final = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "blockquote", "pre", "hr"})
_WITHOUT_END: Final = frozenset({"br", "hr", "img"})
_MARKS: Final = {"b": "**", "strong": "**", "i": "*", "em": "*"}
_INLINE: Final = frozenset({"span", "sub", "sup", "u", "small"})
# What editors of rich text write, and Markdown can say. A page's source holds others: div, form, script, table.
_OF_PROSE: Final = (_PARAGRAPHS - {"blockquote"}) | _WITHOUT_END | _MARKS.keys() | {"a", "code", "li"} | _INLINE
_BREAKS: Final = _PARAGRAPHS | {"li", "br"}
_FEW_WORDS: Final = 3

_LETTERS = "[AEIOUYaeiouyNnCcOoAa](?:grave|acute|circ|uml|tilde|ring|cedil|slash)|[AaOoe]?[Ee]lig|szlig|[Ss]caron"
_NAMES = (
    "amp|lt|gt|quot|apos|nbsp|ensp|emsp|thinsp|zwnj|zwj|ndash|mdash|hellip|lsquo|rsquo|sbquo|ldquo|rdquo|bdquo|lsaquo|"
    "rsaquo|laquo|raquo|bull|middot|copy|reg|trade|deg|plusmn|frac12|frac14|frac34|euro|pound|yen|cent|sect|para|iexcl|"
    f"iquest|times|divide|ordf|ordm|eth|ETH|thorn|THORN|{_LETTERS}"
)
_ENTITY = re.compile(rf"&(?:amp;|\#38;|\#[xX]26;)*(?:{_NAMES}|\#[0-9]{{2,6}}|\#[xX][0-9a-fA-F]{{2,5}});")
_BLANK_ENTITIES = re.compile("[\u00a0\u2002\u2003\u2009]")
_QUOTED_ENTITY = re.compile(r"[`'\"“‘]&[#\w]+;[`'\"”’]|`[^`\n]*&[#\w]+;[^`\n]*`|&&\w|\w&\w+;\w*\(")
_RAW_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!|<\?")

_DECLARATION = re.compile(r"<![a-zA-Z][^<>]*>")
_UNREAD: Final = (
    (re.compile(r"<!--.*?-->", re.DOTALL), re.compile("-->")),
    *(
        (re.compile(rf"<{name}\b[^<>]*>.*?</{name}\s*>", flags), re.compile(rf"</{name}\s*>", flags))
        for flags in [re.DOTALL | re.IGNORECASE]
        for name in ("script", "style", "head", "template", "noscript")
    ),
)
"""What no reader of a page sees, each with the pattern of its end."""
_ANY_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9-]*)(?:\s[^<>]*)?/?>")
_BLOCKS: Final = _PARAGRAPHS | {"br", "div", "li", "tr", "table", "section", "article", "header", "footer", "title"}


def mend_html(text: str, row: RowContext) -> str:
    """Markdown for a text that is rich text in HTML from its first character to its last.

    An answer in HTML to a question that is not may be what was asked for: it stays.
    """
    if text[:1] not in ("<", " ", "\n", "\t") or not is_rich_text(text) or row.on_markup or _TEMPLATE.search(text):
        return text
    if len(row.texts) > 1 and [is_rich_text(other) for other in row.texts[:-1]].count(True) == 0:
        return text
    mended = _markdown(text.strip())
    # What shows tags once it is read was written about tags.
    return text if is_rich_text(mended) else mended


def is_rich_text(text: str) -> bool:
    """Whether all of it is well-formed HTML of paragraphs and what stands within them, and words."""
    content = text.strip()
    if not (content.startswith("<") and content.endswith(">")):
        return False
    open_tags: list[str] = []
    words = end = 0
    for tag in _TAG.finditer(content):
        between = content[end : tag.start()]
        name = tag["name"].lower()
        if name not in _OF_PROSE or "<" in between or (not open_tags and between.strip()):
            return False
        if not open_tags and name not in _PARAGRAPHS and name != "br":
            return False
        if "pre" not in open_tags and re.search(r"\n[ \t]+$", between):
            return False  # laid out by hand: somebody's source
        words += len(between.split())
        end = tag.end()
        if name in _WITHOUT_END:
            continue
        if not tag["close"]:
            open_tags.append(name)
        elif not open_tags or open_tags.pop() != name:
            return False
    return not open_tags and end == len(content) and words >= _FEW_WORDS


def _markdown(content: str) -> str:
    pieces: list[str] = []
    lists: list[int | None] = []  # the next number of each that is open
    links: list[str] = []
    verbatim = False
    end, previous = 0, "p"
    for tag in _TAG.finditer(content):
        between = content[end : tag.start()]
        name, closing = tag["name"].lower(), bool(tag["close"])
        if between.strip() or not (name in _BREAKS or previous in _BREAKS):
            pieces.append(html.unescape(between if verbatim else re.sub(r"\s+", " ", between)))
        previous, end = name, tag.end()
        if name == "pre":
            if closing:
                pieces[-1] = pieces[-1].rstrip("\n")
            pieces.append("\n```\n\n" if closing else "\n\n```\n")
            verbatim = not closing
        elif verbatim:
            continue
        elif name in _MARKS:
            pieces.append(_MARKS[name])
        elif name == "code":
            pieces.append("`")
        elif name in ("ul", "ol"):
            if closing:
                lists.pop()
            else:
                lists.append(None if name == "ul" else _first_number(tag["attributes"]))
            pieces.append("\n" if lists else "\n\n")
        elif name == "li":
            pieces.append("" if closing else _item(lists))
        elif name in ("sub", "sup"):
            pieces.append(tag.group())
        elif name == "img":
            shown, found = _SHOWN.search(tag["attributes"]), _ADDRESS.search(tag["attributes"])
            address = html.unescape(found[1]) if found else ""
            pieces.append(f"![{html.unescape(shown[1]) if shown else ''}]({address})")
        elif name == "br":
            pieces.append("\n")
        elif name == "hr":
            pieces.append("\n\n---\n\n")
        elif name == "a":
            found = _ADDRESS.search(tag["attributes"])
            if not closing:
                links.append(html.unescape(found[1]) if found else "")
                pieces.append("[" if found else "")
            else:
                address = links.pop()
                pieces.append(f"]({address})" if address else "")
        elif name[0] == "h" and not closing:
            pieces.append(f"\n\n{'#' * int(name[1])} ")
        elif name == "p" and lists:
            pieces.append("\n" if closing else "")
        elif name in _PARAGRAPHS:
            pieces.append("\n\n")
    return _tidy("".join(pieces))


def _first_number(attributes: str) -> int:
    found = _START.search(attributes)
    return int(found[1]) if found else 1


def _item(lists: list[int | None]) -> str:
    """The mark of the next item of the innermost list."""
    indent = "".join("  " if number is None else "   " for number in lists[:-1])
    number = lists[-1] if lists else None
    if number is None:
        return f"\n{indent}- "
    lists[-1] = number + 1
    return f"\n{indent}{number}. "


def _tidy(markdown: str) -> str:
    """Blocks one blank line apart, without blanks at either end of a line; what stands in fences is left alone."""
    parts = re.split(r"(\n```\n.*?\n```\n)", markdown, flags=re.DOTALL)
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r" *\n(?! *(?:-|\d+\.) ) *| +(?=\n)", "\n", parts[index])
    return re.sub(r"\n{3,}", "\n\n", "".join(parts)).strip()


def mend_entities(text: str, row: RowContext) -> str:
    """Characters for entities in a text that is neither markup nor code nor about them."""
    if "&" not in text or not _ENTITY.search(text):
        return text
    if _RAW_TAG.search(text) or _QUOTED_ENTITY.search(text) or row.on_markup:
        return text
    mended = _ENTITY.sub(_character, text)
    # An entity ends with a semicolon, as a line of code does: both must read as prose.
    return text if is_code(mended) or is_code(_ENTITY.sub("x", text)) else mended


def _character(found: re.Match[str]) -> str:
    name = found.group()[1:-1].rpartition(";")[2]
    return _BLANK_ENTITIES.sub(" ", html.unescape(f"&{name};"))


def rewrite_tags(text: str, _row: RowContext) -> str:
    """The text without tags, comments, scripts and styles; entities become characters. It breaks code."""
    if "<" not in text:
        return text
    bare = _DECLARATION.sub("", text)
    for whole, end in _UNREAD:
        bare = _without(whole, end, bare)
    bare = _ANY_TAG.sub(lambda tag: "\n" if tag[1].lower() in _BLOCKS else "", bare)
    return text if bare == text else re.sub(r"[ \t]*\n\s*\n\s*", "\n\n", html.unescape(bare)).strip()


def _without(whole: re.Pattern[str], end: re.Pattern[str], text: str) -> str:
    # Behind the last end every beginning would be followed to the end of the text in vain: quadratic time.
    last = max((found.end() for found in end.finditer(text)), default=0)
    return whole.sub("", text[:last]) + text[last:]
