"""Views, what is learnt of them, and pseudo-queries."""

from __future__ import annotations

import gzip
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import Judgements, Passage, Passages, Queries, Query
from limbeck.errors import InputError
from limbeck.students.generative.identifiers import (
    BodyView,
    PseudoQueryView,
    TitleView,
    ViewSettings,
    span_weights,
    view_settings,
)
from limbeck.students.generative.pseudo_queries import PseudoQueries
from limbeck.students.generative.targets import GenerationTargets
from limbeck.students.generative.vocabulary import Vocabulary
from tests.students.generative.worlds import PASSAGES
from tests.tiny_models import tiny_tokenizer


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_titles(random):
    view = TitleView(max_length=3)
    assert view.texts(Passage("a", "text", "A title")) == ["A title"]
    assert view.texts(Passage("a", "text")) == []
    assert view.texts(Passage("a", "text", "  ")) == []
    assert view.targets([[5, 6, 7]], [1], {}, random) == [[5, 6, 7]]
    assert view.targets([[5, 6, 7, 8]], [1], {}, random) == []
    assert view.targets([], [1], {}, random) == []


def test_span_weights_by_hand():
    # Spans of 2 in 5 6 7 6; the query's 6 and 7 have importance 1 and 3, its 9 is not in the text.
    weights = span_weights([5, 6, 7, 6], [6, 7, 9, 6], {6: 1.0, 7: 3.0, 9: 4.0}, 2, lift=9.0)
    assert weights.tolist() == [1 + 8 * 1 / 8, 1 + 8 * 4 / 8, 1 + 8 * 4 / 8]
    assert span_weights([5], [5], {5: 1.0}, 10, lift=20.0).tolist() == [20.0]
    assert span_weights([5, 6, 7], [8], {}, 2).tolist() == [1.0, 1.0]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.lists(st.integers(0, 7)), st.integers(1, 6))
def test_span_weights_equal_their_definition(text, query, length):
    importance = {token: token / 2 for token in range(6)}
    found = span_weights(text, query, importance, length, lift=5.0)
    total = sum(importance.get(token, 0) for token in set(query))
    for start, weight in enumerate(found):
        span = set(text[start : start + length])
        held = sum(importance.get(token, 0) for token in set(query) & span)
        assert weight == pytest.approx(1 + 4 * held / total if total else 1)
    assert len(found) == max(len(text) - length + 1, 1)


def test_body_spans(random):
    view = BodyView(max_length=3, spans=4)
    text = list(range(100, 120))
    spans = view.targets([text], [], {}, random)
    assert len({tuple(span) for span in spans}) == 4
    assert all(span == list(range(span[0], span[0] + 3)) for span in spans)
    assert view.targets([[5]], [5], {}, random) == [[5]]
    assert view.targets([[5, 6, 7, 8]], [], {}, random) != []
    assert sorted(view.targets([[5, 6, 7, 8]], [], {}, random)) == [[5, 6, 7], [6, 7, 8]]
    assert view.targets([[]], [5], {}, random) == []


def test_spans_that_overlap_the_query_are_drawn_more_often(random):
    view = BodyView(max_length=2, spans=1, query_lift=9.0)
    drawn = Counter(tuple(view.targets([[5, 6, 7, 8]], [8], {8: 1.0}, random)[0]) for _ in range(2200))
    assert drawn[7, 8] / drawn[5, 6] == pytest.approx(9, rel=0.25)


def test_pseudo_queries_are_learnt_but_never_the_query_itself(random):
    view = PseudoQueryView(PseudoQueries({"a": ["who barks", "who meows"]}), max_length=4, learnt=2)
    assert view.texts(Passage("a", "text")) == ["who barks", "who meows"]
    assert view.texts(Passage("b", "text")) == []
    found = view.targets([[1, 2], [3], [4, 5], [1, 1, 1, 1, 1]], [1, 2], {}, random)
    assert sorted(found) == [[3], [4, 5]]
    assert view.settings == ViewSettings("pseudo-query", True, 4, 14.0, -1.0)


def test_views_have_names_of_their_own():
    assert [view.name for view in view_settings([TitleView(), BodyView()])] == ["title", "body"]
    for views in ([], [TitleView(), BodyView(name="title")]):
        with pytest.raises(InputError, match="a name of its own"):
            view_settings(views)
    with pytest.raises(InputError, match="0 tokens"):
        _ = TitleView(max_length=0).settings


def test_pseudo_queries_from_files(tmp_path, world):
    table = tmp_path / "questions.tsv"
    table.write_text("d0\twho  barks\nd1\twhat\n\nd0\twho barks\nd0\tand why\n", encoding="utf-8")
    found = PseudoQueries.read(table, passages=world.passages)
    assert dict(found) == {"d0": ["who barks", "and why"], "d1": ["what"]}
    lines = tmp_path / "questions.jsonl.gz"
    with gzip.open(lines, "wt", encoding="utf-8") as stream:
        stream.write(json.dumps({"_id": "d0", "text": "谁在叫"}) + "\n" + '{"id": 7, "text": "x\\ny"}\n')
    assert dict(PseudoQueries.read(lines)) == {"d0": ["谁在叫"], "7": ["x y"]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("d0\twho\nd0\n", ":2: the line has 1 column"),
        ("d0\twho\nd0\t \n", ":2: the line has an empty passage id or question"),
        ("d0\twho\nnone\twhat\n", ":2: there is no passage 'none'"),
        ('{"id": "d0"}\n', ":1: there is no key 'text'"),
        ('{"id": "d0", "text": "who \\ud83d"}\n', ":1: the question has half of a surrogate pair"),
    ],
)
def test_bad_files_of_pseudo_queries(tmp_path, world, text, problem):
    path = tmp_path / "questions"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        PseudoQueries.read(path, passages=world.passages)
    assert problem in str(refused.value)


def test_pseudo_queries_from_training_and_on_disk(tmp_path, world):
    trained = PseudoQueries.from_training(world.queries, world.judgements)
    assert trained.of("d0") == ["cat dog"]
    assert trained.of("d1") == []
    asked = next(query.id for query in world.queries if query.text == "cat dog")
    assert PseudoQueries.from_training(world.queries, world.judgements, without=[asked]).of("d0") == []
    both = PseudoQueries.joined([PseudoQueries({"d0": ["first"], "d5": ["who rules"]}), trained])
    assert both.of("d0") == ["first", "cat dog"]
    both.write(tmp_path / "questions.arrow")
    opened = PseudoQueries.open(tmp_path / "questions.arrow")
    assert dict(opened) == dict(both)
    assert opened.of("d0") == both.of("d0")
    assert opened.of("none") == []
    assert len(opened) == len(both) == 5


def test_a_question_left_out_takes_no_other_in_hindi_along(tmp_path):
    queries = Queries.write(tmp_path / "q.arrow", [Query("q0", "काम क्या है"), Query("q1", "कम क्या है ?")])
    asked = Judgements([("q0", "d0", 1), ("q1", "d0", 1)])
    assert PseudoQueries.from_training(queries, asked, without=["q0"]).of("d0") == ["कम क्या है ?"]


@pytest.fixture
def vocabulary():
    made = Vocabulary(tiny_tokenizer())
    made.add_markers(["title", "body", "pseudo-query"])
    return made


def test_targets_by_hand(world, vocabulary):
    questions = PseudoQueries({"d0": ["cat dog", "which cat"], "d3": ["germany"]})
    views = [TitleView(), BodyView(max_length=20), PseudoQueryView(questions)]
    found = GenerationTargets.draw(
        world.judgements, queries=world.queries, passages=world.passages, views=views, vocabulary=vocabulary
    )
    markers = vocabulary.markers(["title", "body", "pseudo-query"])
    names = {view.start: view for view in markers.values()}
    listed = [
        (example.query, names[example.prompt].name, vocabulary.decode(example.target))
        for example in (found[place] for place in range(len(found)))
    ]
    assert listed[:4] == [
        ("cat dog", "title", "cat"),
        ("cat dog", "body", "cat dog bird fish"),
        ("cat dog", "pseudo-query", "which cat"),
        ("what is paris", "title", "paris"),
    ]
    assert ("berlin", "pseudo-query", "germany") in listed
    assert found.counts(markers) == {"title": 4, "body": 4, "pseudo-query": 2}
    for example in (found[place] for place in range(len(found))):
        ended = example.target[-1] == names[example.prompt].end
        assert ended == (names[example.prompt].name != "body")


def test_targets_depend_on_seed_and_pair_alone(tmp_path, vocabulary):
    passages = Passages.write(
        tmp_path / "p.arrow",
        [Passage(p.id, f"{p.text} {' '.join(q.text for q in PASSAGES)}") for p in PASSAGES],
    )
    queries = Queries.write(tmp_path / "q.arrow", [Query("q0", "cat"), Query("q1", "paris")])
    rows = [("q0", "d0", 1), ("q0", "d1", 1), ("q1", "d2", 1), ("q1", "d3", 0)]

    def drawn(order, seed=0):
        found = GenerationTargets.draw(
            Judgements([rows[place] for place in order]),
            queries=queries, passages=passages, views=[BodyView(spans=3)], vocabulary=vocabulary, seed=seed,
        )  # fmt: skip
        return sorted((e.query, e.target) for e in (found[place] for place in range(len(found))))

    assert drawn([0, 1, 2, 3]) == drawn([3, 2, 1, 0])
    assert drawn([0, 1, 2, 3]) != drawn([0, 1, 2, 3], seed=1)
    assert len(drawn([0, 1, 2, 3])) == 9
