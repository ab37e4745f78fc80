"""Training on passage scores: the teacher's order comes out, and a cut training goes on exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from limbeck.data import Judgements, Queries, Query, Rankings
from limbeck.errors import InputError, LimbeckError
from limbeck.losses import LIST_LOSSES
from limbeck.students.generative.generator import IGNORED
from limbeck.students.generative.model import load_generator
from limbeck.students.generative.ranking.batches import (
    RankCollator,
    TargetDraws,
    batch_generation_loss,
    batch_scores,
)
from limbeck.students.generative.ranking.collecting import collect_matches
from limbeck.students.generative.ranking.lists import judged, ranked_lists
from limbeck.students.generative.ranking.objective import RankingObjective, ranking_objective
from limbeck.students.generative.ranking.passage_scores import row_logits
from limbeck.students.generative.ranking.training import RankingSettings, train_ranking
from limbeck.students.generative.retriever import GenerativeRetriever
from tests.students.generative.ranking.conftest import FILLER, VIEWS, draw_targets, make_base
from tests.students.generative.worlds import PASSAGES, load_tiny, save_tiny
from tests.trainings import Interrupt, Interrupted, assert_same, losses, weights

QUICK = RankingSettings(
    epochs=3,
    batch_size=2,
    learning_rate=1e-3,
    checkpoint_every=2,
    log_every=1,
    bf16=False,
    label_smoothing=0.0,
)


def fresh(base):
    """The base's generator, to be trained."""
    return load_generator(base.retriever.store.folder / "generator", device="cpu", views=names())


def names():
    return [view.settings.name for view in VIEWS]


def train(
    base, work, settings=QUICK, *, objective=None, generator=None, lists=None, matches=None, callbacks=()
):
    generator = generator or fresh(base)
    lists = base.lists if lists is None else lists
    outcome = train_ranking(
        generator, lists, matches or base.matches, queries=base.world.queries,
        targets=draw_targets(base.world, generator), objective=objective or ranking_objective(),
        settings=settings, work_dir=work, callbacks=callbacks,
    )  # fmt: skip
    return generator, outcome


def list_scores(generator, base):
    collate = RankCollator(generator, base.matches, base.world.queries, None)
    batch = collate(list(base.lists))
    encoder = generator.model.get_encoder() if generator.model.config.is_encoder_decoder else None
    with torch.inference_mode():
        return batch_scores(row_logits(generator.model, encoder, batch), batch).numpy()


def concordance(scores) -> float:
    """The share of pairs of the lists that stand in the teacher's order."""
    pairs = [(i, j) for i in range(scores.shape[1]) for j in range(i + 1, scores.shape[1])]
    return float(np.mean([scores[:, i] > scores[:, j] for i, j in pairs]))


def test_the_rank_loss_falls_and_the_teachers_order_emerges(base, tmp_path):
    settings = replace(QUICK, epochs=80, batch_size=4, learning_rate=2e-3)
    before = concordance(list_scores(base.retriever.generator, base))
    generator, outcome = train(base, tmp_path / "work", settings)
    curve = losses(outcome, "rank_loss")
    assert len(curve) == outcome.steps == 80
    assert np.mean(curve[-5:]) < 0.5 * np.mean(curve[:5])
    after = concordance(list_scores(generator, base))
    assert after > 0.9 > before
    assert not generator.model.training
    line = outcome.curve[0]
    total = line["rank_loss"] + ranking_objective().generation_weight * line["generation_loss"]
    assert line["loss"] == pytest.approx(total, rel=1e-3)


@pytest.mark.slow
def test_a_search_ranks_as_the_teacher_does(base, tmp_path):
    """From the base retriever to DGR's: mine, let the teacher score, learn, and search again."""
    world, judgements = base.world, base.world.judgements
    mined = Rankings.from_lists(base.retriever.mine(world.queries, 6), "generative")
    # The teacher likes positives best, and of the others those with a later id.
    scores = {
        ranked.query_id: {one: float(number) for number, one in enumerate(sorted(ranked.passage_ids))}
        | dict.fromkeys(judgements.relevant(ranked.query_id), 99.0)
        for ranked in mined
    }
    teacher = Rankings.from_dict(scores, "teacher")
    lists = ranked_lists(teacher, judgements, candidates=mined, negatives=5)
    matches = collect_matches(tmp_path / "matches.arrow", base.retriever, lists, queries=world.queries)
    generator, _ = train(
        base, tmp_path / "work", replace(QUICK, epochs=80, batch_size=4, learning_rate=2e-3), lists=lists,
        matches=matches,
    )  # fmt: skip
    retriever = GenerativeRetriever.build(
        tmp_path / "trained", generator, [*PASSAGES, *FILLER], VIEWS, base.retriever.settings
    )
    before, after = agreement(base.retriever, world, teacher), agreement(retriever, world, teacher)
    assert before < 0.8
    assert after > before + 0.15
    for query_id in world.queries.ids():
        assert retriever.search(world.queries.text(query_id), 1)[0].passage_id in judgements.relevant(
            query_id
        )


def agreement(retriever, world, teacher) -> float:
    """The share of pairs of passages with a teacher's score that a search ranks as the teacher does."""
    agreed = []
    for ranked in retriever.mine(world.queries, 2000):
        place = {passage: rank for rank, passage in enumerate(ranked.passage_ids)}
        listed = teacher.list_for(ranked.query_id).passage_ids
        ranks = [place.get(passage, len(place)) for passage in listed]
        agreed += [ranks[i] < ranks[j] for i in range(len(ranks)) for j in range(i + 1, len(ranks))]
    return float(np.mean(agreed))


@pytest.mark.parametrize("name", sorted(LIST_LOSSES))
def test_every_objective_trains(base, tmp_path, name):
    objective = ranking_objective(name, base.lists, base.matches)
    _, outcome = train(base, tmp_path / "work", replace(QUICK, epochs=12, batch_size=4), objective=objective)
    curve = losses(outcome)
    assert np.isfinite(curve).all()
    assert np.mean(curve[-3:]) < np.mean(curve[:3])


def test_published_constants_train(base, tmp_path):
    objective = ranking_objective(published=True)
    _, outcome = train(base, tmp_path / "work", replace(QUICK, epochs=4), objective=objective)
    assert all(loss < 3000 for loss in losses(outcome, "rank_loss"))


def test_without_a_teacher_or_a_generation_loss(base, tmp_path):
    lists = ranked_lists(judged(base.teacher, base.world.judgements), base.world.judgements)
    objective = ranking_objective(generation_weight=0.0)
    generator = fresh(base)
    outcome = train_ranking(
        generator, lists, base.matches, queries=base.world.queries, targets=None, objective=objective,
        settings=replace(QUICK, epochs=30, batch_size=4), work_dir=tmp_path / "work",
    )  # fmt: skip
    assert "generation_loss" not in outcome.curve[0]
    scores = list_scores(generator, base)
    assert (scores[:, :1] > scores[:, 1:]).all()


@pytest.fixture(scope="module")
def dropout_base(tmp_path_factory):
    """A model with dropout: going on exactly needs its random numbers too."""
    path = save_tiny("bart", tmp_path_factory.mktemp("dropout"), dropout=0.1)
    return make_base(tmp_path_factory.mktemp("base"), path)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_an_interrupted_training_ends_with_the_same_weights(dropout_base, tmp_path, step):
    whole, expected = train(dropout_base, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(dropout_base, tmp_path / "cut", callbacks=[Interrupt(step)])
    again, outcome = train(dropout_base, tmp_path / "cut")
    assert_same(weights(again.model), weights(whole.model))
    assert outcome.steps == expected.steps == 6


@pytest.mark.parametrize("kind", ["t5", "bert", "qwen"])
def test_every_kind_of_model_learns_to_rank(tiny_paths, tmp_path, kind):
    base = make_base(tmp_path, tiny_paths[kind])
    before = concordance(list_scores(fresh(base), base))
    generator, outcome = train(base, tmp_path / "work", replace(QUICK, epochs=30, batch_size=4))
    curve = losses(outcome, "rank_loss")
    assert np.mean(curve[-3:]) < np.mean(curve[:3])
    assert concordance(list_scores(generator, base)) > before


def test_the_generation_loss_is_half_title_and_half_spans(base):
    generator = base.retriever.generator
    queries, targets = base.world.queries, draw_targets(base.world, generator)
    collate = RankCollator(generator, base.matches, queries, TargetDraws(targets, 1, 0))
    row = base.lists[1]  # its positive has a title and a body
    batch = collate([row])
    with torch.inference_mode():
        logits = row_logits(generator.model, generator.model.get_encoder(), batch)
        found = batch_generation_loss(logits, batch, 0.1)
        parts = []
        for prompt, drawn in TargetDraws(targets, 1, 0).draw(row, queries.text(row.query_id)):
            inputs = generator.training_inputs([queries.text(row.query_id)], [prompt], [list(drawn[0])])
            labels = inputs.pop("labels")
            parts.append(
                torch.nn.functional.cross_entropy(
                    generator.model(**inputs).logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1,
                    ignore_index=IGNORED,
                )
            )  # fmt: skip
    assert len(parts) == 2
    assert found.item() == pytest.approx(float(sum(parts)) / 2, rel=1e-4)
    tokens = (batch["target_tokens"] != IGNORED).sum(1)
    assert (batch["target_weights"] * tokens).sum().item() == pytest.approx(1)


def test_target_draws_depend_on_the_row_alone(base):
    targets = draw_targets(base.world, base.retriever.generator)
    draws, other = TargetDraws(targets, 2, 0), TargetDraws(targets, 2, 1)
    row, text = base.lists[3], base.world.queries.text("q3")
    assert draws.draw(row, text) == draws.draw(row, text)
    assert any(draws.draw(row, text) != other.draw(row, text) for row in [row])
    assert draws.draw(row, "never asked") == []


def test_bad_input(base, tmp_path, tiny_paths, refused):
    def attempt(**options):
        return lambda: train(base, tmp_path / "work", **options)

    refused(attempt(lists=[]), "nothing to learn from")
    other = ranked_lists(base.teacher, Judgements([("q0", "d2", 1)]))
    assert len(other) == 1
    some = replace(other[0], negatives=["d3"], negative_scores=[0.0])
    refused(attempt(lists=[some]), "query 'q0' and passage 'd3'")
    wider = load_tiny(tiny_paths["bart"], views=[*names(), "summary"])
    refused(attempt(generator=wider), "another tokenizer")
    with pytest.raises(InputError, match="nothing to generate"):
        train_ranking(
            fresh(base), base.lists, base.matches, queries=base.world.queries, targets=None,
            objective=ranking_objective(), settings=QUICK, work_dir=tmp_path / "work",
        )  # fmt: skip


def test_a_loss_that_is_not_a_number_stops_the_training(base, tmp_path):
    objective = RankingObjective("broken", lambda student, *_: student.sum() * float("nan"))
    with pytest.raises(LimbeckError, match="the loss is nan at step 0"):
        train(base, tmp_path / "work", objective=objective)


def test_lists_of_different_lengths_share_a_batch(base, tmp_path):
    rows = list(base.lists)
    short = replace(rows[0], negatives=rows[0].negatives[:1], negative_scores=rows[0].negative_scores[:1])
    _, outcome = train(base, tmp_path / "work", replace(QUICK, batch_size=4), lists=[short, *rows[1:]])
    assert np.isfinite(losses(outcome)).all()


def test_queries_in_other_scripts_and_very_long_ones_train(base, tmp_path):
    texts = {"q0": "猫 Кот \u200b", "q1": "cat dog " * 400, "q2": "?", "q3": "sort"}
    queries = Queries.write(tmp_path / "queries.arrow", [Query(id_, text) for id_, text in texts.items()])
    matches = collect_matches(tmp_path / "m.arrow", base.retriever, base.lists, queries=queries)
    generator = fresh(base)
    outcome = train_ranking(
        generator, base.lists, matches, queries=queries, targets=None, settings=QUICK,
        objective=ranking_objective(generation_weight=0.0), work_dir=tmp_path / "work",
    )  # fmt: skip
    assert outcome.steps == 6
