"""The beginning of a text in a few lines: folded, cut, marked."""

from __future__ import annotations

from rich.cells import cell_len

from limbeck.cli.snippets import MARK, first_lines


def plain(text: str, width: int) -> list[str]:
    return [line.plain for line in first_lines(text, width)]


def marked(text: str, width: int, *marks: tuple[int, int]) -> list[list[str]]:
    """The marked parts of each line."""
    lines = first_lines(text, width, marks)
    assert [line.plain for line in lines] == plain(text, width)
    assert all(span.style == MARK for line in lines for span in line.spans)
    return [[line.plain[span.start : span.end] for span in line.spans] for line in lines]


def test_lines_fold_white_space_and_end_with_dots() -> None:
    assert plain("one  two\n\nthree", 20) == ["one two three"]
    assert plain("aaaa bbbb cccc dddd eeee", 10) == ["aaaa bbbb", "cccc …"]
    assert plain(" \n one ", 10) == ["one"]
    assert plain(" \n", 10) == []


def test_lines_stay_within_the_width() -> None:
    for text in ("word " * 50, "中文" * 60, "x" * 300, "日本 " * 40):
        lines = plain(text, 20)
        assert len(lines) == 2
        assert lines[-1].endswith(" …")
        assert all(cell_len(line) <= 20 for line in lines)


def test_marks_follow_their_characters() -> None:
    text = "one  two\n\nthree"
    assert marked(text, 20, (5, 8)) == [["two"]]
    assert marked(text, 20, (0, 8), (10, 15)) == [["one two", "three"]]
    assert marked(text, 20, (12, 12)) == [[]]
    assert marked("日本 東京 大阪", 20, (3, 5)) == [["東京"]]


def test_marks_go_over_lines_and_not_beyond_what_is_shown() -> None:
    text = "aaaa bbbb cccc dddd eeee"
    assert marked(text, 10, (5, 14)) == [["bbbb"], ["cccc"]]
    assert marked(text, 10, (5, 24)) == [["bbbb"], ["cccc"]]
    assert marked(text, 10, (15, 24)) == [[], []]
