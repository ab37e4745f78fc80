"""Views in one sequence."""

from __future__ import annotations

import pytest

from limbeck.errors import InputError
from limbeck.indexes.fm_index import IdentifierIndex, View, join_views

TITLE, BODY, QUESTION = View("title", 100, 101), View("body", 102, 103), View("pseudo-query", 104, 105)


def test_each_view_stands_between_its_markers():
    joined = join_views([(TITLE, [7, 8]), (BODY, [9]), (QUESTION, []), (QUESTION, [5])])
    assert joined.tolist() == [100, 7, 8, 101, 102, 9, 103, 104, 105, 104, 5, 105]
    assert str(joined.dtype) == "uint32"
    assert join_views([]).tolist() == []


def test_a_title_is_generated_from_marker_to_marker(tmp_path):
    passages = [join_views([(TITLE, title), (BODY, [1, 2])]) for title in ([1, 2], [1, 3])]
    index = IdentifierIndex.build(tmp_path / "index", passages)
    starts = index.find([[TITLE.start, 1], [1]])
    found = index.continuations(starts)
    assert found.tokens[: found.offsets[1]].tolist() == [2, 3]
    ends = index.extend(index.find([[TITLE.start, 1, 2]]), [TITLE.end])
    assert index.counts(ends).tolist() == [1]


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (
            [(TITLE, [1, 103]), (BODY, [2])],
            "the text of the view 'title' contains token 103, a marker of 'body'",
        ),
        ([(TITLE, [1]), (View("body", 101, 102), [2])], "the views 'title' and 'body' share the marker 101"),
        ([(TITLE, [-1])], "the view 'title' has the token id -1"),
        ([(TITLE, [1.5])], "the view 'title' has a token id that is not an integer"),
    ],
)
def test_views_that_cannot_be_told_apart_are_refused(views, message):
    with pytest.raises(InputError, match=message):
        join_views(views)


@pytest.mark.parametrize(("start", "end"), [(1, 1), (-1, 2), (1, 2**32)])
def test_wrong_markers_are_refused(start, end):
    with pytest.raises(InputError, match=r"marker|same token id"):
        View("title", start, end)
