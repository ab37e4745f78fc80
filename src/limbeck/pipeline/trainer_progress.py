"""Progress of a training, passed on from the library's trainer."""

from __future__ import annotations

from contextlib import AbstractContextManager

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from limbeck.pipeline.progress import Advance, Progress


class TrainerProgress(TrainerCallback):
    """Passes the steps of the library's trainer on to a task.

    Args:
        progress: where to.
        title: of the task.
    """

    def __init__(self, progress: Progress, title: str) -> None:
        self.progress = progress
        self.title = title
        self.context: AbstractContextManager[Advance] | None = None
        self.advance: Advance = lambda _count: None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Starts the task, at the step of the checkpoint where there is one."""
        self.context = self.progress.task(self.title, state.max_steps)
        self.advance = self.context.__enter__()
        self.advance(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """One step more."""
        self.advance(1)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Ends the task."""
        if self.context is not None:
            self.context.__exit__(None, None, None)
