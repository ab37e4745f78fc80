"""The index as a whole: any sequence of changes equals the survivors, whatever is asked."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.indexes.fm_index import IdentifierIndex, Ragged
from limbeck.indexes.fm_index.locking import locked
from limbeck.indexes.fm_index.writer import MERGE_LOCK
from tests.indexes.fm_index.brute_index import check_index

VOCABULARY = 6
PREFIXES = [
    (), (0,), (1,), (2,), (5,), (7,), (0, 1), (1, 1), (2, 0), (1, 2, 3), (0, 0, 0), (3, 4, 5, 0), (1,) * 5,
]  # fmt: skip


def score_rows(seed):
    """Two rows with ties, -inf and NaN; the last token id is beyond their width now and then."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(-3, 3, (2, VOCABULARY - seed % 2)).astype(np.float32)
    scores[generator.random(scores.shape) < 0.2] = -np.inf
    scores[generator.random(scores.shape) < 0.1] = np.nan
    return scores


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


token = st.integers(0, VOCABULARY - 1)
passages = st.lists(st.lists(token, max_size=12).map(tuple), max_size=6)
change = st.one_of(
    st.tuples(st.just("add"), passages),
    st.tuples(st.just("delete"), st.lists(st.integers(0, 10**6), min_size=1, max_size=4)),
    st.tuples(st.just("merge"), st.booleans()),
    st.tuples(st.just("reopen"), st.none()),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(passages, st.lists(change, max_size=7), st.sampled_from([1, 9, 40, 2**31]), st.integers(0, 1000))
def test_any_sequence_of_changes_equals_the_survivors(first, changes, part_tokens, seed):
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "index"
        index = IdentifierIndex.build(path, first, part_tokens=part_tokens)
        live = dict(enumerate(first))
        following = len(first)
        check_index(index, live, PREFIXES, scores=score_rows(seed))
        for kind, value in changes:
            if kind == "add":
                assert index.add(value) == range(following, following + len(value))
                live |= dict(enumerate(value, following))
                following += len(value)
            elif kind == "delete" and live:
                gone = {sorted(live)[one % len(live)] for one in value}
                index.delete(gone)
                live = {number: one for number, one in live.items() if number not in gone}
            elif kind == "merge":
                index.merge(everything=value)
                if value and part_tokens == 2**31:
                    assert index.part_count == min(1, len(live))
            elif kind == "reopen":
                index = IdentifierIndex.open(path, verify=True)
            check_index(index, live, PREFIXES, scores=score_rows(seed))
        check_index(IdentifierIndex.open(path), live, PREFIXES, scores=score_rows(seed))


def test_numbers_are_never_used_again(folder):
    index = IdentifierIndex.build(folder, [[1], [2]])
    index.delete([1])
    index.merge()
    assert index.add([[3]]) == range(2, 3)
    index.delete([0, 2])
    index.merge()
    assert index.part_count == 0
    assert index.add([[4], []]) == range(3, 5)
    assert index.numbers.tolist() == [3, 4]


def test_a_snapshot_stays_while_others_change(folder):
    index = IdentifierIndex.build(folder, [[1, 2], [1, 3]])
    reader = index.snapshot()
    other = IdentifierIndex.open(folder)
    before = reader.find([[1]])
    index.delete([0])
    index.add([[1, 4]])
    index.merge()
    assert reader.continuations(before).tokens.tolist() == [2, 3]
    assert other.continuations(other.find([[1]])).tokens.tolist() == [2, 3]
    assert other.refresh()
    assert not other.refresh()
    assert other.continuations(other.find([[1]])).tokens.tolist() == [3, 4]
    with pytest.raises(InputError, match="belong to another state"):
        other.counts(before)


def test_intervals_serve_another_object_in_the_same_state(folder):
    index = IdentifierIndex.build(folder, [[1, 2]])
    assert IdentifierIndex.open(folder).counts(index.find([[1]])).tolist() == [1]


def test_only_what_the_state_needs_stays_in_the_folder(folder):
    index = IdentifierIndex.build(folder, [[1, 2], [1, 3]])
    for number in range(3):
        index.add([[number]])
    index.delete([0])
    index.delete([1])
    index.merge()
    names = sorted(path.name for path in folder.iterdir())
    part = next(name for name in names if name.startswith("merged-"))
    assert names == sorted([".merge-lock", ".write-lock", f".{part}.sound", "manifest.json", part])


def test_leftovers_of_killed_writers_are_removed_by_the_next(folder):
    index = IdentifierIndex.build(folder, [[1, 2]])
    left = {"part-0000000099-0", ".part-0000000099-0.host-1-0.partial", "merged-0000000001-0", "deletions-7"}
    for name in left:
        (folder / name).write_bytes(b"half")
    (folder / "README").write_text("the user's own")
    index.add([[3]])
    names = {path.name for path in folder.iterdir()}
    assert "README" in names
    assert not names & left
    assert index.passage_count == 2


def test_the_cheap_merge_keeps_few_parts_and_leaves_large_ones(folder):
    index = IdentifierIndex.build(folder, [[1, 2, 3]] * 200)
    large = {path.name for path in folder.glob("part-*")}
    for _ in range(40):
        index.add([[4, 5, 6]])
        index.merge(everything=False)
        assert index.part_count <= 7
    assert large <= {path.name for path in folder.glob("part-*")}
    index.delete(range(100))
    assert index.merge(everything=False)  # more than a quarter of the large part is deleted
    assert not large & {path.name for path in folder.iterdir()}
    assert not index.merge(everything=False)


def test_the_cheap_merge_waits_for_no_other(folder):
    index = IdentifierIndex.build(folder, [[1, 2]], wait_s=0.0)
    index.add([[3]])
    with locked(folder / MERGE_LOCK, wait_s=0.0):
        assert not index.merge(everything=False)
        with pytest.raises(InputError, match="another process or thread has been changing this index"):
            index.merge()
    assert index.part_count == 2
    assert index.merge(everything=False)
    assert index.part_count == 1


def test_part_tokens_bounds_the_parts(folder):
    index = IdentifierIndex.build(folder, [[1] * 4] * 10, part_tokens=10)
    assert index.part_count == 5
    index.delete(range(0, 10, 2))
    index.merge()
    assert index.part_count == 3
    assert index.numbers.tolist() == [1, 3, 5, 7, 9]


def test_a_merge_keeps_what_is_deleted_and_added_while_it_works(folder, monkeypatch):
    from limbeck.indexes.fm_index import writer  # noqa: PLC0415

    index = IdentifierIndex.build(folder, [[1, 2], [1, 3], [1, 4]])
    index.add([[1, 5]])
    original = writer._write_merged

    def meanwhile(*arguments):
        monkeypatch.undo()
        entry = original(*arguments)
        other = IdentifierIndex.open(folder)
        other.delete([1, 3])
        other.add([[1, 6]])
        return entry

    monkeypatch.setattr(writer, "_write_merged", meanwhile)
    assert index.merge()
    assert index.part_count == 1
    assert index.numbers.tolist() == [0, 2, 4]
    assert index.continuations(index.find([[1]])).tokens.tolist() == [2, 4, 6]


def test_a_background_merge_reports_its_end_and_its_error(folder):
    index = IdentifierIndex.build(folder, [[1, 2]])
    index.add([[1]])
    assert index.merge_in_background().result(60)
    assert index.part_count == 2
    assert index.refresh()
    assert index.part_count == 1
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="no such folder"):
        index.merge_in_background().result(60)


@pytest.mark.parametrize("numbers", [[5], [0, 5], [-1], [1]])
def test_deleting_what_is_not_there_deletes_nothing(folder, numbers):
    index = IdentifierIndex.build(folder, [[1], [2]])
    index.delete([1])
    with pytest.raises(InputError, match=r"passage 1 is deleted|there is no passage"):
        index.delete(numbers)
    assert IdentifierIndex.open(folder).numbers.tolist() == [0]
    with pytest.raises(InputError, match=r"is deleted|there is no passage"):
        index.extract(numbers)


def test_a_wrong_token_adds_nothing(folder):
    index = IdentifierIndex.build(folder, [[1]])
    for wrong in ([[2], [2**32]], [[2], [-1]], [[1.5]], [[[1]]], [["a"]]):
        with pytest.raises(InputError, match=r"passage [123] "):
            index.add(wrong)
    assert index.numbers.tolist() == [0]
    assert not list(folder.glob("*partial*"))
    with pytest.raises(InputError, match="passage 1 "):
        IdentifierIndex.build(folder.parent / "other", [[1], [-1]])
    assert [path.name for path in folder.parent.iterdir()] == ["index"]


def test_building_over_something_is_refused(folder):
    IdentifierIndex.build(folder, [[1]])
    with pytest.raises(InputError, match="the folder is not empty"):
        IdentifierIndex.build(folder, [[1]])
    empty = folder.parent / "empty"
    empty.mkdir()
    assert IdentifierIndex.build(empty, []).passage_count == 0


def test_a_second_writer_waits_or_is_told(folder):
    index = IdentifierIndex.build(folder, [[1]], wait_s=0.05)

    def passages():
        with pytest.raises(InputError, match="another process or thread has been changing this index"):
            index.delete([0])
        yield [2]

    assert index.add(passages()) == range(1, 2)


def test_wrong_arguments_are_refused(folder):
    index = IdentifierIndex.build(folder, [[1, 2]])
    with pytest.raises(InputError, match="the tokens have the shape"):
        index.extend(index.root(2), [1])
    with pytest.raises(InputError, match="part_tokens is 0"):
        IdentifierIndex.build(folder.parent / "other", [], part_tokens=0)


def test_large_token_ids_and_cjk_like_vocabularies(folder):
    generator = np.random.default_rng(5)
    texts = [tuple((2**32 - 1 - generator.integers(0, 70_000, 30_000)).tolist()) for _ in range(2)]
    texts.append((2**32 - 1, 0, 2**32 - 1))
    index = IdentifierIndex.build(folder, [np.array(text, np.uint32) for text in texts], part_tokens=40_000)
    assert [tuple(one.tolist()) for one in index.extract([2, 0])] == [texts[2], texts[0]]
    places = index.locate(index.find([texts[1][100:103], (2**32 - 1, 0)]))
    assert (1, 100) in zip(places.passages.tolist(), places.positions.tolist(), strict=True)
    assert places.passages[-1] == 2
    found = index.aggregate([texts[1][100:103]], [2.0], [0, 1])
    assert found.passages.tolist() == [1]


def test_an_error_in_the_callers_passages_leaves_nothing_behind(folder):
    index = IdentifierIndex.build(folder, [[1]], part_tokens=10)
    index.add([])
    before = sorted(path.name for path in folder.iterdir())

    def passages():
        for _ in range(20):
            yield [1, 2, 3]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        index.add(passages())
    assert sorted(path.name for path in folder.iterdir()) == before
    assert index.add([[2]]) == range(1, 2)


def test_nothing_in_the_index(folder):
    index = IdentifierIndex.build(folder, [])
    root = index.root(2)
    assert index.continuations(root).offsets.tolist() == [0, 0, 0]
    assert (index.top_k(np.zeros((2, 5), np.float32), root, 3).tokens == -1).all()
    assert index.locate(root).offsets.tolist() == [0, 0, 0]
    assert index.aggregate([[1]], [1.0], [0, 1]).offsets.tolist() == [0, 0]
    assert not index.merge()
    index.delete([])
    assert index.add([[], []]) == range(2)
    index.delete([0])
    assert index.merge()
    assert index.numbers.tolist() == [1]
    assert index.counts(index.root()).tolist() == [0]


@pytest.mark.parametrize(
    "ask",
    [
        lambda index: index.extend(index.root(), [1.7]),
        lambda index: index.extend(index.root(), [2**70]),
        lambda index: index.extract([0.5]),
        lambda index: index.extract([True]),
        lambda index: index.extract(np.array([2**63], np.uint64)),
        lambda index: index.delete([0.5]),
        lambda index: index.delete(np.array([2**64 - 1], np.uint64)),
        lambda index: index.find([[1], 5]),
        lambda index: index.root(-1),
        lambda index: index.top_k([[0.0]], index.root(), 1),
        lambda index: index.top_k(np.zeros((1, 5), np.float32), index.root(), 1.5),
        lambda index: index.top_k(np.zeros((1, 5), np.float32), index.root(), 1, rows=np.array([[0]])),
        lambda index: index.top_k(np.zeros((1, 5), np.float32), index.root(), 1, rows=np.array([0.5])),
        lambda index: index.find(Ragged(np.array([0, 5]), np.array([1], np.uint32))),
        lambda index: index.find(Ragged(np.array([0, 2, 1]), np.array([1], np.uint32))),
    ],
)
def test_what_makes_no_sense_is_refused(folder, ask):
    index = IdentifierIndex.build(folder, [[1, 2]])
    with pytest.raises(InputError):
        ask(index)
    assert index.numbers.tolist() == [0]


def test_numbers_that_nobody_has_are_not_in_it(folder):
    index = IdentifierIndex.build(folder, [[1, 2]])
    assert [number in index for number in (0, 1, -1, 2**70)] == [True, False, False, False]


def test_scores_with_any_strides(folder):
    index = IdentifierIndex.build(folder, [[1, 2, 3], [7, 5]])
    wide = np.random.default_rng(0).standard_normal((6, 16)).astype(np.float32)
    for scores in (wide[::-1], wide[:, ::-1], wide[::2, ::2], wide.T[:6], np.broadcast_to(wide[0], (4, 16))):
        rows = index.root(len(scores))
        plain = index.top_k(np.ascontiguousarray(scores), rows, 3)
        strided = index.top_k(scores, rows, 3)
        np.testing.assert_array_equal(strided.tokens, plain.tokens)
        np.testing.assert_array_equal(strided.scores, plain.scores)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX")
def test_a_folder_that_cannot_be_written_is_read_and_not_changed(folder, monkeypatch):
    IdentifierIndex.build(folder, [[1, 2]])
    opened = Path.open

    def refuse(self, mode="r", *arguments, **options):
        if "w" in mode:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)  # permissions do not bind the superuser
    index = IdentifierIndex.open(folder)
    assert index.counts(index.find([[1]])).tolist() == [1]
    with pytest.raises(InputError, match=r"cannot be changed \(Permission denied\)"):
        index.add([[3]])
