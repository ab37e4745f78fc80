"""Training: every kind learns, and goes on after a kill as if nothing had been."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from limbeck.errors import InputError
from limbeck.students.generative.generator import log_probabilities
from limbeck.students.generative.identifiers import BodyView, TitleView
from limbeck.students.generative.targets import GenerationTargets
from limbeck.students.generative.training import GenerationSettings, generation_loss, train_generator
from tests.students.generative.worlds import KINDS, load_tiny, make_world, save_tiny
from tests.trainings import Interrupt, Interrupted, assert_same, leave_half, losses, run_killed, weights

QUICK = GenerationSettings(
    epochs=3, batch_size=3, learning_rate=1e-3, checkpoint_every=3, log_every=1, bf16=False
)
VIEWS = [TitleView(), BodyView(max_length=3, spans=2)]


def train(path, world, work: Path, settings=QUICK, callbacks=()):
    generator = load_tiny(path)
    examples = GenerationTargets.draw(
        world.judgements,
        queries=world.queries,
        passages=world.passages,
        views=VIEWS,
        vocabulary=generator.vocabulary,
    )
    outcome = train_generator(generator, examples, settings=settings, work_dir=work, callbacks=callbacks)
    return generator, examples, outcome


def test_the_loss_by_hand():
    # Two tokens of which the second row asks for none; the model finds 1/2, 1/4, 1/4.
    logits = torch.tensor([[[0.5, 0.25, 0.25]], [[1.0, 1.0, 1.0]]]).log()
    labels = torch.tensor([[1], [-100]])
    assert generation_loss(logits, labels, 0.0).item() == pytest.approx(1.3862944)
    # With smoothing 0.3: 0.7 · log 4 + 0.3 · (log 2 + 2 log 4) / 3
    assert generation_loss(logits, labels, 0.3).item() == pytest.approx(0.7 * 1.3862944 + 0.1 * 3.4657359)
    assert generation_loss(logits, labels, 0.0, 4).item() == pytest.approx(1.3862944 / 4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_its_targets(tiny_paths, world, tmp_path, kind):
    generator, examples, outcome = train(
        tiny_paths[kind], world, tmp_path / "work", replace(QUICK, epochs=25, learning_rate=3e-3)
    )
    curve = losses(outcome)
    assert sum(curve[-4:]) < 0.6 * sum(curve[:4])
    assert outcome.steps == len(curve) == 25 * 4
    marker = generator.vocabulary.markers(["title"])["title"].start
    titles = [
        example for example in (examples[place] for place in range(len(examples))) if example.prompt == marker
    ]
    with torch.inference_mode():
        own = log_probabilities(
            generator, [e.query for e in titles], [e.prompt for e in titles], [e.target for e in titles]
        ).sum(1)
        # The titles of other queries' passages are less likely.
        other = log_probabilities(
            generator, [e.query for e in titles], [e.prompt for e in titles],
            [e.target for e in titles[1:] + titles[:1]],
        ).sum(1)  # fmt: skip
    assert (own > other).all()
    assert not generator.model.training


@pytest.fixture(scope="module")
def dropout_path(tmp_path_factory):
    """A model with dropout: going on exactly needs its random numbers too."""
    return save_tiny("bert", tmp_path_factory.mktemp("dropout"), dropout=0.1)


@pytest.mark.parametrize("step", [1, 4, 7])
def test_an_interrupted_training_ends_with_the_same_weights(dropout_path, world, tmp_path, step):
    whole, _, expected = train(dropout_path, world, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(dropout_path, world, tmp_path / "cut", callbacks=[Interrupt(step)])
    again, _, outcome = train(dropout_path, world, tmp_path / "cut")
    assert_same(weights(again.model), weights(whole.model))
    assert outcome.steps == expected.steps
    assert losses(outcome) == losses(expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "qwen"])
def test_a_killed_training_ends_with_the_same_weights(tmp_path, kind):
    path = save_tiny(kind, tmp_path / "model", dropout=0.1)
    run_killed(
        f"""
        import torch
        from pathlib import Path
        from tests.students.generative.test_training import make_world, train
        from tests.trainings import Kill
        torch.set_num_threads(1)
        folder = Path({str(tmp_path)!r})
        train({str(path)!r}, make_world(folder), folder / "cut", callbacks=[Kill(4)])
        """
    )
    leave_half(tmp_path / "cut", 6)
    world = make_world(tmp_path)
    again, _, _ = train(path, world, tmp_path / "cut")
    whole, _, _ = train(path, world, tmp_path / "whole")
    assert_same(weights(again.model), weights(whole.model))


def test_accumulation_is_the_larger_batch(tiny_paths, world, tmp_path):
    found = [
        train(
            tiny_paths["bart"],
            world,
            tmp_path / str(size),
            replace(QUICK, epochs=1, batch_size=size, accumulation=4 // size),
        )
        for size in (4, 1)
    ]
    (large, _, one), (parts, _, other) = found
    assert losses(other) == pytest.approx(losses(one), rel=1e-3)
    for name, value in weights(large.model).items():
        torch.testing.assert_close(weights(parts.model)[name], value, atol=2e-3, rtol=1e-2, msg=name)


def test_mixed_precision_ends_with_the_training(tiny_paths, world, tmp_path):
    generator, _, _ = train(tiny_paths["bart"], world, tmp_path / "work", replace(QUICK, epochs=1, bf16=True))
    generator.save(tmp_path / "saved")
    again = load_tiny(tmp_path / "saved")
    prompt = [generator.vocabulary.markers(["title"])["title"].start]
    with torch.inference_mode():
        found, expected = (one.start(["cat"], prompt)[0] for one in (generator, again))
    assert torch.equal(found, expected)
    assert {value.dtype for value in generator.model.parameters()} == {torch.float32}


def test_training_prints_nothing(tiny_paths, world, tmp_path, capfd):
    train(tiny_paths["bart"], world, tmp_path / "work", replace(QUICK, epochs=1))
    assert capfd.readouterr().out == ""


def test_bad_input(tiny_paths, world, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="nothing to learn from"):
        train_generator(load_tiny(tiny_paths["bart"]), [], settings=QUICK, work_dir=tmp_path)
    monkeypatch.setattr("limbeck.trainers.find_spec", lambda name: None)
    with pytest.raises(InputError, match="TensorBoard"):
        train(tiny_paths["bart"], world, tmp_path / "work", replace(QUICK, tensorboard=True))
