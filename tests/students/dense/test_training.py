"""Training: it learns, it goes on after a kill as if nothing had been, and it logs what it did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from limbeck.data import Judgements
from limbeck.errors import InputError
from limbeck.losses import LIST_LOSSES, D2LLMLoss
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.dense.lists import JudgedExample, judged_positives
from limbeck.students.dense.objective import D2LLMObjective, ListObjective
from limbeck.students.dense.student import DenseStudent
from limbeck.students.dense.training import TrainingSettings, train_in_batch, train_student
from tests.students.dense.conftest import World, make_world
from tests.tiny_models import tiny_decoder, tiny_encoder
from tests.trainings import (
    Interrupt,
    Interrupted,
    Steps,
    assert_same,
    leave_half,
    losses,
    run_killed,
    weights,
)

SMALL = {"max_length": 32, "heads": 4, "hidden": 16, "features": 8, "device": "cpu"}
QUICK = TrainingSettings(
    epochs=4,
    batch_size=4,
    learning_rate=1e-3,
    head_learning_rate=1e-3,
    checkpoint_every=3,
    log_every=1,
    bf16=False,
)
KL = ListObjective("kl_divergence", LIST_LOSSES["kl_divergence"])


@pytest.fixture(scope="module")
def dropout_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with dropout: going on exactly needs its random numbers too."""
    return tiny_encoder(tmp_path_factory.mktemp("dropout"), dropout=0.1)


def train(path, world: World, work: Path, settings=QUICK, callbacks=(), objective=KL):
    student = DenseStudent.start(str(path), **SMALL)
    outcome = train_student(
        student,
        world.lists,
        queries=world.queries,
        passages=world.passages,
        objective=objective,
        settings=settings,
        work_dir=work,
        cosine_weight=0.5,
        callbacks=callbacks,
    )
    return student, outcome


def train_baseline(path, world: World, work: Path, callbacks=(), settings=QUICK):
    model = load_backbone(str(path), 32, "cpu")
    outcome = train_in_batch(
        model,
        judged_positives(world.judgements),
        queries=world.queries,
        passages=world.passages,
        settings=settings,
        work_dir=work,
        callbacks=callbacks,
    )
    return model, outcome


@pytest.mark.parametrize(
    "objective",
    [KL, D2LLMObjective(D2LLMLoss())],
    ids=["list", "d2llm"],
)
def test_the_loss_goes_down_and_every_part_of_the_student_moves(
    tiny_encoder_path, world, tmp_path, objective
):
    before = weights(DenseStudent.start(str(tiny_encoder_path), **SMALL).model)
    settings = replace(QUICK, epochs=10)
    student, outcome = train(tiny_encoder_path, world, tmp_path / "work", settings, objective=objective)
    curve = losses(outcome)
    assert outcome.steps == len(curve) == 20
    assert sum(curve[-4:]) < 0.8 * sum(curve[:4])
    moved = {name for name, value in weights(student.model).items() if not torch.equal(value, before[name])}
    still = before.keys() - moved
    assert all("pooler" in name or "symmetric" in name.split(".") for name in still), still


def test_computing_layers_twice_changes_nothing(dropout_path, world, tmp_path):
    kept, _ = train(dropout_path, world, tmp_path / "kept")
    settings = replace(QUICK, gradient_checkpointing=True)
    recomputed, _ = train(dropout_path, world, tmp_path / "again", settings)
    for name, value in weights(recomputed.model).items():
        torch.testing.assert_close(value, kept.model.state_dict()[name])


def test_parts_of_the_loss_add_up_in_the_log(tiny_encoder_path, world, tmp_path):
    _, outcome = train(tiny_encoder_path, world, tmp_path / "work", replace(QUICK, epochs=1))
    line = outcome.curve[0]
    parts = {name: value for name, value in line.items() if name.endswith("_loss")}
    assert set(parts) == {
        "kl_divergence_loss",
        "in_batch_loss",
        "cosine_kl_divergence_loss",
        "cosine_in_batch_loss",
    }
    assert sum(parts.values()) == pytest.approx(line["loss"], abs=1e-3)
    # At step 0 the student is its cosine part.
    assert parts["cosine_kl_divergence_loss"] == pytest.approx(parts["kl_divergence_loss"] / 2, abs=1e-3)


def test_heads_learn_at_their_own_rate(tiny_encoder_path, world, tmp_path):
    start = weights(DenseStudent.start(str(tiny_encoder_path), **SMALL).model)
    settings = replace(QUICK, epochs=1, learning_rate=1e-12, weight_decay=0.0)
    student, _ = train(tiny_encoder_path, world, tmp_path / "work", settings)
    for name, value in weights(student.model).items():
        farthest = (value - start[name]).abs().max()
        if name.startswith("0."):
            assert farthest < 1e-7, name
        elif name in {"1.branch.weight", "3.outputs.asymmetric.weight", "3.cosine_scale"}:
            assert farthest > 1e-4, name


@pytest.mark.parametrize("step", [1, 4, 7])
def test_an_interrupted_training_ends_with_the_same_weights(dropout_path, world, tmp_path, step):
    whole, expected = train(dropout_path, world, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(dropout_path, world, tmp_path / "cut", callbacks=[Interrupt(step)])
    steps = Steps()
    again, outcome = train(dropout_path, world, tmp_path / "cut", callbacks=[steps])
    assert steps.seen[0] == step // 3 * 3 + 1
    assert_same(weights(again.model), weights(whole.model))
    assert outcome.steps == expected.steps
    assert losses(outcome) == losses(expected)


def test_the_interrupted_baseline_ends_with_the_same_weights(dropout_path, world, tmp_path):
    whole, _ = train_baseline(dropout_path, world, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train_baseline(dropout_path, world, tmp_path / "cut", [Interrupt(5)])
    again, _ = train_baseline(dropout_path, world, tmp_path / "cut")
    assert_same(weights(again), weights(whole))


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(dropout_path, world, tmp_path):
    run_killed(
        f"""
        from pathlib import Path
        from tests.students.dense.test_training import make_world, train
        from tests.trainings import Kill
        folder = Path({str(tmp_path)!r})
        train({str(dropout_path)!r}, make_world(folder), folder / "cut", callbacks=[Kill(4)])
        """
    )
    leave_half(tmp_path / "cut", 6)
    again, _ = train(dropout_path, make_world(tmp_path), tmp_path / "cut")
    whole, _ = train(dropout_path, world, tmp_path / "whole")
    assert_same(weights(again.model), weights(whole.model))


def test_accumulation_is_the_larger_batch(tiny_encoder_path, world, tmp_path):
    # Without in-batch negatives: these are of the batch that is encoded together.
    objective = ListObjective("kl_divergence", LIST_LOSSES["kl_divergence"], in_batch_weight=0)
    found = {}
    for name, settings in {
        "large": replace(QUICK, batch_size=8),
        "accumulated": replace(QUICK, batch_size=2, accumulation=4),
    }.items():
        student, outcome = train(tiny_encoder_path, world, tmp_path / name, settings, objective=objective)
        found[name] = (weights(student.model), losses(outcome), losses(outcome, "grad_norm"))
    (large, large_losses, large_norms), (parts, losses_of_parts, norms) = found.values()
    assert losses_of_parts == pytest.approx(large_losses, rel=1e-2)
    assert norms == pytest.approx(large_norms, rel=2e-2)
    for name, value in large.items():
        torch.testing.assert_close(parts[name], value, atol=2e-3, rtol=1e-2, msg=name)


@pytest.mark.parametrize("bf16", [True, False])
def test_mixed_precision_can_be_chosen(tiny_encoder_path, world, tmp_path, bf16):
    class Dtype(TrainerCallback):
        def on_step_begin(self, args, state, control, model, **_):
            # In the forward pass: the output of a linear layer of the encoder.
            layer = model[0].model.encoder.layer[0].intermediate.dense
            self.handle = layer.register_forward_hook(lambda _, __, out: setattr(self, "dtype", out.dtype))

    watch = Dtype()
    student, outcome = train(
        tiny_encoder_path, world, tmp_path / "work", replace(QUICK, epochs=1, bf16=bf16), [watch]
    )
    assert watch.dtype == (torch.bfloat16 if bf16 else torch.float32)
    assert {value.dtype for value in student.model.parameters()} == {torch.float32}
    assert all(torch.isfinite(torch.tensor(losses(outcome))))


def test_precision_follows_the_hardware_unless_chosen(tiny_encoder_path, world, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("limbeck.trainers.supports_bf16", lambda device: asked.append(device) or False)
    train(tiny_encoder_path, world, tmp_path / "work", replace(QUICK, epochs=0.5, bf16=None))
    assert asked == ["cpu"]


def test_tensorboard_files_appear_when_asked_for(tiny_encoder_path, world, tmp_path):
    train(tiny_encoder_path, world, tmp_path / "silent" / "work", replace(QUICK, epochs=1))
    assert not list(tmp_path.rglob("events.out.tfevents*"))
    train(tiny_encoder_path, world, tmp_path / "loud" / "work", replace(QUICK, epochs=1, tensorboard=True))
    (events,) = tmp_path.rglob("events.out.tfevents*")
    assert events.parent == tmp_path / "loud" / "tensorboard"
    assert b"train/loss" in events.read_bytes()


def test_training_prints_nothing(tiny_encoder_path, world, tmp_path, capsys):
    train(tiny_encoder_path, world, tmp_path / "work", replace(QUICK, epochs=1))
    printed = capsys.readouterr()
    assert printed.out == ""


@pytest.mark.slow
def test_a_decoder_learns_and_encodes(world, tmp_path):
    student, outcome = train(tiny_decoder(tmp_path), world, tmp_path / "work", replace(QUICK, epochs=8))
    curve = losses(outcome)
    assert sum(curve[-4:]) < 0.9 * sum(curve[:4])
    student.save(tmp_path / "student")
    again = DenseStudent.load(tmp_path / "student", "cpu")
    assert (again.encode(["cat dog"]) == student.encode(["cat dog"])).all()


def test_the_baseline_learns(tiny_encoder_path, world, tmp_path):
    _, outcome = train_baseline(
        tiny_encoder_path, world, tmp_path / "work", settings=replace(QUICK, epochs=10)
    )
    curve = losses(outcome)
    assert sum(curve[-4:]) < 0.8 * sum(curve[:4])


def batches_of(model, examples, world: World, work: Path):
    """The batches of an epoch in which a bi-encoder learns from the examples, and how it went."""
    seen = []

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, train_dataloader, **_):
            seen.extend(train_dataloader)

    outcome = train_in_batch(
        model,
        examples,
        queries=world.queries,
        passages=world.passages,
        settings=replace(QUICK, epochs=1),
        work_dir=work,
        callbacks=[Watch()],
    )
    return seen, outcome


def first_texts(model, batches, column: str) -> list[str]:
    """The first text of each batch, as its tokens say it."""
    return [model.tokenizer.decode(batch[f"{column}_input_ids"][0]) for batch in batches]


def test_the_baseline_never_has_a_text_twice_in_a_batch(tiny_encoder_path, world, tmp_path):
    twice = Judgements([(f"q{i}", f"p{i % 2}", 1) for i in range(4)])
    model = load_backbone(str(tiny_encoder_path), 32, "cpu")
    batches, _ = batches_of(model, judged_positives(twice), world, tmp_path / "work")
    positives = [batch["positive_input_ids"] for batch in batches]
    assert positives
    assert all(len(batch.unique(dim=0)) == len(batch) for batch in positives)


def test_the_baseline_learns_with_the_prompts_of_the_backbone(tiny_encoder_path, world, tmp_path):
    model = load_backbone(str(tiny_encoder_path), 32, "cpu")
    model.prompts = {"query": "what is ", "document": "the "}
    batches, _ = batches_of(model, judged_positives(world.judgements), world, tmp_path / "work")
    assert all(text.startswith("[CLS] what is ") for text in first_texts(model, batches, "anchor"))
    assert all(text.startswith("[CLS] the ") for text in first_texts(model, batches, "positive"))


def test_a_batch_of_the_baseline_has_its_hard_negatives_as_texts_of_their_own(
    tiny_encoder_path, world, tmp_path
):
    model = load_backbone(str(tiny_encoder_path), 32, "cpu")
    model.prompts = {"query": "", "document": "the "}
    example = JudgedExample("q0", ["p0", "p2", "p3"])
    batches, outcome = batches_of(model, [example], world, tmp_path / "work")
    contents = [f"the {world.passages.contents([row])[0]}" for row in (0, 2, 3)]
    for column, content in zip(("positive", "negative_1", "negative_2"), contents, strict=True):
        expected = model.tokenizer.decode(model.tokenizer(content)["input_ids"])
        assert first_texts(model, batches, column) == [expected]
    # A query alone in its batch has nothing but its own negatives for a loss.
    assert losses(outcome)[0] > 0


def test_an_example_may_have_a_hard_negative_twice(tiny_encoder_path, world, tmp_path):
    """As one has that was drawn of too few candidates."""
    model = load_backbone(str(tiny_encoder_path), 32, "cpu")
    examples = [JudgedExample("q0", ["p0", "p2", "p2"]), JudgedExample("q1", ["p1", "p3", "p3"])]
    batches, _ = batches_of(model, examples, world, tmp_path / "work")
    assert [len(batch["positive_input_ids"]) for batch in batches] == [2]


def test_nothing_to_learn_from_is_said(student, world, tmp_path):
    with pytest.raises(InputError, match="nothing to learn from"):
        train_student(
            student,
            [],
            queries=world.queries,
            passages=world.passages,
            objective=KL,
            settings=QUICK,
            work_dir=tmp_path,
        )
    with pytest.raises(InputError, match="nothing to learn from"):
        train_in_batch(
            student.model,
            judged_positives(Judgements([("q1", "p1", 0)])),
            queries=world.queries,
            passages=world.passages,
            settings=QUICK,
            work_dir=tmp_path,
        )


def test_missing_tensorboard_is_said(tiny_encoder_path, world, tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.trainers.find_spec", lambda name: None)
    with pytest.raises(InputError, match="TensorBoard"):
        train(tiny_encoder_path, world, tmp_path / "work", replace(QUICK, tensorboard=True))
