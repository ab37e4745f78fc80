"""The stages that a recipe runs, and the folder in which it runs them."""

from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.progress import Progress, Silent
from limbeck.pipeline.run import Run, Stage, estimate_costs, run_stages
from limbeck.pipeline.stages import stages_of

__all__ = [
    "CostEstimate",
    "Progress",
    "Run",
    "RunFolder",
    "Silent",
    "Stage",
    "estimate_costs",
    "run_stages",
    "stages_of",
]
