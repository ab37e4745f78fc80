"""From a question to passages: odd passages, changes, offsets, rankings, and what a trained model finds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from limbeck.data import Judgements, Passage, Passages, Queries, Query
from limbeck.errors import InputError
from limbeck.students.generative.identifiers import BodyView, PseudoQueryView, TitleView
from limbeck.students.generative.pseudo_queries import PseudoQueries
from limbeck.students.generative.retriever import GenerativeRetriever, SearchSettings
from limbeck.students.generative.store import PassageStore
from limbeck.students.generative.targets import GenerationTargets
from limbeck.students.generative.training import GenerationSettings, train_generator
from tests.students.generative.worlds import NEW, ODD, PASSAGES, load_tiny
from tests.tiny_models import WORDS

VIEWS = [
    TitleView(),
    BodyView(max_length=4),
    PseudoQueryView(PseudoQueries({"d0": ["who  barks", "what meows"]})),
]
EVERY = SearchSettings(beams=30, batch_size=2)


@pytest.fixture
def retriever(trained, tmp_path):
    return GenerativeRetriever.build(tmp_path / "retriever", trained, PASSAGES, VIEWS, EVERY)


def ids(retriever, query="cat dog bird fish", k=50):
    return [hit.passage_id for hit in retriever.search(query, k)]


def test_hits_come_with_what_found_them(retriever):
    hits = retriever.search("cat dog bird fish", 5)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert hits[0].passage_id == "d0"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    by_id = {passage.id: passage for passage in PASSAGES}
    for hit in hits:
        passage = by_id[hit.passage_id]
        assert (hit.title, hit.text) == (passage.title, passage.text)
        assert hit.score == pytest.approx(sum(match.weight for match in hit.matches))
        assert hit.matches
        for match in hit.matches:
            texts = {
                "title": [passage.title],
                "body": [passage.text],
                "pseudo-query": ["who barks", "what meows"],
            }
            assert texts[match.view][match.part][match.start : match.end] == match.text
            assert match.text.strip() == match.text != ""
            if match.identifier == "title":
                assert match.text == passage.title
    assert {match.identifier for hit in hits for match in hit.matches} >= {"title", "body"}


def test_every_passage_is_found_by_its_text(trained, tmp_path):
    passages = [*PASSAGES, *ODD]
    retriever = GenerativeRetriever.build(tmp_path / "r", trained, passages, VIEWS, EVERY)
    assert len(retriever) == 12
    for passage in passages:
        if passage.id != "nothing":  # no token is left of its text
            assert passage.id in ids(retriever, passage.text, 3)
    for hit in retriever.search(ODD[1].text, 2):
        if hit.passage_id == "markers":
            texts = {"title": ODD[1].title, "body": ODD[1].text}
            assert all(texts[match.view][match.start : match.end] == match.text for match in hit.matches)


@pytest.mark.parametrize("passage", ODD)
def test_an_odd_passage_alone_is_a_corpus(trained, tmp_path, passage):
    retriever = GenerativeRetriever.build(tmp_path / "r", trained, [passage], VIEWS)
    assert ids(retriever) in ([], [passage.id])


def test_rankings_are_the_hits(retriever, tmp_path):
    texts = [passage.text for passage in PASSAGES[:5]]
    ranked = retriever.rank(texts, 4)
    assert [one.query_id for one in ranked] == ["0", "1", "2", "3", "4"]
    for text, one in zip(texts, ranked, strict=True):
        hits = retriever.search(text, 4)
        assert set(one.passage_ids) == {hit.passage_id for hit in hits}
        np.testing.assert_allclose(one.scores, [hit.score for hit in hits], rtol=1e-4)
    queries = Queries.write(tmp_path / "q.arrow", [Query(f"q{n}", text) for n, text in enumerate(texts)])
    mined = list(retriever.mine(queries, 4))
    assert [one.query_id for one in mined] == [f"q{n}" for n in range(5)]
    assert [one.passage_ids for one in mined] == [one.passage_ids for one in ranked]


def test_opened_it_finds_the_same(retriever):
    again = GenerativeRetriever.open(retriever.store.folder, "cpu", EVERY)
    assert again.views == retriever.views
    for query in ("cat dog bird fish", "who barks"):
        assert again.search(query, 5) == retriever.search(query, 5)


def test_passages_come_and_go_without_training(retriever):
    before = retriever.search("cat dog bird fish", 50)
    assert retriever.add(NEW) == 2
    for passage in NEW:
        assert passage.id in ids(retriever, passage.text, 3)
    assert len(retriever) == 9
    again = GenerativeRetriever.open(retriever.store.folder, "cpu", EVERY)
    assert ids(again) == ids(retriever)
    retriever.delete(["new", "other"])
    assert [(hit.passage_id, hit.score) for hit in retriever.search("cat dog bird fish", 50)] == [
        (hit.passage_id, pytest.approx(hit.score)) for hit in before
    ]
    again.refresh()
    assert ids(again) == ids(retriever)


def test_many_small_changes_leave_few_parts_to_search(retriever):
    for number in range(12):
        retriever.add([Passage(f"n{number}", f"{NEW[0].text} {number}", NEW[0].title)])
    assert retriever.index.part_count <= 4
    retriever.delete([f"n{number}" for number in range(0, 12, 2)])
    assert len(retriever) == 7 + 6
    again = GenerativeRetriever.open(retriever.store.folder, "cpu", EVERY)
    assert {f"n{number}" for number in range(1, 12, 2)} <= set(ids(again, NEW[0].text))
    assert ids(again) == ids(retriever)


def test_a_deleted_passage_can_come_back_with_another_text(retriever):
    retriever.delete(["d0"])
    assert "d0" not in ids(retriever)
    back = Passage("d0", NEW[0].text, NEW[0].title)
    retriever.add([back], {"pseudo-query": {"d0": ["who rules"]}})
    (hit,) = (hit for hit in retriever.search(back.text, 50) if hit.passage_id == "d0")
    assert hit.text == back.text
    texts = {"title": back.title, "body": back.text, "pseudo-query": "who rules"}
    assert all(texts[match.view][match.start : match.end] == match.text for match in hit.matches)
    with pytest.raises(InputError, match="'d0' is in the retriever already"):
        retriever.add([Passage("d9", "king"), Passage("d0", "queen")])
    assert len(retriever) == 7
    assert not list(retriever.store.folder.glob("texts/00000002*"))
    with pytest.raises(InputError, match="no passage 'd9'"):
        retriever.delete(["d1", "d9"])
    assert len(retriever) == 7


def test_what_a_dead_writer_left_is_not_found_and_goes(retriever):
    """A process died after the index took its passages and before the manifest named them."""
    tokens = retriever.index.extract([0])[0]
    number = retriever.index.add([tokens]).start
    (retriever.store.folder / "texts" / "00000001").mkdir()
    assert len(ids(retriever)) == len(set(ids(retriever)))
    assert set(ids(retriever)) <= {passage.id for passage in PASSAGES}
    # It takes nobody's place: there are as many results as without it.
    assert len(retriever) == 7
    assert ids(retriever, k=2) == ids(retriever)[:2]
    assert retriever.rank(["cat dog bird fish"], 2)[0].passage_ids == ids(retriever, k=2)
    retriever.add(NEW[:1])
    assert number not in retriever.index
    assert len(retriever) == 8
    again = GenerativeRetriever.open(retriever.store.folder, "cpu", EVERY)
    assert "new" in ids(again, NEW[0].text)


def test_views_can_be_left_out_and_added(trained, tmp_path):
    class Own:
        settings = replace(TitleView(max_length=5).settings, name="summary")

        def texts(self, passage):
            return [passage.text.split()[0]]

        def targets(self, texts, query, importance, random):
            return [list(text) for text in texts]

    trained.save(tmp_path / "g")
    generator = load_tiny(tmp_path / "g", views=["summary", "body"])
    retriever = GenerativeRetriever.build(tmp_path / "r", generator, PASSAGES, [Own(), BodyView()], EVERY)
    again = GenerativeRetriever.open(tmp_path / "r", "cpu", EVERY)
    assert [view.name for view in again.views] == ["summary", "body"]
    hits = retriever.search("cat dog bird fish", 9)
    assert hits[0].passage_id in {"d0", "d1"}
    assert {match.view for hit in hits for match in hit.matches} == {"summary", "body"}
    assert again.search("cat dog bird fish", 9) == hits
    # The other views' markers are known to the model, and not to the retriever.
    assert "title" not in again.markers


def test_bad_input(retriever, bart, tmp_path):
    folder = retriever.store.folder
    for query, k, problem in [("  ", 5, "empty"), ("cat", 0, "k is 0"), ("cat \ud83d", 5, "surrogate pair")]:
        with pytest.raises(InputError, match=problem):
            retriever.search(query, k)
    with pytest.raises(InputError, match="there is something here"):
        GenerativeRetriever.build(folder, bart, PASSAGES, VIEWS)
    with pytest.raises(InputError, match="no markers for the view 'summary'"):
        GenerativeRetriever.build(tmp_path / "n", bart, PASSAGES, [TitleView(name="summary")])
    with pytest.raises(InputError, match="appears twice"):
        GenerativeRetriever.build(tmp_path / "n", bart, [PASSAGES[0], PASSAGES[0]], VIEWS)
    assert not (tmp_path / "n").exists()
    with pytest.raises(InputError, match="no generative retriever"):
        GenerativeRetriever.open(tmp_path / "n")
    manifest = json.loads((folder / "retriever.json").read_text())
    for change, problem in [
        ({"vocabulary": "0"}, "another tokenizer"),
        ({"version": 9}, "version 9"),
        ({"views": 3}, "damaged"),
        ({"views": [3]}, "damaged"),
        ({"segments": []}, "damaged"),
    ]:
        (folder / "retriever.json").write_text(json.dumps(manifest | change))
        with pytest.raises(InputError, match=problem):
            GenerativeRetriever.open(folder, "cpu")


def test_what_could_not_be_named_is_not_found_in_this_process_either(retriever, monkeypatch):
    def full(_store):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(PassageStore, "save", full)
        with pytest.raises(OSError, match="no space"):
            retriever.add(NEW[:1])
    assert "new" not in ids(retriever, NEW[0].text)
    assert len(retriever) == 7
    assert retriever.add(NEW[:1]) == 1
    assert "new" in ids(retriever, NEW[0].text)


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ({"pseudo-querys": {"new": ["who barks"]}}, "the view 'pseudo-querys'"),
        ({"title": {"new": ["king"]}}, "the view 'title'.*Expected: texts for pseudo-query"),
        ({"pseudo-query": {"new": "who barks"}}, "are 'who barks'. Expected: a list of texts"),
        ({"pseudo-query": {"d0": ["who barks"]}}, "texts of passage 'd0' for the view 'pseudo-query'"),
    ],
)
def test_texts_that_nothing_would_be_found_by_are_refused(retriever, texts, problem):
    with pytest.raises(InputError, match=problem):
        retriever.add(NEW[:1], texts)
    assert len(retriever) == 7
    assert [path.name for path in retriever.store.folder.glob("texts/*")] == ["00000000"]


@pytest.mark.slow
def test_a_trained_model_finds_passages(tiny_paths, tmp_path):
    """Sixty passages of words drawn at random; their queries name two of the words. Chance is 5 in 60."""
    random = np.random.default_rng(0)
    words = [word for word in WORDS if len(word) > 2][:40]
    drawn = [random.choice(words, 5, replace=False).tolist() for _ in range(60)]
    passages = Passages.write(
        tmp_path / "p.arrow", [Passage(f"d{n}", " ".join(row[:4]), row[4]) for n, row in enumerate(drawn)]
    )
    queries = Queries.write(
        tmp_path / "q.arrow", [Query(f"q{n}", f"{row[1]} {row[2]}") for n, row in enumerate(drawn)]
    )
    judgements = Judgements((f"q{n}", f"d{n}", 1) for n in range(60))
    generator = load_tiny(tiny_paths["bart"])
    views = [TitleView(), BodyView(max_length=3, spans=4)]
    examples = GenerationTargets.draw(
        judgements, queries=queries, passages=passages, views=views, vocabulary=generator.vocabulary
    )
    settings = GenerationSettings(epochs=40, batch_size=16, learning_rate=3e-3, log_every=100, bf16=False)

    def found(name):
        retriever = GenerativeRetriever.build(tmp_path / name, generator, passages, views)
        ranked = retriever.rank(queries.texts(), 5, queries.ids())
        return sum(judgements.relevant(one.query_id)[0] in one.passage_ids for one in ranked)

    before = found("before")
    train_generator(generator, examples, settings=settings, work_dir=tmp_path / "work")
    after = found("after")
    assert before <= 30
    assert after >= 54
