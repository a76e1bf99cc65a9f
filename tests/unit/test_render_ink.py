"""Inked text: cleaning, fitting, wrapping, and what of a line changed."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.render.ascii import TABLE, wants_ascii
from tui.render.ink import (
    Ink,
    Line,
    Under,
    changed_runs,
    clean,
    cut,
    fit,
    line,
    spans_of,
    width_of,
    wrap,
)

HOSTILE = "[red]x[/]\x1b[2J\x07\x9b31m\u202egnp\u200b\ud800"
SPANS = st.lists(
    st.tuples(
        st.text(
            alphabet=st.characters(exclude_categories=("C", "Z", "M")) | st.just(" "), max_size=20
        ),
        st.sampled_from(Ink),
    ),
    max_size=6,
)


def test_a_terminal_is_given_nothing_to_obey() -> None:
    assert clean(HOSTILE) == "[red]x[/][2J31mgnp"
    assert clean("a\tb\r\nc") == "a b  c"


@given(st.text())
def test_cleaned_text_is_printable(text: str) -> None:
    # Odd blanks and separators are not controls, and a terminal shows them as blanks.
    assert all(char.isprintable() or char.isspace() for char in clean(text))
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in clean(text))


def test_clean_text_is_not_touched() -> None:
    name = "vm-ü-数据 ✓"
    assert clean(name) is name


@given(SPANS, st.integers(0, 60), st.booleans())
def test_fitted_spans_have_the_width_asked_for(
    spans: list[tuple[str, Ink]], width: int, right: bool
) -> None:
    assert width_of(fit(spans_of(*spans), width, right)) == width


def test_what_does_not_fit_ends_in_an_ellipsis() -> None:
    assert cut(spans_of("a-rather-long-name"), 8) == (("a-rathe…", Ink.TEXT),)
    assert cut(spans_of("short"), 8) == (("short", Ink.TEXT),)


def test_a_wide_character_is_not_halved() -> None:
    assert width_of(fit(spans_of("数据库"), 4)) == 4


@given(SPANS, st.integers(12, 60))
def test_wrapped_rows_fit(spans: list[tuple[str, Ink]], width: int) -> None:
    assert all(width_of(row) <= width for row in wrap(spans_of(*spans), width, indent=3))


def test_words_are_wrapped_whole_and_indented() -> None:
    rows = wrap(spans_of("one two three four"), 9, indent=2)
    assert ["".join(text for text, _ in row) for row in rows] == ["one two", "  three", "  four"]


def test_only_what_changed_is_a_run() -> None:
    old = line("cpu ", ("10%", Ink.OK), " " * 30, "mem 5")
    new = line("cpu ", ("11%", Ink.OK), " " * 30, "mem 6")
    assert changed_runs(old, new, 60) == [(5, 1), (41, 1)]
    assert changed_runs(old, old, 60) == []


def test_near_runs_become_one() -> None:
    assert changed_runs(line("a....b"), line("x....y"), 20) == [(0, 6)]


def test_a_changed_colour_is_a_change() -> None:
    assert changed_runs(line(("x", Ink.OK)), line(("x", Ink.BAD)), 5) == [(0, 1)]


def test_a_cursor_changes_the_whole_row() -> None:
    assert changed_runs(line("x"), line("x", under=Under.CURSOR), 7) == [(0, 7)]
    assert changed_runs(None, Line(), 7) == [(0, 7)]


@given(SPANS, SPANS)
def test_every_difference_is_in_a_run(a: list[tuple[str, Ink]], b: list[tuple[str, Ink]]) -> None:
    width = 130
    old, new = line(*a), line(*b)
    inside = {x for start, n in changed_runs(old, new, width) for x in range(start, start + n)}
    if old.text.isascii() and new.text.isascii():
        pairs = zip(old.text.ljust(width), new.text.ljust(width), strict=True)
        assert {x for x, (one, two) in enumerate(pairs) if one != two} <= inside


def test_every_glyph_has_a_plain_form_as_wide() -> None:
    for code, plain in TABLE.items():
        assert plain.isascii()
        assert len(plain) == cell_len(chr(code)) == 1


def test_terminals_without_glyphs_are_known() -> None:
    assert wants_ascii({"TERM": "linux", "LANG": "en_US.UTF-8"})
    assert wants_ascii({"TERM": "xterm", "LANG": "C"})
    assert wants_ascii({"TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "POSIX"})
    assert not wants_ascii({"TERM": "xterm-256color", "LANG": "C.UTF-8"})
