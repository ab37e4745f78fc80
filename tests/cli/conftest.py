"""A pipeline and a retriever that do nothing slow, a real tiny run, and run files to score by hand."""

from __future__ import annotations

import shutil
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from limbeck.evaluation import Estimate, Latency, Results, SystemResult

RETRIEVER = "limbeck.students.dense.retriever"
RESULTS = Results(
    {
        "bm25": SystemResult({"nDCG@10": Estimate(0.41, 0.38, 0.44)}, Latency(1.2, 2.0)),
        "student[1]": SystemResult({"nDCG@10": Estimate(0.52, 0.5, 0.54)}, Latency(12, 20)),
    }
)


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@dataclass
class FakePipeline:
    """What the command line asked of the pipeline; `behaviour` is called with the run's progress."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    behaviour: Any = None


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    fake = FakePipeline()
    module: Any = types.ModuleType("limbeck.pipeline")

    class Run:
        def __init__(self, recipe: Any, folder: Path, progress: Any, *, anyway: bool) -> None:
            self.recipe, self.folder, self.progress, self.anyway = recipe, folder, progress, anyway

    def run_stages(run: Run, stages: Any, *, until: str | None = None) -> None:
        fake.calls.append({"recipe": run.recipe, "folder": run.folder, "anyway": run.anyway, "until": until})
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / ".lock").touch()
        if fake.behaviour is not None:
            fake.behaviour(run.progress)
        RESULTS.write(run.folder / "metrics.json")
        (run.folder / "report.html").touch()
        for stage in {"index", until} - {None}:
            (run.folder / stage).mkdir(exist_ok=True)

    module.Run, module.RunFolder, module.run_stages = Run, Path, run_stages
    module.stages_of = lambda _recipe: ()
    monkeypatch.setitem(sys.modules, "limbeck.pipeline", module)
    return fake


@dataclass(frozen=True)
class Hit:
    rank: int
    passage_id: str
    score: float
    title: str
    text: str


HITS = [
    Hit(
        1,
        "functools.lru_cache",
        7.25,
        "functools.lru_cache",
        "lru_cache(maxsize)\n\nLeast-recently-used " * 20,
    ),
    Hit(2, "d[2]", -1.5, "list[int]", "[bold]text[/bold] :smile:"),
    Hit(3, "zh", -2.0, "", "中文" * 200),
]


@pytest.fixture
def retriever(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The questions that were asked, of a retriever that always finds the same."""
    asked: list[tuple[str, int]] = []
    module: Any = types.ModuleType(RETRIEVER)

    class DenseRetriever:
        @classmethod
        def open(cls, folder: Path) -> DenseRetriever:
            return cls()

        def search(self, query: str, k: int) -> list[Hit]:
            asked.append((query, k))
            return HITS[:k]

    module.DenseRetriever, module.Hit = DenseRetriever, Hit
    monkeypatch.setitem(sys.modules, RETRIEVER, module)
    return asked


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text("data: {kind: stdlib}\n", encoding="utf-8")
    return path


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "finished"
    (folder / "index").mkdir(parents=True)
    return folder


def generative_recipe(corpus: Path, encoder: Path) -> Any:
    """A base retriever of three views, whose search is wide enough to come upon every title."""
    from limbeck.recipes import make_recipe  # noqa: PLC0415
    from tests.pipeline.tiny_corpus import generative_content  # noqa: PLC0415  # brings torch

    questions = {"kind": "pseudo-query", "sources": [{"kind": "training-queries"}]}
    content = generative_content(
        corpus,
        encoder,
        views=[{"kind": "title"}, {"kind": "body"}, questions],
        ranking=None,
        search={"beams": 64},
    )
    return make_recipe(content, corpus / "recipe.yaml")


@pytest.fixture(scope="session")
def generative_parts(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_path: Path) -> tuple[Path, Any]:
    """A run of a generative student up to its index, of 60 passages, and its recipe."""
    from tests.pipeline.tiny_corpus import run_recipe, write_corpus  # noqa: PLC0415

    root = tmp_path_factory.mktemp("generative")
    recipe = generative_recipe(write_corpus(root / "corpus"), tiny_encoder_path)
    run_recipe(recipe, root / "run", until="index")
    return root / "run", recipe


@pytest.fixture(scope="session")
def generative_run(generative_parts: tuple[Path, Any]) -> Path:
    """The folder of that run, to be read."""
    return generative_parts[0]


@pytest.fixture
def generative_copy(generative_run: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be changed."""
    return Path(shutil.copytree(generative_run, tmp_path / "run"))


@pytest.fixture
def qrels(tmp_path: Path) -> Path:
    """q1 wants d1, q2 wants d2, q3 wants d3."""
    path = tmp_path / "qrels.txt"
    path.write_text("q1 0 d1 1\nq2 0 d2 1\nq3 0 d3 1\n", encoding="utf-8")
    return path


@pytest.fixture
def run_a(tmp_path: Path) -> Path:
    """Reciprocal ranks 1, 1/2 and 0 (nothing for q3)."""
    path = tmp_path / "a.trec"
    path.write_text("q1 Q0 d1 1 9.0 a\nq2 Q0 d1 1 9.0 a\nq2 Q0 d2 2 8.0 a\n", encoding="utf-8")
    return path


@pytest.fixture
def run_b(tmp_path: Path) -> Path:
    """Reciprocal ranks 1/2, 1/2 and 1."""
    path = tmp_path / "b.trec"
    lines = [
        "q1 Q0 d2 1 9.0 b",
        "q1 Q0 d1 2 8.0 b",
        "q2 Q0 d1 1 9.0 b",
        "q2 Q0 d2 2 8.0 b",
        "q3 Q0 d3 1 9.0 b",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
