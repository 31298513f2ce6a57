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
    "rust": 'fn main() {\n    let x: &str = "a &amp; b";   // comment\n    println!("{:>8}", x);\n}\n',
    "go": "package main\n\nfunc f(a, b *int) {\n\tif a == nil   {\n\t\treturn\n\t}\n}\n",
    "ruby": "def x\n  puts 'a   b'\nend\n\n\n\nx\n",
    "perl": 'my %h = (a   => 1,\n         bb  => 2);\nprint "&lt;\\n" if $x =~ /a   b/;\n',
    "haskell": "main :: IO ()\nmain = do\n  x   <- getLine\n  putStrLn   x\n",
    "lisp": "(defun f (x)\n  (let ((y   1))\n    (+ x   y)))\n",
    "php": '<?php\n$a = "x &nbsp; y";\necho htmlspecialchars($a);   \n?>\n',
    "r": "x   <- c(1, 2, 3)\ny <- mean(x)   # mean\nprint(y)\n",
    "fortran": "      PROGRAM MAIN\n      INTEGER   I\n      DO 10 I = 1, 10\n   10 CONTINUE\n      END\n",
    "cobol": (
        "       IDENTIFICATION DIVISION.\n       PROGRAM-ID.   HELLO.\n       PROCEDURE DIV"
        "ISION.\n           DISPLAY 'Hello'.\n"
    ),
    "asm": "mov     eax, ebx\nadd     eax, 4      ; four\nret\n",
    "css": "a   { color: red; }\n.b  { margin: 0;  }\n",
    "yaml multi": "text: |\n  line one   \n  line two\n\n\n\n\nkey:   value\n",
    "diff": "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a   \n-b\n+c  \n \n",
    "json escapes": '{"text": "caf\\u00e9 \\ud83d\\ude00   x", "html": "&lt;b&gt;"}',
    "jsonl": '{"a": "x   y"}\n{"a": "&amp;"}\n',
    "url pct": "See https://example.org/a%20b?x=%C3%A9&y=2&copy=3 for more.",
    "url amp2": "https://example.org/q?lt=1&gt=2&amp=3",
    "base64": (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12"
        "P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg=="
    ),
    "vietnamese nfd": "Tie\u0302\u0301ng Vie\u0323\u0302t ra\u0302\u0301t \u0111e\u0323p va\u0300 kho\u0301.",
    "hindi zwj": "क्\u200dया हाल है, श्री\u200cमान?",
    "kurdish": "ئه\u200cوه\u200c چییە؟",
    "malayalam chillu": "അവന്\u200d വന്നു, മലയാളം.",
    "mongolian": "ᠮᠣᠩᠭᠣᠯ\u180e\u202fᠤᠨ",
    "english with rlm": "The word \u2067שלום\u2069 means peace.",
    "emoji chat": "ann: lol 👩\u200d❤️\u200d💋\u200d👨\nbob: 🏴\u200d☠️ 🧑🏾\u200d🤝\u200d🧑🏻 ok\nann: 🐻\u200d❄️\n",
    "irc": "<ann> hello there\n<bob> hi   ann\n* bob waves\n",
    "timestamps": "[12:01:03]   ann: hi\n[12:01:09]   bob: hello\n",
    "math": "f(x) =   ax² + bx + c,   a ≠ 0; x̄ = 1/n ∑ xᵢ; a⃗·b⃗; ¬p ∨ q; 5 < 6 && 7 > 2",
    "poetry indent": (
        "I think that I shall never see\n  A poem lovely as a tree.\n\nA tree whose hungry m"
        "outh is prest\n  Against the earth's sweet flowing breast;\n"
    ),
    "ascii art long": (
        "        ,     \\    /      ,        \n       / \\    )\\__/(     / \\       \n      / "
        "  \\  (_\\  /_)   /   \\      \n"
    ),
    "jinja": "<p>{{ name }} has {% if x %}some words{% endif %}</p>",
    "p template": "<p>Hello {{ name }}, welcome to us</p>",
    "vue": "<template>\n<p>{{ msg }} and more words</p>\n</template>",
    "markdown inline html": "Press <kbd>Ctrl</kbd> + <kbd>C</kbd>   to copy.",
    "details": "<details>\n<summary>More</summary>\n\ntext   here\n</details>",
    "log": "2024-01-01 12:00:00   INFO   Started   server\n2024-01-01 12:00:01   WARN   Slow\n",
    "log one": "2024-01-01 12:00:00   INFO   Started the server on port 8080 with four workers   ok",
    "stack": 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\nValueError: x   y\n',
    "python repl": ">>> x   = 1\n>>> print(x)\n1\n",
    "form": "Name: ________    Date: ________\nSign:    ________\n",
    "cloze list": "Fill in: a)     b)     c)    ",
    "screenplay": "                    ANN\n          I don't know.\n\n                    BOB\n          Nor do I.\n",
    "recipe": "2 cups     flour\n1 tsp      salt\n3          eggs\n",
    "md indented code": "Try this:\n\n    x   = 1\n    y   = 2\n\nDone.",
    "md code span": "Use `a   b` and `&lt;` here in the text, it is what we want to have.",
    "tilde": "~~~\na   b &amp;\n~~~\n",
    "rst": "Title\n=====\n\n::\n\n    a   b\n\n.. note::   x\n",
    "org": "* Heading   :tag:\n| a | b   |\n",
    "mediawiki": '== Title ==\n* [[link]]   text\n{| class="x"\n| a   || b\n|}\n',
    "bbcode": "[b]bold[/b]   [url=x]y[/url]",
    "french": "Est-ce vrai\u202f? Oui\u00a0! «\u00a0Bien sûr\u00a0» — 10\u202f000\u00a0€.",
    "japanese full": "\u3000これは段落です。\u3000ＡＢＣ\u3000１２３。",
    "chinese spaces": "\u3000\u3000第一段文字。\n\n\u3000\u3000第二段文字。\n",
    "portuguese caps": "NÃO É SÃO JOÃO, É IRMÃ MARIA — ‘PÃO’ E ÁGUA À VONTADE",
    "currency sym": "¢ £ ¤ ¥ ¦ § ¨ © ª « ¬ ® ¯ ° ± ² ³ ´ µ ¶ · ¸ ¹ º » ¼ ½ ¾ ¿",
    "latin1 row": "À Á Â Ã Ä Å Æ Ç È É Ê Ë Ì Í Î Ï Ð Ñ Ò Ó Ô Õ Ö × Ø Ù Ú Û Ü Ý Þ ß",
    "cp437 art": "╔══════╗\n║ é ü  ║\n╚══════╝\n▓▒░",
    "ipa": "/ˈɪŋɡlɪʃ/, [ɲ], [ʃ̩]",
    "chords": "C          G       Am\nLet it be, let it be\n",
    "braille art": "⠀⠀⣠⣴⣶\n⠀⣾⣿⣿⡇\n",
    "variation": "☎︎ vs ☎️, 葛󠄀",
    "ansi docs": "\\x1b[31mred\\x1b[0m and \\033[0m",
    "nbsp prose": "100\u00a0km, Mr.\u00a0Smith, a\u00a0b",
    "email": "From: a@b.org\nTo:   c@d.org\nSubject:   Hi\n\n> quoted   text\nok\n",
    "dockerfile": "FROM x\nRUN a   && \\\n    b\n",
    "prolog": "parent(X,   Y) :- father(X, Y).\n",
    "matlab": "A = [1   2   3;\n     4   5   6];\n",
    "verilog": "assign   y = a & b;\n",
    "at&t": "AT&T, R&D, Q&A; B&B; &c.",
    "perl ref": "call &foo; and then &bar;",
    "quiz html": "Which of these makes a line? <br> or <hr>",
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
