"""Training: every kind learns, and goes on after a kill as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from limbeck.errors import InputError
from limbeck.students.generative.generator import log_probabilities
from limbeck.students.generative.identifiers import BodyView, TitleView
from limbeck.students.generative.targets import GenerationTargets
from limbeck.students.generative.training import GenerationSettings, generation_loss, train_generator
from tests.students.generative.worlds import KINDS, load_tiny, make_world, save_tiny

REPOSITORY = Path(__file__).resolve().parents[3]
QUICK = GenerationSettings(
    epochs=3, batch_size=3, learning_rate=1e-3, checkpoint_every=3, log_every=1, bf16=False
)
VIEWS = [TitleView(), BodyView(max_length=3, spans=2)]


class Interrupted(Exception):
    pass


class Interrupt(TrainerCallback):
    """Stops a training at the end of a step, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise Interrupted


class Kill(Interrupt):
    """Kills the process at the end of a step; nothing gets to clean up."""

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


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


def weights(generator):
    return {name: value.clone() for name, value in generator.model.state_dict().items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


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
    losses = [line["loss"] for line in outcome.curve if "loss" in line]
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])
    assert outcome.steps == len(losses) == 25 * 4
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
    assert_same(weights(again), weights(whole))
    assert outcome == expected or outcome.steps == expected.steps


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "qwen"])
def test_a_killed_training_ends_with_the_same_weights(tmp_path, kind):
    path = save_tiny(kind, tmp_path / "model", dropout=0.1)
    script = textwrap.dedent(
        f"""
        import torch
        from pathlib import Path
        from tests.students.generative.test_training import Kill, make_world, train
        torch.set_num_threads(1)
        folder = Path({str(tmp_path)!r})
        train({str(path)!r}, make_world(folder), folder / "cut", callbacks=[Kill(4)])
        """
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    # What a kill in the middle of writing the next checkpoint leaves.
    half = tmp_path / "cut" / "checkpoint-6"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    world = make_world(tmp_path)
    again, _, _ = train(path, world, tmp_path / "cut")
    whole, _, _ = train(path, world, tmp_path / "whole")
    assert_same(weights(again), weights(whole))


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
    assert [line["loss"] for line in other.curve if "loss" in line] == pytest.approx(
        [line["loss"] for line in one.curve if "loss" in line], rel=1e-3
    )
    for name, value in weights(large).items():
        torch.testing.assert_close(weights(parts)[name], value, atol=2e-3, rtol=1e-2, msg=name)


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
    monkeypatch.setattr("limbeck.students.generative.training.find_spec", lambda name: None)
    with pytest.raises(InputError, match="TensorBoard"):
        train(tiny_paths["bart"], world, tmp_path / "work", replace(QUICK, tensorboard=True))
