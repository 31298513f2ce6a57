"""Data on a page: all of it can be seen, and none of it acts."""

from __future__ import annotations

import pytest

from finetune_trainer.pages.shown import shown, shown_change


def point(code: str, name: str | None = None) -> str:
    title = f' title="{name}"' if name else ""
    return f'<span class="point"{title}>U+{code}</span>'


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("<script>alert('x')</script> & \"", "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;"),
        ("a\u202eb", f"a{point('202E', 'RIGHT-TO-LEFT OVERRIDE')}b"),
        ("a\x00b\x1b", f"a{point('0000')}b{point('001B')}"),
        ("\ud800", point("D800")),
        ("\u200b\ufeff", point("200B", "ZERO WIDTH SPACE") + point("FEFF", "ZERO WIDTH NO-BREAK SPACE")),
        ("می‌خواهم 👩‍👩‍👧 naïve 日本", "می‌خواهم 👩‍👩‍👧 naïve 日本"),
        ("two\nlines\tof", "two\nlines\tof"),
        ("a\rb\u2028c", f"a{point('000D')}b{point('2028', 'LINE SEPARATOR')}c"),
    ],
)
def test_text_is_escaped_and_what_hides_in_it_is_named(text: str, markup: str) -> None:
    assert shown(text) == markup


@pytest.mark.parametrize(
    ("before", "after", "old", "new"),
    [
        ("same <b>", "same <b>", "same &lt;b&gt;", "same &lt;b&gt;"),
        ("a \r\nb", "a\nb", "a<del>·␍</del>\nb", "a\nb"),
        ("cafÃ©", "café", "caf<del>Ã©</del>", "caf<ins>é</ins>"),
        ("x<i>", "x", "x<del>&lt;i&gt;</del>", "x"),
        ("ab\u200dc", "abc", f"ab<del>{point('200D', 'ZERO WIDTH JOINER')}</del>c", "abc"),
        ("a\u00a0\tb", "ab", "a<del>⍽→\t</del>b", "ab"),
    ],
)
def test_a_change_is_marked_where_it_is(before: str, after: str, old: str, new: str) -> None:
    assert shown_change(before, after) == (old, new)


def test_ends_at_which_both_texts_were_cut_are_not_called_a_change() -> None:
    before, after = shown_change("a\rbcdef…", "abcdefg…")

    assert (before, after) == ("a<del>␍</del>bcdef…", "abcdefg…")
