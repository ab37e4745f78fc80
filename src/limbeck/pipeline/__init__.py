"""The stages that a recipe runs, and the folder in which it runs them."""

from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.progress import Progress, Silent
from limbeck.pipeline.run import Run, Stage, run_stages
from limbeck.pipeline.stages import stages_of

__all__ = ["Progress", "Run", "RunFolder", "Silent", "Stage", "run_stages", "stages_of"]
