"""A BEIR folder in which ranking can be learned: a query names two of the three words of its passage."""

from __future__ import annotations

import json
import random
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from limbeck.pipeline import Run, RunFolder, Silent, run_stages, stages_of
from limbeck.pipeline.progress import Advance
from limbeck.recipes import Recipe, make_recipe

TEXT = """
cat dog bird fish sea city river france germany paris berlin capital red green blue sum list file
sort number string time thread day year water fire tree house book music war king queen
"""
NOUNS = TEXT.split()
SPLITS = {"train": 40, "dev": 15, "test": 15}


def write_corpus(folder: Path, passages: int = 60, seed: int = 0) -> Path:
    """Write `corpus.jsonl`, `queries.jsonl` and the qrels of three splits, and return the folder."""
    rng = random.Random(seed)
    triples = [rng.sample(NOUNS, 3) for _ in range(passages)]
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as corpus:
        for at, (a, b, c) in enumerate(triples):
            record = {"_id": f"p{at}", "title": a, "text": f"the {a} and the {b} with a {c}"}
            corpus.write(json.dumps(record) + "\n")
    with (folder / "queries.jsonl").open("w") as queries:
        for split, count in SPLITS.items():
            lines = ["query-id\tcorpus-id\tscore"]
            for at in range(count):
                target = rng.randrange(passages)
                one, other = rng.sample(triples[target], 2)
                queries.write(
                    json.dumps({"_id": f"{split}{at}", "text": f"where is the {one} of {other}"}) + "\n"
                )
                lines.append(f"{split}{at}\tp{target}\t1")
            (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def tiny_content(corpus: Path, encoder: Path, **changes: Any) -> dict[str, Any]:
    """The content of a recipe that ends in seconds; changes replace whole sections."""
    content: dict[str, Any] = {
        "name": "tiny",
        "device": "cpu",
        "max_length": 32,
        "backbone": str(encoder),
        "data": {"kind": "beir", "folder": str(corpus)},
        "mining": {"depth": 6, "random": 2, "evaluation_depth": 20},
        "teacher": {
            "max_length": 32,
            "members": [
                {"kind": "bm25"},
                {"kind": "bi-encoder"},
                {
                    "kind": "cross-encoder",
                    "fine_tuning": {"steps": 4, "batch_size": 4, "checkpoint_every": 2},
                },
            ],
        },
        "student": {"heads": 4, "hidden": 16, "features": 8},
        "training": {"batch_size": 8, "checkpoint_every": 2, "hard_negatives": 4},
        "baseline": {"batch_size": 8},
        "index": {"candidates": 30},
        "evaluation": {"metrics": ["nDCG@10", "MRR@10", "Recall@20"], "depth": 20},
    }
    return content | changes


def generative_content(corpus: Path, encoder: Path, **changes: Any) -> dict[str, Any]:
    """As `tiny_content`, with a generative student that learns to rank; changes are keys of the student."""
    content = tiny_content(corpus, encoder)
    student = {
        "kind": "generative",
        "generation": {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3, "checkpoint_every": 2},
        "ranking": {
            "depth": 6,
            "max_queries": 20,
            "epochs": 2,
            "learning_rate": 1e-3,
            "checkpoint_every": 2,
        },
        "search": {"beams": 4},
    }
    foreign = {"loss", "training", "index", "student"}
    return {key: value for key, value in content.items() if key not in foreign} | {
        "student": student | changes
    }


def tiny_recipe(corpus: Path, encoder: Path, **changes: Any) -> Recipe:
    """`tiny_content` as a recipe."""
    return make_recipe(tiny_content(corpus, encoder, **changes), corpus / "recipe.yaml")


class Record(Silent):
    """Keeps which stages of a recipe were reused, how much there was of what, and the notes."""

    def __init__(self, recipe: Recipe) -> None:
        self.stages = {stage.title: stage.name for stage in stages_of(recipe)}
        self.reused: dict[str, bool] = {}
        self.tasks: dict[str, int | None] = {}
        self.notes: list[str] = []

    def stage(self, number: int, total: int, title: str, *, reused: bool) -> None:
        self.reused[self.stages[title]] = reused

    def task(self, title: str, total: int | None) -> AbstractContextManager[Advance]:
        self.tasks[title] = total
        return super().task(title, total)

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def done(self) -> list[str]:
        """The stages that were not reused."""
        return [name for name, reused in self.reused.items() if not reused]


def run_recipe(recipe: Recipe, folder: Path, *, anyway: bool = False, until: str | None = None) -> Record:
    """Run it all, or until a stage, and tell what was done."""
    record = Record(recipe)
    run_stages(Run(recipe, RunFolder(folder), record, anyway=anyway), stages_of(recipe), until=until)
    return record
