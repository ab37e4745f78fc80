"""What every training shares, with a model of one weight."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from transformers import AttentionInterface, Trainer, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput

from limbeck import trainers
from limbeck.errors import InputError
from limbeck.trainers import (
    EpochSettings,
    TrainerSettings,
    forget_other_runs,
    last_whole_checkpoint,
    run_trainer,
)
from tests.trainings import Interrupt, Interrupted, Steps, assert_same, losses, weights


@dataclass(frozen=True, kw_only=True)
class Settings(EpochSettings):
    epochs: float = 2
    batch_size: int = 2
    learning_rate: float = 0.1
    checkpoint_every: int = 2
    log_every: int = 1
    bf16: bool | None = False


class Line(torch.nn.Module):
    """Fits y = w x by least squares."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, labels):
        return SequenceClassifierOutput(loss=((self.w * x - labels) ** 2).mean(), logits=self.w * x)


def make_trainer(work: Path, settings=None, callbacks=()) -> Trainer:
    """Four examples of y = 3 x, two a batch: four steps in two epochs."""
    return Trainer(
        model=Line(),
        args=TrainingArguments(**(settings or Settings()).arguments("cpu", work)),
        train_dataset=[{"x": float(x), "labels": 3.0 * x} for x in (1, 1, 1, 1)],
        callbacks=list(callbacks),
    )


@pytest.mark.parametrize(("ratio", "steps"), [(0.0, 0), (0.1, 2), (0.5, 10), (1.0, 20)])
def test_the_rate_rises_over_its_share_of_the_steps(tmp_path, ratio, steps):
    arguments = TrainingArguments(**Settings(warmup_ratio=ratio).arguments("cpu", tmp_path))
    assert arguments.get_warmup_steps(20) == steps


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_the_rate_rises_over_as_many_steps_as_are_named(tmp_path, steps):
    settings = Settings(warmup_ratio=0.5, warmup_steps=steps)
    assert TrainingArguments(**settings.arguments("cpu", tmp_path)).get_warmup_steps(20) == steps


def test_the_optimiser_has_the_betas(tmp_path):
    trainer = make_trainer(tmp_path, Settings(adam_betas=(0.8, 0.95)))
    assert {group["betas"] for group in trainer.create_optimizer().param_groups} == {(0.8, 0.95)}


def test_a_folder_from_before_there_were_betas_goes_on(tmp_path):
    forget_other_runs(tmp_path, Settings(), ["data"])
    note = json.loads((tmp_path / "limbeck.json").read_text())
    assert not note["settings"].keys() & {"adam_betas", "warmup_steps"}
    (tmp_path / "model").mkdir()
    forget_other_runs(tmp_path, Settings(), ["data"])
    assert (tmp_path / "model").is_dir()
    forget_other_runs(tmp_path, Settings(adam_betas=(0.8, 0.9)), ["data"])
    assert not (tmp_path / "model").exists()


def test_settings_become_arguments(tmp_path, monkeypatch):
    monkeypatch.setattr(trainers, "supports_bf16", lambda device: device == "cuda")
    plain = TrainerSettings(batch_size=8, learning_rate=1e-3, checkpoint_every=7, seed=5)
    expected = {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "warmup_steps": 0.1,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "weight_decay": 0.01,
        "seed": 5,
        "data_seed": 5,
        "bf16": True,
        "use_cpu": False,
        "save_strategy": "steps",
        "save_steps": 7,
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": True,
    }
    assert plain.arguments("cuda", tmp_path) == expected
    on_cpu = {"bf16": False, "use_cpu": True, "dataloader_pin_memory": False}
    assert plain.arguments("cpu", tmp_path) == expected | on_cpu
    epochs = EpochSettings(
        batch_size=8, learning_rate=1e-3, checkpoint_every=7, seed=5, epochs=0.5, log_every=9, accumulation=3
    )
    more = {
        "num_train_epochs": 0.5,
        "gradient_accumulation_steps": 3,
        "max_grad_norm": 1.0,
        "logging_steps": 9,
    }
    assert epochs.arguments("cuda", tmp_path) == expected | more


@pytest.mark.parametrize("chosen", [True, False])
def test_a_chosen_precision_is_taken_whatever_the_hardware(tmp_path, monkeypatch, chosen):
    monkeypatch.setattr(trainers, "supports_bf16", lambda device: not chosen)
    assert replace(Settings(), bf16=chosen).arguments("cpu", tmp_path)["bf16"] is chosen


class Reading(Line):
    """A line that notes which attention an encoder would have."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = set()

    def forward(self, x, labels):
        self.seen.add(AttentionInterface()["sdpa"].__module__)
        return super().forward(x, labels)


def test_in_a_training_attention_is_computed_in_float32(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.model = trainer.model_wrapped = Reading()
    run_trainer(trainer)
    assert trainer.model.seen == {"limbeck.attention"}
    assert not AttentionInterface()["sdpa"].__module__.startswith("limbeck")


def test_the_outcome_holds_the_numbers_of_the_log(tmp_path, capsys):
    outcome = run_trainer(make_trainer(tmp_path))
    assert outcome.steps == 4
    assert losses(outcome, "step") == [1, 2, 3, 4, 4]  # the last entry sums up
    # The first error is 3 for every example.
    assert outcome.curve[0]["loss"] == pytest.approx(9.0)
    assert all(isinstance(value, float) for line in outcome.curve for value in line.values())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("step", [1, 2, 3])
def test_it_goes_on_from_the_last_whole_checkpoint(tmp_path, step):
    whole = make_trainer(tmp_path / "whole")
    expected = run_trainer(whole)
    with pytest.raises(Interrupted):
        run_trainer(make_trainer(tmp_path / "cut", callbacks=[Interrupt(step)]))
    steps = Steps()
    again = make_trainer(tmp_path / "cut", callbacks=[steps])
    outcome = run_trainer(again)
    assert steps.seen == ([3, 4] if step == 3 else [1, 2, 3, 4])
    assert losses(outcome) == losses(expected)
    assert_same(weights(again.model), weights(whole.model))


def test_tensorboard_writes_beside_the_work_folder(tmp_path):
    run_trainer(make_trainer(tmp_path / "silent" / "work"))
    assert not list(tmp_path.rglob("events.out.tfevents*"))
    run_trainer(make_trainer(tmp_path / "loud" / "work"), tensorboard=True)
    (events,) = tmp_path.rglob("events.out.tfevents*")
    assert events.parent == tmp_path / "loud" / "tensorboard"
    assert b"train/loss" in events.read_bytes()


def test_missing_tensorboard_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(trainers, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="TensorBoard is asked for and not installed"):
        run_trainer(make_trainer(tmp_path), tensorboard=True)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_last_whole_checkpoint(tmp_path):
    assert last_whole_checkpoint(tmp_path) is None
    for step, state in ((2, "{}"), (10, "{}"), (12, '{"cut'), (14, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert not (tmp_path / "checkpoint-12").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "rng_state.pth"])
def test_a_checkpoint_with_a_file_cut_short_is_passed_over(tmp_path, file):
    run_trainer(make_trainer(tmp_path))
    (newest,) = tmp_path.glob("checkpoint-*")
    before = Path(shutil.copytree(newest, tmp_path / "checkpoint-1"))
    assert last_whole_checkpoint(tmp_path) == newest
    (newest / "other.bin").write_bytes(b"of somebody else, and no zip")
    assert last_whole_checkpoint(tmp_path) == newest
    content = (newest / file).read_bytes()
    (newest / file).write_bytes(content[: len(content) // 2])
    assert last_whole_checkpoint(tmp_path) == before
    assert not newest.exists()


def test_a_training_whose_gradient_is_nan_ends_at_the_next_entry_of_the_log(tmp_path):
    trainer = make_trainer(tmp_path, Settings(epochs=50, log_every=2))
    trainer.train_dataset = [{"x": float("nan"), "labels": 1.0}] * 4
    with pytest.raises(
        InputError, match=r"diverged: the gradient is NaN at step 2.*lower the learning rate.* 0\.1"
    ):
        run_trainer(trainer)
