from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.evaluation.pair_scores import ScoredPairs, read_pair_scores, write_pair_scores

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    dev=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1),
    test=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1),
)
def test_numbers_come_back_as_they_were(tmp_path_factory, dev, test):
    path = tmp_path_factory.mktemp("scores") / "teacher.tsv"
    splits = {"dev": ScoredPairs(*zip(*dev, strict=True)), "test": ScoredPairs(*zip(*test, strict=True))}
    write_pair_scores(path, splits)
    found = read_pair_scores(path)
    assert list(found) == ["dev", "test"]
    for split in ("dev", "test"):
        np.testing.assert_array_equal(found[split].labels, splits[split].labels)
        np.testing.assert_array_equal(found[split].scores, splits[split].scores)


def test_the_file_is_plain(tmp_path):
    write_pair_scores(tmp_path / "a.tsv", {"test": ScoredPairs([1, 0], np.float32([0.1, 2]))})
    assert (tmp_path / "a.tsv").read_text() == (
        "split\trow\tlabel\tscore\ntest\t0\t1.0\t0.10000000149011612\ntest\t1\t0.0\t2.0\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.tsv"]


@pytest.mark.parametrize(
    ("lines", "number", "problem"),
    [
        (["split\trow\tscore"], 1, "no scores of pairs.*split, row, label, score"),
        (["train\t0\t1\t2"], 2, "the split is 'train'.*dev or test"),
        (["dev\t0\t1\t2", "dev\t2\t1\t2"], 3, "the row is '2'.*1, the next one of dev"),
        (["dev\t0\t1\t2", "test\t1\t1\t2"], 3, "the row is '1'.*0, the next one of test"),
        (["dev\t0\t1\tnan"], 2, "the score is nan"),
        (["dev\t0\tgood\t1"], 2, "the label is 'good'"),
        (["dev\t0\t1"], 2, "3 columns"),
    ],
)
def test_bad_files_are_refused_with_their_line(tmp_path, lines, number, problem):
    path = tmp_path / "bad.tsv"
    heading = [] if lines[0].startswith("split") else ["split\trow\tlabel\tscore"]
    path.write_text("\n".join([*heading, *lines]) + "\n")
    with pytest.raises(InputError, match=rf"bad\.tsv:{number}: .*{problem}"):
        read_pair_scores(path)


def test_a_file_without_pairs_is_refused(tmp_path):
    (tmp_path / "empty.tsv").write_text("split\trow\tlabel\tscore\n")
    with pytest.raises(InputError, match="nothing but a header"):
        read_pair_scores(tmp_path / "empty.tsv")


@pytest.mark.parametrize(
    ("labels", "scores", "problem"),
    [
        ([1.0], [math.nan], "the score of pair 1 is nan"),
        ([1.0, math.inf], [1.0, 1.0], "the label of pair 2 is inf"),
        ([1.0, 2.0], [1.0], "1 scores for 2 labels"),
        ([], [], "labels have the shape"),
    ],
)
def test_bad_numbers_are_refused(labels, scores, problem):
    with pytest.raises(InputError, match=problem):
        ScoredPairs(labels, scores)


def test_another_split_is_not_written(tmp_path):
    with pytest.raises(InputError, match="no split 'train'"):
        write_pair_scores(tmp_path / "a.tsv", {"train": ScoredPairs([1], [1])})
    assert not list(tmp_path.iterdir())
