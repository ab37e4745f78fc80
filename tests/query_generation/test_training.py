"""Learning to write questions, also after a kill."""

from __future__ import annotations

from dataclasses import replace

import pytest

from limbeck.data import Judgements, Queries, Query
from limbeck.query_generation.sampling import Sampling
from limbeck.query_generation.seq2seq import QueryGenerator
from limbeck.query_generation.training import train_query_generator
from limbeck.students.generative.training import GenerationSettings
from tests.students.generative.worlds import PASSAGES, save_tiny
from tests.trainings import Interrupt, Interrupted, assert_same, leave_half, losses, run_killed, weights

QUICK = GenerationSettings(
    epochs=3, batch_size=2, learning_rate=1e-3, checkpoint_every=2, log_every=1, bf16=False
)


def start(path):
    return QueryGenerator.start(path, max_passage_length=20, max_query_length=6, device="cpu")


def train(path, world, work, settings=QUICK, callbacks=()):
    generator = start(path)
    outcome = train_query_generator(
        generator, world.judgements, queries=world.queries, passages=world.passages,
        settings=settings, work_dir=work, callbacks=callbacks,
    )  # fmt: skip
    return generator, outcome


@pytest.fixture(scope="module")
def dropout_path(tmp_path_factory):
    """A model with dropout: going on exactly needs its random numbers too."""
    return save_tiny("bert", tmp_path_factory.mktemp("dropout"), dropout=0.1)


@pytest.mark.parametrize("kind", ["bart", "t5", "bert"])
def test_it_learns_to_write_the_queries_of_a_passage(tiny_paths, world, tmp_path, kind):
    settings = replace(QUICK, epochs=60, learning_rate=5e-3, checkpoint_every=1000, label_smoothing=0.0)
    generator, outcome = train(tiny_paths[kind], world, tmp_path / "work", settings)
    assert outcome.steps == len(losses(outcome)) == 60 * 2
    assert not generator.model.training
    asked = {passage.id: passage.content for passage in PASSAGES}
    found = generator.generate(
        [asked[id_] for id_ in ("d0", "d2", "d3", "d6")], 1, sampling=Sampling(top_k=1)
    )
    assert found == [["cat dog"], ["what is paris"], ["berlin"], ["sort"]]


def test_every_relevant_pair_is_learnt_from_and_no_other(tiny_paths, world, tmp_path):
    judged = Judgements(
        [("q0", "d0", 2), ("q0", "d1", 1), ("q0", "d4", 0), ("q1", "d4", -1), ("q3", "d5", 1)]
    )
    _, outcome = train(
        tiny_paths["bart"],
        replace(world, judgements=judged),
        tmp_path,
        replace(QUICK, batch_size=1, epochs=1),
    )
    assert outcome.steps == 3


@pytest.mark.parametrize("step", [1, 4])
def test_an_interrupted_training_ends_with_the_same_weights(dropout_path, world, tmp_path, step):
    whole, expected = train(dropout_path, world, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(dropout_path, world, tmp_path / "cut", callbacks=[Interrupt(step)])
    again, outcome = train(dropout_path, world, tmp_path / "cut")
    assert_same(weights(again.model), weights(whole.model))
    assert outcome.steps == expected.steps == 6


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(dropout_path, world, tmp_path):
    run_killed(
        f"""
        import torch
        from pathlib import Path
        from tests.query_generation.test_training import train
        from tests.students.generative.worlds import make_world
        from tests.trainings import Kill
        torch.set_num_threads(1)
        folder = Path({str(tmp_path)!r}) / "other"
        train({str(dropout_path)!r}, make_world(folder), folder / "cut", callbacks=[Kill(3)])
        """
    )
    leave_half(tmp_path / "other" / "cut", 4)
    again, _ = train(dropout_path, world, tmp_path / "other" / "cut")
    whole, _ = train(dropout_path, world, tmp_path / "whole")
    assert_same(weights(again.model), weights(whole.model))


def test_what_cannot_be_learnt(tiny_paths, world, tmp_path, refused):
    for rows, match in (
        ([("q0", "d0", 0)], "nothing to learn from"),
        ([("q0", "elsewhere", 1)], "there is no passage 'elsewhere'"),
        ([("elsewhere", "d0", 1)], "there is no query 'elsewhere'"),
    ):
        other = replace(world, judgements=Judgements(rows))
        refused(
            lambda other=other: train(tiny_paths["bart"], other, tmp_path / "work"),
            match,
            name=None if "nothing" in match else ("passages" if "passage" in match else "queries") + ".arrow",
        )


def test_queries_with_line_breaks_are_learnt_as_they_are_read(tiny_paths, world, tmp_path):
    queries = Queries.write(tmp_path / "broken.arrow", [Query("q0", "cat\n\n dog")])
    judged = Judgements([("q0", "d0", 1)])
    settings = replace(QUICK, epochs=30, learning_rate=5e-3, checkpoint_every=1000)
    broken = replace(world, queries=queries, judgements=judged)
    generator, _ = train(tiny_paths["bart"], broken, tmp_path / "work", settings)
    assert generator.generate([PASSAGES[0].content], 1, sampling=Sampling(top_k=1)) == [["cat dog"]]
