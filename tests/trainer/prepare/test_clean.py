"""Each step mends its own damage; what is clean comes out byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clean_texts import CLEAN_TEXTS, SCRIPTS, diffs, standard_library
from finetune_api.spec import Cleaning, PersonalData
from finetune_trainer.prepare.clean import Cleaner, field_of
from finetune_trainer.prepare.clean.step import Step
from finetune_trainer.tokenizers import Message

REPAIRS = Cleaner(Cleaning())
DAMAGE = {
    Step.MOJIBAKE: (
        ("L’Ã©tÃ© est fini, voilÃ\u00a0!", "L’été est fini, voilà!"),
        ("donâ€™t", "don’t"),
        ("ÃƒÂ©tÃƒÂ©", "été"),
        ("РџСЂРёРІРµС‚, РјРёСЂ", "Привет, мир"),
        ("\x93Yes\x94 he said", "“Yes” he said"),
    ),
    Step.CONTROL_CHARACTERS: (
        ("Py\x00th\x1bon\tis\x7f fine\n", "Python\tis fine\n"),
        ("\x1b[1;31mFailed\x1b[0m after 3 tests", "Failed after 3 tests"),
        ("The first page ends.\x0cThe second begins.", "The first page ends.\nThe second begins."),
    ),
    Step.LINE_ENDINGS: (("one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),),
    Step.BYTE_ORDER_MARKS: (("\ufefftext", "text"),),
    Step.HTML: (
        (
            '<p>How do I <b>stop</b> it?</p>\n<ul>\n<li>wait</li>\n<li><a href="https://a.org/b">ask</a></li>\n</ul>',
            "How do I **stop** it?\n\n- wait\n- [ask](https://a.org/b)",
        ),
        (
            "<ol>\n<li><p>First of all</p></li>\n<li><p>and then</p>\n</li>\n</ol>\n<h2>At last</h2>\n",
            "1. First of all\n\n2. and then\n\n## At last",
        ),
        (
            "<p>Try this:</p>\n\n<pre><code>if a &lt; b:\n    go()\n</code></pre><p>Then <code>x</code>.<br>Done.</p>",
            "Try this:\n\n```\nif a < b:\n    go()\n```\n\nThen `x`.\nDone.",
        ),
    ),
    Step.HTML_ENTITIES: (
        ("It is 5 &lt; 6, so it goes&hellip; on &amp;\nso forth &#8212;", "It is 5 < 6, so it goes… on &\nso forth —"),
        ("AT&amp;T said &quot;no&quot; &#8211; twice", 'AT&T said "no" – twice'),
        ("Fish &amp;amp; chips, caf&eacute;&nbsp;au lait", "Fish & chips, café au lait"),
    ),
    Step.INVISIBLE_CHARACTERS: (
        ("zero\u200bwidth and join\u2060er, \ufeffmark", "zerowidth and joiner, mark"),
        ("left\u200e to \u202dright\u202c, a\u200db", "left to right, ab"),
        ("hyphen\u00adation", "hyphenation"),
    ),
    Step.RUNAWAY_SPACES: (
        (
            "The columns of   the paper were      joined by blanks here.",
            "The columns of the paper were joined by blanks here.",
        ),
        ("One paragraph.\n\n\n\n\nAnother paragraph.", "One paragraph.\n\nAnother paragraph."),
    ),
    Step.TRAILING_BLANKS: (
        ("\n \nOne line. \nAnother.\t\n\n\t\n", "One line.\nAnother.\n"),
        ("What is it? ", "What is it?"),
    ),
    Step.EMPTY_TEXTS: (("\u3164 \u2800", ""),),
}
CASES = [(step, damaged, mended) for step, cases in DAMAGE.items() for damaged, mended in cases]


def test_the_names_of_the_steps_are_those_of_the_spec() -> None:
    filters = {"languages", "min_characters", "max_characters"}
    assert {field_of(step) for step in Step if step} | filters == set(Cleaning.model_fields)


def test_repairs_are_on_and_rewrites_are_off() -> None:
    assert {step for step, _ in REPAIRS._mends} == set(DAMAGE)


@pytest.mark.parametrize(("step", "damaged", "mended"), CASES)
def test_a_repair_mends_its_damage_and_says_so(step: Step, damaged: str, mended: str) -> None:
    text, done = REPAIRS.text(damaged)
    assert done == step
    assert text == mended


@pytest.mark.parametrize(("step", "damaged", "mended"), CASES)
def test_a_repair_that_is_switched_off_leaves_its_damage(step: Step, damaged: str, mended: str) -> None:
    others = Cleaner(Cleaning(**{field_of(step): False}))
    assert step not in others.text(damaged)[1]


@pytest.mark.parametrize(("step", "damaged", "mended"), CASES)
def test_a_repaired_text_is_clean(step: Step, damaged: str, mended: str) -> None:
    once, _ = REPAIRS.text(damaged)
    assert REPAIRS.text(once) == (once, Step.NONE)


@pytest.mark.parametrize("text", CLEAN_TEXTS.values(), ids=CLEAN_TEXTS)
def test_clean_text_of_any_kind_comes_out_byte_for_byte(text: str) -> None:
    assert REPAIRS.text(text) == (text, Step.NONE)


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_clean_text_of_any_script_comes_out_byte_for_byte(text: str) -> None:
    for part in (text, f"{text}\n\n{text}\n", text[: len(text) // 2].rstrip()):
        assert REPAIRS.text(part) == (part, Step.NONE)


def test_the_whole_standard_library_comes_out_byte_for_byte() -> None:
    """But for the files in it that are test data for tools which must bear such damage."""
    changed = {Path(name).name for name, source in standard_library() if REPAIRS.text(source)[1]}
    assert changed <= {"bom.py", "crlf.py", "bad_coding2.py", "coding20731.py"}


def test_diffs_come_out_byte_for_byte() -> None:
    assert [text for text in diffs() if REPAIRS.text(text)[1]] == []


def test_html_source_is_left_alone_and_so_is_a_row_about_it() -> None:
    markup = "<p>Hello to <b>all</b> of you</p>"
    asked = (Message("user", "Write a paragraph in HTML."), Message("assistant", markup))
    assert REPAIRS.messages(asked) == (asked, Step.NONE)
    shown = (Message("user", "Why do I see Ã©? What is its encoding?"), Message("assistant", "Ã© is é, read twice."))
    assert REPAIRS.messages(shown) == (shown, Step.NONE)


def test_an_answer_in_html_stays_where_the_question_is_plain_and_both_are_mended_where_both_are_rich_text() -> None:
    asked = (Message("user", "Greet my visitors."), Message("assistant", "<h1>Welcome</h1>\n<p>Look around here.</p>"))
    assert REPAIRS.messages(asked) == (asked, Step.NONE)
    exported = (Message("user", "<p>How do I stop?</p>"), Message("assistant", "<p>You <b>wait</b> a while.</p>"))
    assert REPAIRS.messages(exported) == (
        (Message("user", "<p>How do I stop?</p>"[3:-4]), Message("assistant", "You **wait** a while.")),
        Step.HTML,
    )


@pytest.mark.parametrize(
    ("markup", "markdown"),
    [
        ("<p>It is 10<sup>6</sup> of H<sub>2</sub>O here</p>", "It is 10<sup>6</sup> of H<sub>2</sub>O here"),
        (
            '<p>Look at this: <img src="https://a.org/b.png" alt="a cat"></p>',
            "Look at this: ![a cat](https://a.org/b.png)",
        ),
        (
            '<ol start="3"><li>three<ul><li>a</li></ul></li><li>four</li></ol><p>and so on</p>',
            "3. three\n\n   - a\n\n4. four\n\nand so on",
        ),
    ],
)
def test_nothing_that_html_says_is_lost_in_markdown(markup: str, markdown: str) -> None:
    assert REPAIRS.text(markup) == (markdown, Step.HTML)
    assert REPAIRS.text(markdown) == (markdown, Step.NONE)


@pytest.mark.parametrize(
    "markup",
    [
        "<blockquote><p>Who said that?</p></blockquote><p>It was me</p>",
        "<p>Hello {{ name }}, welcome to us</p>",
        "<p>{% if x %}some more words{% endif %}</p>",
        "<p>Hello ${name}, and welcome to us</p>",
    ],
)
def test_html_that_markdown_cannot_say_and_templates_stay(markup: str) -> None:
    assert REPAIRS.text(markup) == (markup, Step.NONE)


def test_gaps_that_are_to_be_filled_stay() -> None:
    row = (
        Message("user", "Fill in the verb: The old cat      on the mat while the dog was asleep."),
        Message("assistant", "sat"),
    )
    assert REPAIRS.messages(row) == (row, Step.NONE)


def test_an_empty_system_message_is_left_out() -> None:
    row = (Message("system", " \n"), Message("user", "a"), Message("assistant", "b"))
    assert REPAIRS.messages(row) == (row[1:], Step.EMPTY_TEXTS)


def test_all_texts_of_a_row_are_cleaned_and_a_clean_row_is_the_same_object() -> None:
    clean = (Message("user", "a"), Message("assistant", "b"))
    assert REPAIRS.messages(clean)[0] is clean
    dirty = (Message("user", "a\r\n"), Message("assistant", "b\x00"))
    assert REPAIRS.messages(dirty) == (
        (Message("user", "a\n"), Message("assistant", "b")),
        Step.LINE_ENDINGS | Step.CONTROL_CHARACTERS,
    )


def cleaner_with(**switches: Any) -> Cleaner:
    """Of these steps alone."""
    off = {name: False for name, field in Cleaning.model_fields.items() if field.default is True}
    return Cleaner(Cleaning(**{**off, **switches}))


KEY = "AKIAIOSFODNN7EXAMPLE"
IBAN = "DE89 3704 0044 0532 0130 00"
REWRITES = {
    Step.UNICODE_COMPOSITION: ({"unicode_composition": True}, "cafe\u0301", "café"),
    Step.WHITESPACE: ({"whitespace": True}, "  a \u3000 b\t\tc  \n \n\n\n d ", "a b c\n\nd"),
    Step.TAGS: (
        {"tags": True},
        "<div class='x'><p>1 &lt; 2 <b>and</b></p><script>x < 1</script><br/>3</div> if a < b",
        "1 < 2 and\n\n3\n if a < b",
    ),
    Step.BOILERPLATE_LINES: (
        {"boilerplate_lines": ("Share this", "All rights reserved.")},
        "Text\n  Share this \nShare this now\nAll rights reserved.",
        "Text\nShare this now",
    ),
    Step.PERSONAL_DATA: (
        {"personal_data": tuple(PersonalData)},
        f"Ann <ann.b+c@mail.example.org>, +44 20 7946 0958, {IBAN}, 4111-1111-1111-1111, {KEY}",
        "Ann <[EMAIL]>, [PHONE], [IBAN], [CARD], [KEY]",
    ),
}


@pytest.mark.parametrize("step", REWRITES)
def test_a_rewrite_does_what_it_says_once(step: Step) -> None:
    switches, before, after = REWRITES[step]
    cleaner = cleaner_with(**switches)
    assert cleaner.text(before) == (after, step)
    assert cleaner.text(after) == (after, Step.NONE)
    assert cleaner.text("Nothing to see.\n\nMove on.") == ("Nothing to see.\n\nMove on.", Step.NONE)


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112 has no valid check digit",
        "DE89 3704 0044 0532 0130 01 neither",
        "0000 0000 0000 0000, 2026-11-23 12:00:00.123456, 3.14159265358979323846",
        "020 7946 0958 may be a number anywhere, 1 + 1 = 2, +1",
        "mail me at home, @ann, a@b, decorators like @app.route",
        "sk-learn, AKIA, ghp_short, MASKED",
    ],
)
def test_what_only_looks_like_personal_data_stays(text: str) -> None:
    assert cleaner_with(personal_data=tuple(PersonalData)).text(text) == (text, Step.NONE)


def test_a_private_key_is_masked_as_a_whole() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-128-CBC,1F\n\nMIIB+/=\n-----END RSA PRIVATE KEY-----"
    assert cleaner_with(personal_data=(PersonalData.KEY,)).text(f"Use\n{key}\nnow")[0] == "Use\n[KEY]\nnow"


def test_only_the_kinds_that_are_asked_for_are_masked() -> None:
    text = "ann@example.org, +44 20 7946 0958"
    assert cleaner_with(personal_data=(PersonalData.EMAIL,)).text(text)[0] == "[EMAIL], +44 20 7946 0958"


ENGLISH = "The quick brown fox jumps over the lazy dog because it was asked to do so by everybody in the village."
FRENCH = "Le renard brun saute par-dessus le chien paresseux parce que tout le monde au village le lui a demandé hier."


@pytest.mark.parametrize(
    ("text", "cleaning", "reason"),
    [
        ("short", Cleaning(min_characters=6), "5 characters, spec.data.cleaning.minCharacters is 6"),
        ("long", Cleaning(max_characters=3), "4 characters, spec.data.cleaning.maxCharacters is 3"),
        (FRENCH, Cleaning(languages=("en", "de")), "in 'fr', spec.data.cleaning.languages has en, de"),
        (ENGLISH, Cleaning(languages=("en", "de")), None),
        ("Bonjour !", Cleaning(languages=("en",)), None),
        (FRENCH, Cleaning(), None),
    ],
)
def test_a_filter_names_the_field_that_leaves_a_row_out(text: str, cleaning: Cleaning, reason: str | None) -> None:
    assert Cleaner(cleaning).refusal((Message("text", text),)) == reason


PIECES = (
    *("a", "word", " ", "  ", "    ", "\n", "\t", "\r", "\x00", "\x0c", "\x1b[0m", "\ufeff", "é", "Ã©", "ÃƒÂ©", "â€™"),
    *("&amp;", "amp;", "lt;", "&#38;", "<p>", "</p>", "<b>", "</b>", "<br>", "\u200b", "\u200d", "\u202e"),
    *("ש", "👩", "`", "|", "{"),
)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once, _ = REPAIRS.text(text)
    assert REPAIRS.text(once) == (once, Step.NONE)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_rewriting_twice_changes_nothing_more(text: str) -> None:
    everything = Cleaner(
        Cleaning(
            tags=True,
            whitespace=True,
            unicode_composition=True,
            boilerplate_lines=("a", "word"),
            personal_data=tuple(PersonalData),
        )
    )
    once, _ = everything.text(text)
    assert everything.text(once) == (once, Step.NONE)


@given(st.sampled_from(sorted(SCRIPTS)), st.data())
def test_clean_words_of_any_script_in_any_order_come_out_byte_for_byte(script: str, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.sampled_from(SCRIPTS[script].split()), min_size=1, max_size=20))
    separators = data.draw(st.lists(st.sampled_from([" ", "\n", "\n\n"]), min_size=len(words), max_size=len(words)))
    # The first word says which direction, and which script, the others are in.
    first = SCRIPTS[script].split()[0]
    text = " ".join([first, "".join(map("".join, zip(words, separators, strict=True)))]).strip()
    assert REPAIRS.text(text) == (text, Step.NONE)


HOSTILE = (
    *(" ", " x", "\n", "\n ", "\t", "&amp;", "&", "&#38;", "<p>", "<a", "<p a", "<p a=", "<!--", "<script>", "</p"),
    *("\x1b]", "\x1b[", "Ã", "Ã©", "\u200b", "=", ";", "`&", "a.", "a@", "a@b.", "4", "+1 ", "DE89 ", "AAAA "),
    "-----BEGIN PRIVATE KEY-----",
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_long_run_of_anything_ends_soon(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    for cleaner in (REPAIRS, cleaner_with(tags=True, whitespace=True, personal_data=tuple(PersonalData))):
        once, _ = cleaner.text(f"{text}x")
        assert cleaner.text(once) == (once, Step.NONE)
