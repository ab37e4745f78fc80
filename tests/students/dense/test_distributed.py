"""Training in two processes, as `torchrun` starts them, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch

from limbeck.losses import LIST_LOSSES
from limbeck.students.dense.objective import ListObjective
from tests.students.dense.test_training import QUICK, train
from tests.trainings import REPOSITORY, assert_same, losses

#: Without in-batch negatives, which each process has of its own.
OBJECTIVE = ListObjective("kl_divergence", LIST_LOSSES["kl_divergence"], in_batch_weight=0)
SETTINGS = replace(QUICK, batch_size=2, epochs=2)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_twice_the_batch(tiny_encoder_path, world, tmp_path):
    (tmp_path / "work.py").write_text(
        textwrap.dedent(
            f"""
            import os
            from pathlib import Path
            import torch
            from tests.students.dense.conftest import make_world
            from tests.students.dense.test_distributed import OBJECTIVE, SETTINGS
            from tests.students.dense.test_training import train
            from tests.trainings import losses
            folder = Path({str(tmp_path)!r}) / os.environ["RANK"]
            folder.mkdir()
            world, work = make_world(folder), folder.with_name("two")
            student, found = train({str(tiny_encoder_path)!r}, world, work, SETTINGS, (), OBJECTIVE)
            kept = [student.model.state_dict(), losses(found), losses(found, "grad_norm")]
            torch.save(kept, folder / "outcome.pt")
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "work.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    (first, found, norms), (second, _, _) = (torch.load(tmp_path / rank / "outcome.pt") for rank in "01")
    assert_same(second, first)
    accumulated = replace(SETTINGS, accumulation=2)
    _, expected = train(tiny_encoder_path, world, tmp_path / "one", accumulated, objective=OBJECTIVE)
    assert found == pytest.approx(losses(expected), rel=1e-2)
    assert norms == pytest.approx(losses(expected, "grad_norm"), rel=2e-2)
