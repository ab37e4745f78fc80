"""What tests of trainings share: cutting one short, and comparing what comes out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import torch
from transformers import TrainerCallback

REPOSITORY = Path(__file__).resolve().parents[1]


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


class Steps(TrainerCallback):
    """Notes the steps that a training makes."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_step_end(self, args, state, control, **_):
        self.seen.append(state.global_step)


def run_killed(script: str) -> None:
    """Runs a script in a process of its own, which must be killed."""
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=REPOSITORY, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()


def leave_half(work: Path, step: int) -> None:
    """What a kill in the middle of writing a checkpoint leaves."""
    half = work / f"checkpoint-{step}"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a model's weights by name."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def losses(outcome, part="loss") -> list[float]:
    """One part of the loss, entry by entry of the log."""
    return [line[part] for line in outcome.curve if part in line]
