"""Texts without damage that cleaners are known to break: source code, layout, twelve scripts, emoji, art, verse."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from difflib import unified_diff
from itertools import islice, pairwise
from pathlib import Path
from typing import Final

SCRIPTS: Final = {
    "latin": "« L’été », dit-elle, « où étais-tu ? » Größer – naïve Ærø; señor, ¿qué? Łódź, İstanbul, ﬁne.",
    "greek": "Η γρήγορη αλεπού πηδά πάνω από το τεμπέλικο σκυλί· «γιατί;» ρώτησε ο Ἀχιλλεύς.",
    "cyrillic": "Её съёмка ещё не закончена — «да», сказала она… Њујорк, Ґданськ, їжак, №5.",
    "arabic": "السلام عليكم، كيف حالك؟ \u200fABC\u200f هو نصّ مختلط (١٢٣).",
    "persian": "می\u200cخواهم کتاب\u200cها را بخوانم؛ نمی\u200cدانم چرا.",
    "hebrew": "שָׁלוֹם עוֹלָם, שּׁ מה שלומך? \u2067ABC\u2069 ו־123.",
    "devanagari": "क़लम और ज़मीन; क्\u200dष और क्\u200cष अलग दिखते हैं। नमस्ते दुनिया।",
    "bengali": "আমার সোনার বাংলা, র\u200d্যাব ও উৎসব।",
    "sinhala": "ශ්\u200dරී ලංකාව, ක්\u200dෂේත්\u200dරය.",
    "tamil": "தமிழ் மொழி மிகவும் பழமையானது; கொ, ஸ்ரீ.",
    "thai": "ภาษาไทย\u200bไม่มี\u200bช่องว่าง\u200bระหว่างคำ ๆ",
    "khmer": "ភាសា\u200bខ្មែរ\u200bមិន\u200bដកឃ្លា",
    "han": "素早い茶色の狐。ＡＢＣ１２３、ｶﾀｶﾅ、「引用」……他说：“你好！”　全形空格。",
    "hangul": "한국어 문장입니다. 각 ᄒ\u1161ᆫ글, “따옴표”…",
    "georgian": "ქართული ენა — „ბრჭყალები“.",
    "armenian": "Հայերեն լեզու՝ «չակերտներ»։",
}

CLEAN_TEXTS: Final = {
    "emoji": "👨\u200d👩\u200d👧\u200d👦 👩🏽\u200d🚀 🏳️\u200d🌈 ❤️\u200d🔥 1️⃣ 🇫🇷 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🧑\u200d⚕️ ☺️",
    "combining": "e\u0301 a\u00a0b\u2028c, n\u0303; x\u0332\u0305",
    "one line feed": "ends with one line feed\n",
    "indented": "  indented",
    "two spaces": "Typists put two.  After a full stop, that is.  Always.",
    "markdown table": "| a    | b   |\n|------|-----|\n| 1    | x   |\n| 2    |     |\n",
    "markdown": (
        "# Title\n\nA line with a break,  \nand the next.\n\n- one\n  - two  \n    three\n\n1. x\n\n"
        "```html\n<p>a &amp; b</p>   \n\n\n\n\n```\n"
        "\n> quoted   text\n\nUse `&amp;` for an ampersand.\n"
    ),
    "makefile": "CC   = gcc\n\nall: main.o   util.o\n\t$(CC) -o $@ $^   # link\n\n"
    ".PHONY: all\n\n\n\n\nclean:\n\trm -f *.o \n",
    "tab separated": "name\tage\tcity\nAnn\t31\tParis\nBob\t\tRome\t\n",
    "aligned columns": "NAME          READY   STATUS\n"
    "web-0         1/1     Running   \nweb-1         0/1     Pending   \n",
    "html source": (
        "<!DOCTYPE html>\n<html>\n  <head>\n    <title>A &amp; B</title>\n  </head>\n  <body>\n"
        "    <p>Fish &amp; chips&nbsp;here</p>   \n"
        "  </body>\n</html>\n"
    ),
    "html fragment": '<div class="card">\n  <p>Fish &amp; chips for everyone</p>\n</div>',
    "html component": "<ul>\n  <li>one thing</li>\n  <li>another thing</li>\n</ul>",
    "xml": '<?xml version="1.0"?>\n<a b="1 &lt; 2">x &amp; y</a>\n',
    "c": "int main(void) {\n\tint amp = 1, *p = &amp;\n\treturn a &lt;\n}\n",
    "c line": "p = &amp;",
    "javascript": "const a = x  &&  y;   \nfor (;;) {   }\n",
    "json": '{"a":   "&lt;p&gt;",\n "b": "caf\u00c3\u00a9"}',
    "sql": "SELECT a,   b\nFROM   t\nWHERE  a &lt; 3;",
    "yaml": "a:   1\nb:\n  - c   # d\n",
    "settings": "apiVersion: v1\nname: chart\ndescription: A chart of charts\n\n",
    "script": "#!/bin/sh\n# Wait     a little\nsleep 1 \n",
    "licence in a comment": "# Licensed under the terms at\n#\n#     https://example.org/licenses\n#\n\n",
    "shell": "$ ls   -l \ntotal   0\n",
    "python": 's = "caf\u00c3\u00a9"   \nassert s   ==   t\n',
    "question on mojibake": "Why does my page show cafÃ© instead of café? Is it the encoding?",
    "question on entities": "When do I have to escape & as &amp; in a text?",
    "ascii art": "   /\\_/\\  \n  ( o.o )    \n   > ^ <     \n",
    "box art": "┌────┬────┐\n│ é  │ ü  │   \n└────┴────┘\n",
    "verse": (
        "Whose woods these are I think I know;\n    His house is in the village though;\n\n\n"
        "He will not see me stopping here\n"
        "To watch     his woods fill up with snow."
    ),
    "spaced verse": "the boys      of summer\n\nin their   ruin\n",
    "chess": "8 r n b q k b n r   \n7 p p p p p p p p   \n",
    "mathematics": "For all x ∈ ℝ: |x| ≥ 0, ∑ᵢ aᵢ ≠ ∞, ½ + ¼ = ¾, 5 µm ± 2 %, 20 °C, §3, ¶4.",
    "currency": "It costs €5, £4 or ¥600 – “cheap”, they said… ‘No’, ©2020 Foo™.",
    "page break in code": "import os\n\x0c\ndef f():\n    return os\n",
    "signature": "-- \nAnn",
}


def standard_library() -> Iterator[tuple[str, str]]:
    """Path and text of each Python source in UTF-8, tests included."""
    root = Path(sysconfig.get_path("stdlib"))
    for file in sorted(root.rglob("*.py")):
        if "site-packages" in file.parts:
            continue
        try:
            yield str(file), file.read_bytes().decode()
        except UnicodeDecodeError:
            continue


def diffs() -> Iterator[str]:
    """Between neighbours in the standard library, blank context lines included."""
    sources = [source.splitlines(keepends=True)[:60] for _, source in islice(standard_library(), 100)]
    for before, after in pairwise(sources):
        yield "".join(unified_diff(before, after, "a", "b"))
