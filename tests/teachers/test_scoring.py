from __future__ import annotations

import numpy as np
import pytest

from limbeck.data import Passage, Passages, Rankings
from limbeck.errors import InputError
from limbeck.mining import BM25
from limbeck.teachers import (
    BM25Teacher,
    EnsembleTeacher,
    RunFileTeacher,
    ScoreCache,
    Teacher,
    score_pairs,
    score_rankings,
)
from tests.teachers.conftest import CountingTeacher


@pytest.fixture
def cache(tmp_path):
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        yield cache


def test_scores_follow_the_pairs_whatever_the_order(counting, candidates, queries, passages, cache):
    steps = []
    scored = score_rankings(counting, candidates, queries, passages, cache, chunk=5, progress=steps.append)
    assert steps == [5, 5, 2]
    assert scored.source == "counting"
    assert set(scored.pairs()) == set(candidates.pairs())
    for query_id, of_query in scored.to_dict().items():
        for passage_id, score in of_query.items():
            text, content = queries.text(query_id), passages[int(passages.rows([passage_id])[0])].content
            assert score == len(set(text) & set(content))


def test_nothing_is_scored_twice(counting, candidates, queries, passages, cache):
    first = score_rankings(counting, candidates.top(2), queries, passages, cache)
    score_rankings(counting, candidates, queries, passages, cache)
    assert len(counting.asked) == len(set(counting.asked)) == 12
    again = score_rankings(counting, candidates.top(2), queries, passages, cache)
    assert len(counting.asked) == 12
    assert again.to_dict() == first.to_dict()
    assert (cache.hits, cache.misses) == (12, 12)


def test_equal_texts_are_scored_once(counting, tmp_path, queries, cache):
    twins = Passages.write(tmp_path / "t.arrow", [Passage("a", "same"), Passage("b", "same")])
    rankings = Rankings.from_dict({"q1": {"a": 1, "b": 0}}, "bm25")
    scored = score_rankings(counting, rankings, queries, twins, cache).to_dict()
    assert scored["q1"]["a"] == scored["q1"]["b"]
    assert len(counting.asked) == 1
    score_pairs(counting, [("x", "y"), ("x", "y")])
    assert counting.asked[1:] == [("x", "y")]


def test_name_version_and_prompt_keep_scores_apart(counting, candidates, queries, passages, cache):
    score_rankings(counting, candidates, queries, passages, cache)
    for other in (CountingTeacher("other"), CountingTeacher(version="2")):
        score_rankings(other, candidates, queries, passages, cache)
        assert len(other.asked) == 12
    prompted = CountingTeacher()
    prompted.prompt = "does this answer the query?"
    score_rankings(prompted, candidates, queries, passages, cache)
    assert len(prompted.asked) == 12


def test_a_failure_loses_one_chunk(counting, candidates, queries, passages, cache):
    class Failing(CountingTeacher):
        def score(self, pairs):
            if len(self.asked) >= 8:
                raise KeyboardInterrupt
            return super().score(pairs)

    failing = Failing()
    with pytest.raises(KeyboardInterrupt):
        score_rankings(failing, candidates, queries, passages, cache, chunk=4)
    assert len(cache) == 8
    score_rankings(counting, candidates, queries, passages, cache, chunk=4)
    assert len(counting.asked) == 4
    # The chunks after an interruption are those of an undisturbed run, so the batches are too.
    undisturbed = CountingTeacher()
    score_rankings(undisturbed, candidates, queries, passages, chunk=4)
    assert failing.asked + counting.asked == undisturbed.asked


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_names_teacher_and_pair(candidates, queries, passages, cache, bad):
    class Broken(CountingTeacher):
        def score(self, pairs):
            return np.array([bad if passage.startswith("Fish") else 1.0 for _, passage in pairs])

    with pytest.raises(
        InputError, match=r"'broken' gave the score (nan|inf) to the query 'which dog barks'.*'Fish"
    ):
        score_rankings(Broken("broken"), candidates, queries, passages, cache)
    assert len(cache) == 0


def test_scores_of_the_wrong_shape(candidates, queries, passages):
    class Short(CountingTeacher):
        def score(self, pairs):
            return np.zeros(1)

    with pytest.raises(InputError, match=r"shape \(1,\) for 12 pairs"):
        score_rankings(Short(), candidates, queries, passages)


def test_members_of_an_ensemble_are_cached_one_by_one(candidates, queries, passages, cache):
    first, second = CountingTeacher("first"), CountingTeacher("second")
    ensemble = EnsembleTeacher([first, second], [1, 2], [0, 1], [1, 2])
    scored = score_rankings(ensemble, candidates, queries, passages, cache)
    assert len(cache) == 24
    direct = ensemble.score([("which dog barks", "Fish swim in the sea.")])[0]
    assert scored.to_dict()["q1"]["d3"] == direct
    second.asked.clear()
    other = EnsembleTeacher([second], [1], [0], [1])
    score_rankings(other, candidates, queries, passages, cache)
    assert second.asked == []


def test_no_pairs(counting, queries, passages, cache):
    assert len(score_rankings(counting, Rankings.empty(), queries, passages, cache)) == 0


def test_run_file(candidates, queries, passages):
    teacher = RunFileTeacher(candidates, queries, passages)
    assert isinstance(teacher, Teacher)
    assert score_rankings(teacher, candidates, queries, passages).to_dict() == candidates.to_dict()
    part = RunFileTeacher(candidates.top(2), queries, passages)
    assert part.version != teacher.version
    with pytest.raises(InputError, match="no score for query 'q1' and passage 'd1'"):
        score_rankings(part, candidates, queries, passages)
    with pytest.raises(InputError, match="no score for query 'new'"):
        part.score([("new", "text")])


def test_run_file_of_other_data(queries, passages):
    with pytest.raises(InputError, match="'d9' is ranked but does not exist"):
        RunFileTeacher(Rankings.from_dict({"q1": {"d9": 1}}, "run"), queries, passages)


def test_run_file_takes_the_best_of_equal_texts(tmp_path, queries):
    twins = Passages.write(tmp_path / "t.arrow", [Passage("a", "same"), Passage("b", "same")])
    teacher = RunFileTeacher(Rankings.from_dict({"q2": {"a": 1, "b": 3}}, "run"), queries, twins)
    assert teacher.score([("cats", "same")]).tolist() == [3.0]


def test_bm25_teacher_is_a_share_of_what_is_attainable(passages):
    bm25 = BM25.build(passages)
    teacher = BM25Teacher(bm25)
    pairs = [
        ("dog", passages[1].content),
        ("dog", "fish"),
        ("zebra", "zebra"),
        ("dog dog", passages[1].content),
    ]
    found = teacher.score(pairs)
    assert found[0] == pytest.approx(bm25.score("dog", ["d2"])[0] / bm25.attainable("dog"), abs=1e-6)
    assert found[1:3].tolist() == [0, 0]
    assert found[3] == pytest.approx(found[0])  # asking longer does not score higher
    assert 0 < found[0] < 1
    assert teacher.version != BM25Teacher(BM25.build(passages, k1=0.9)).version


def test_pairs_go_by_query_to_a_teacher_that_reads_it_once(candidates, queries, passages, counting):
    counting.shares_prefix = True
    by_query = score_rankings(counting, candidates, queries, passages, chunk=4)
    asked = [query for query, _ in counting.asked]
    assert asked == sorted(asked, key=asked.index)
    ensemble = EnsembleTeacher([CountingTeacher("other"), counting], [1, 2], [0, 1], [1, 2])
    counting.asked.clear()
    score_rankings(ensemble, candidates, queries, passages, chunk=4)
    assert [query for query, _ in counting.asked] == asked
    counting.shares_prefix = False
    counting.asked.clear()
    assert score_rankings(counting, candidates, queries, passages, chunk=4).to_dict() == by_query.to_dict()
    assert [query for query, _ in counting.asked] != asked
