"""Matches: the passages' scores in a search, identifiers of their own, and the file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.data import Passage, Queries, Query
from limbeck.errors import InputError
from limbeck.students.generative.generator import log_probabilities
from limbeck.students.generative.ranking.batches import RankCollator, batch_scores
from limbeck.students.generative.ranking.collecting import collect_matches
from limbeck.students.generative.ranking.lists import QueryLists
from limbeck.students.generative.ranking.matches import UNIGRAM, Matches
from limbeck.students.generative.ranking.passage_scores import row_logits
from limbeck.students.generative.retriever import GenerativeRetriever, SearchSettings
from limbeck.students.generative.scoring import identifier_weights
from tests.students.generative.ranking.conftest import VIEWS
from tests.students.generative.worlds import PASSAGES, load_tiny


def test_the_base_scores_are_those_of_a_search(base):
    checked = 0
    for row in base.lists:
        hits = {
            hit.passage_id: hit for hit in base.retriever.search(base.world.queries.text(row.query_id), 50)
        }
        for passage in set(row.passage_ids) & set(hits):
            matches = base.matches.of(row.query_id, passage)
            hit = hits[passage]
            assert matches.score == pytest.approx(hit.score, rel=1e-4)
            # What was added for want of an identifier has no weight yet, or a search would have found it.
            weights = [match.weight for match in hit.matches]
            np.testing.assert_allclose(matches.contributions[: len(weights)], weights, atol=1e-3)
            assert not matches.contributions[len(weights) :].any()
            checked += 1
    assert checked > 10


def test_training_scores_are_the_base_scores_at_step_zero(base):
    collate = RankCollator(base.retriever.generator, base.matches, base.world.queries, None)
    batch = collate(list(base.lists))
    model = base.retriever.generator.model
    with torch.inference_mode():
        found = batch_scores(row_logits(model, model.get_encoder(), batch), batch)
    assert found.dtype == torch.float64
    lists = [(row.query_id, one) for row in base.lists for one in row.lists]
    assert found.shape == batch["mask"].shape == (len(lists), 5)
    assert batch["mask"].all()
    for scores, (query, one) in zip(found, lists, strict=True):
        expected = [base.matches.of(query, passage).score for passage in one.passage_ids]
        np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-4)
    assert batch["teacher"].diff(dim=1).le(0).all()


def test_shared_identifiers_are_read_once(base):
    collate = RankCollator(base.retriever.generator, base.matches, base.world.queries, None)
    row = base.lists[0]
    once, twice = collate([row]), collate([row, row])
    assert len(twice["row_labels"]) == len(once["row_labels"]) < len(once["match_identifiers"])
    assert len(twice["lists"]) == 2 * len(once["lists"])
    assert len(twice["id_rows"]) == len(once["id_rows"])


@pytest.fixture
def few(bart, tmp_path):
    """A retriever that generates next to nothing, so that most passages are hit by nothing."""
    settings = SearchSettings(beams=1, unigrams=0)
    return GenerativeRetriever.build(
        tmp_path / "few", bart, [*PASSAGES, Passage("odd", "\x00\x01", "\x01")], VIEWS, settings
    )


def test_what_nothing_hits_gets_identifiers_of_its_own(few, tmp_path):
    queries = Queries.write(tmp_path / "queries.arrow", [Query("q", "the capital of germany")])
    passages = ["d1", "d2", "d3", "d4", "d5", "d6", "odd"]
    rows = [QueryLists("q", ["d0"], passages, [1.0], [0.0] * 7)]
    matches = collect_matches(tmp_path / "matches.arrow", few, rows, queries=queries)
    hit = {hit.passage_id for hit in few.search("the capital of germany", 50)}
    assert len(hit) < 7
    assert len(matches.of("q", "odd")) == 0
    own = [passage for passage in ["d0", *passages[:-1]] if passage not in hit]
    names = [view.name for view in few.views]
    numbers = dict(zip(few.store.ids(few.index.numbers), few.index.numbers.tolist(), strict=True))
    for passage in own:
        found = matches.of("q", passage)
        assert (found.views != UNIGRAM).all()
        by_id = {one.id: one for one in PASSAGES}
        assert ("title" in [names[view] for view in found.views]) == bool(by_id[passage].title)
        text = few.index.extract([numbers[passage]])[0].tolist()
        for view, tokens, position in zip(found.views, found.tokens, found.positions.tolist(), strict=True):
            start = position + few.views[view].whole
            assert text[start : start + len(tokens)] == tokens.tolist()
        prompts = [few.markers[names[view]].start for view in found.views]
        with torch.inference_mode():
            chances = log_probabilities(
                few.generator, ["the capital of germany"] * len(found), prompts,
                [tokens.tolist() for tokens in found.tokens],
            ).double().sum(1)  # fmt: skip
        settings = [few.views[view] for view in found.views]
        weights = identifier_weights(
            chances, torch.tensor(found.frequencies), bonus=torch.tensor([one.bonus for one in settings]),
            cap=torch.tensor([one.cap for one in settings], dtype=torch.float64),
        )  # fmt: skip
        np.testing.assert_allclose(found.contributions, weights.numpy() * found.factors, rtol=1e-3, atol=1e-3)


def test_the_file_keeps_everything(base):
    again = Matches.open(base.retriever.store.folder.parent / "matches.arrow")
    assert again.settings == base.matches.settings
    assert again.settings.unigram_view == 1
    assert len(again) == len(base.matches) == 4 * 5
    assert ("q0", "d1") in again
    assert ("q0", "d3") not in again
    one, other = again.of("q0", "d1"), base.matches.of("q0", "d1")
    assert one.contributions.tolist() == other.contributions.tolist()
    assert [tokens.tolist() for tokens in one.tokens] == [tokens.tolist() for tokens in other.tokens]


def test_only_the_best_are_kept(base, tmp_path):
    some = collect_matches(
        tmp_path / "some.arrow", base.retriever, base.lists, queries=base.world.queries, identifiers=2
    )
    for row in base.lists:
        for passage in row.passage_ids:
            few, all_ = some.of(row.query_id, passage), base.matches.of(row.query_id, passage)
            assert len(few) == min(2, len(all_))
            np.testing.assert_allclose(few.contributions, all_.contributions[:2], rtol=1e-5)


def test_bad_input(base, tmp_path, refused):
    def collect(rows, **options):
        return lambda: collect_matches(
            tmp_path / "m.arrow", base.retriever, rows, queries=base.world.queries, **options
        )

    refused(collect([]), "no rank lists")
    refused(collect(base.lists, identifiers=0), "identifiers is 0")
    refused(collect([QueryLists("q0", ["d0"], ["gone"], [1.0], [0.0])]), "no passage 'gone'")
    refused(collect([QueryLists("nobody", ["d0"], ["d1"], [1.0], [0.0])]), "nobody")
    assert not (tmp_path / "m.arrow").exists()
    refused(lambda: base.matches.of("q0", "d3"), "query 'q0' and passage 'd3'")
    path = tmp_path / "queries.arrow"
    Queries.write(path, [Query("q", "cat")])
    refused(lambda: Matches.open(path), "table of", name="queries.arrow")


def test_nothing_but_empty_passages(tmp_path, tiny_paths):
    generator = load_tiny(tiny_paths["bart"])
    odd = [Passage("a", "\x00"), Passage("b", "\x01"), Passage("c", "cat dog")]
    retriever = GenerativeRetriever.build(tmp_path / "r", generator, odd, VIEWS)
    queries = Queries.write(tmp_path / "queries.arrow", [Query("q", "cat")])
    rows = [QueryLists("q", ["a"], ["b"], [1.0], [0.0])]
    matches = collect_matches(tmp_path / "matches.arrow", retriever, rows, queries=queries)
    with pytest.raises(InputError, match="no passage of the lists of query 'q' has an identifier"):
        RankCollator(generator, matches, queries, None)(rows)
