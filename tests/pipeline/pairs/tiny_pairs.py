"""Sets of pairs in which something can be learned: two sentences are alike as far as they share nouns."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from limbeck.recipes import Recipe, make_recipe
from tests.pipeline.tiny_corpus import NOUNS, tiny_content

SPLITS = {"train": 48, "dev": 24, "test": 24}


def write_pairs(folder: Path, seed: int = 0) -> Path:
    """Write train.tsv, dev.tsv and test.tsv with labels from 0 to 4 and classes, and return the folder."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    for split, count in SPLITS.items():
        lines = ["text1\ttext2\tlabel\tclass"]
        for at in range(count):
            words = rng.sample(NOUNS, 8)
            shared = at % 5
            one, other = words[:4], words[:shared] + words[4 : 8 - shared]
            label = "same" if shared >= 3 else "other"
            lines.append(f"the {' '.join(one)}\tthe {' '.join(other)}\t{shared}\t{label}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def set_content(folder: Path, /, **changes: Any) -> dict[str, Any]:
    """The section of one set, whose teacher is made in seconds."""
    fine_tuning = {"epochs": 1, "batch_size": 8, "checkpoint_every": 2}
    content = {split: str(folder / f"{split}.tsv") for split in SPLITS} | {
        "labels": {"kind": "graded", "low": 0, "high": 4},
        "neighbours": 2,
        "random": 1,
        "teacher": {
            "members": [
                {"kind": "cross-encoder", "max_length": 32, "fine_tuning": fine_tuning},
                {"kind": "bi-encoder", "fine_tuned": True, "fine_tuning": fine_tuning},
            ]
        },
    }
    return content | changes


def pair_content(folder: Path, encoder: Path, /, **changes: Any) -> dict[str, Any]:
    """The content of a recipe of pairs alone that ends in seconds; changes replace whole sections."""
    content = tiny_content(folder, encoder)
    kept = ("name", "device", "max_length", "backbone", "student", "training")
    return {key: content[key] for key in kept} | {"pairs": {"tiny": set_content(folder)}} | changes


def pair_recipe(folder: Path, encoder: Path, /, **changes: Any) -> Recipe:
    """`pair_content` as a recipe."""
    return make_recipe(pair_content(folder, encoder, **changes), folder / "recipe.yaml")
