"""What is looked at before anything is done: all that would otherwise end a run after an hour of work.

The types of a recipe find unknown keys, missing paths and contradictions. Here is what needs the packages
that do the work, or a look into the data. Each check takes a recipe and raises an InputError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import islice

import torch

from limbeck.data.formats.beir import LAYOUT
from limbeck.data.formats.fields import json_object
from limbeck.errors import InputError
from limbeck.evaluation import parse_metric
from limbeck.evaluation.report import require_extra
from limbeck.files import Records, find_file, require_folder
from limbeck.mining.tokenisation import tokenizer_for
from limbeck.pipeline.candidates import start_backbone
from limbeck.recipes import (
    BeirData,
    GenerativeStudentRecipe,
    HubData,
    IrDatasetsData,
    LLMMember,
    Recipe,
)
from limbeck.students.dense.adapters import LoraSettings, add_adapters
