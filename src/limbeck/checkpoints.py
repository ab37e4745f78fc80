"""Going on from a trainer's checkpoints after a kill at any instant."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

_STATE = "trainer_state.json"  # the trainer writes it last


def last_whole_checkpoint(work_dir: Path) -> Path | None:
    """The newest `checkpoint-STEP` in a trainer's folder that was written to its end; halves are removed.

    A process that is killed while it writes a checkpoint leaves one that cannot be loaded, and the
    trainer's own search would take it.

    Example:
        >>> checkpoint = last_whole_checkpoint(work_dir)
        >>> trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    """
    found = [
        path for path in work_dir.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()
    ]
    for checkpoint in sorted(found, key=lambda path: -int(path.name.removeprefix("checkpoint-"))):
        try:
            json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(checkpoint, ignore_errors=True)
        else:
            return checkpoint
    return None
