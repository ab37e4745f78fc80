from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from limbeck.errors import InputError
from limbeck.evaluation import FamilyResults, Results
from limbeck.pipeline import RunFolder, Silent
from limbeck.pipeline.family import VariantFailedError, run_family
from limbeck.pipeline.systems import system_names
from limbeck.recipes.family import Family, load_family
from limbeck.students.dense.retriever import DenseRetriever
from tests.pipeline.tiny_corpus import generative_content, tiny_content

METRICS = ["nDCG@10", "MRR@10", "Recall@20"]
INDEPENDENT = ["bm25", "backbone", "backbone-in-batch", "teacher"]
VARIANTS = {"kl": {}, "ranknet": {"loss.kind": "rank_net"}}


class Log(Silent):
    """Which stages of which runs were done, and which runs were found finished."""

    def __init__(self) -> None:
        self.done: dict[str, list[str]] = {}
        self.reused: list[str] = []

    def run(self, number: int, total: int, title: str, *, reused: bool) -> None:
        self.title = f"{number}/{total} {title}"
        self.reused += [self.title] * reused
        self.done[self.title] = []

    def stage(self, number: int, total: int, title: str, *, reused: bool) -> None:
        self.done[self.title] += [] if reused else [title]


def write_family(folder: Path, content: dict[str, Any], **keys: Any) -> Family:
    """A family beside its recipe; keys are those of its file."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    document = {"name": "losses", "recipe": "recipe.yaml", "variants": VARIANTS} | keys
    (folder / "family.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return load_family(folder / "family.yaml")


@pytest.fixture(scope="module")
def content(corpus: Path, tiny_encoder_path: Path) -> dict[str, Any]:
    """The tiny dense recipe, with a teacher that needs no training."""
    teacher = {"members": [{"kind": "bm25"}]}
    return tiny_content(corpus, tiny_encoder_path, teacher=teacher)


@pytest.fixture(scope="module")
def ran(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> tuple[Family, Path, FamilyResults, Log]:
    """A finished family of two variants with two seeds."""
    folder = tmp_path_factory.mktemp("family")
    family, log = write_family(folder / "files", content, seeds=[0, 1]), Log()
    (table,) = run_family(family, folder / "out", log)
    return family, folder / "out", table, log


@pytest.fixture
def copy(ran: tuple[Family, Path, FamilyResults, Log], tmp_path: Path) -> Path:
    """A copy of the finished family's folder, to be changed."""
    return Path(shutil.copytree(ran[1], tmp_path / "out"))


def test_what_variants_have_in_common_is_made_once(ran: tuple[Family, Path, FamilyResults, Log]):
    log = ran[3]
    assert list(log.done) == [
        "1/4 kl, seed 0",
        "2/4 ranknet, seed 0",
        "3/4 kl, seed 1",
        "4/4 ranknet, seed 1",
    ]
    own = ["Distil the student", "Index the corpus", "Evaluate every system"]
    assert len(log.done["1/4 kl, seed 0"]) == 9
    assert log.done["2/4 ranknet, seed 0"] == own
    # Another seed shares the data alone.
    assert len(log.done["3/4 kl, seed 1"]) == 8
    assert log.done["4/4 ranknet, seed 1"] == own


def test_what_a_user_may_change_later_is_not_shared(ran: tuple[Family, Path, FamilyResults, Log]):
    one, other = ran[1] / "kl" / "seed-0", ran[1] / "ranknet" / "seed-0"
    shared = {file.relative_to(one).parts[0] for file in files(one) if file.stat().st_nlink > 1}
    assert shared == {"data", "mine", "teacher", "audit", "teach", "baseline"}
    assert (other / "mine" / "train.arrow").samefile(one / "mine" / "train.arrow")


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def test_each_run_is_a_usual_run_folder(ran: tuple[Family, Path, FamilyResults, Log]):
    folder = ran[1] / "ranknet" / "seed-1"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["stages"]) == 9
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["seed"] == 1
    assert len(DenseRetriever.open(folder).search("where is the cat of paris", k=3)) == 3
    assert not (folder / "scores.sqlite").exists()
    assert (ran[1] / "scores.sqlite").is_file()


def test_the_table_is_what_the_runs_measured(ran: tuple[Family, Path, FamilyResults, Log]):
    family, folder, results, _ = ran
    assert list(results.results.systems) == [*INDEPENDENT, *VARIANTS]
    for variant in VARIANTS:
        measured = [Results.read(folder / variant / f"seed-{seed}" / "metrics.json") for seed in (0, 1)]
        for metric in METRICS:
            values = [one.systems["student-interaction"].metrics[metric].value for one in measured]
            assert results.by_seed[variant][metric] == pytest.approx(values, abs=1e-12)
            row = results.results.systems[variant].metrics[metric]
            assert row.value == pytest.approx(sum(values) / 2)
            assert row.low <= row.value <= row.high
    first = Results.read(folder / "kl" / "seed-0" / "metrics.json")
    assert results.results.systems["bm25"] == first.systems["bm25"]
    assert results.results.machine == first.machine
    assert [(c.first, c.second, c.metric) for c in results.results.comparisons] == [
        ("ranknet", "kl", metric) for metric in METRICS
    ]
    assert family.members[0].recipe.evaluation.metrics == tuple(METRICS)


def test_both_forms_lie_in_the_folder(ran: tuple[Family, Path, FamilyResults, Log]):
    _, folder, results, _ = ran
    assert json.loads((folder / "family.json").read_text()) == json.loads(json.dumps(results.to_dict()))
    page = (folder / "table.md").read_text()
    assert "| ranknet against kl | nDCG@10 |" in page
    assert "bm25, backbone, backbone-in-batch, teacher: of the run kl, seed 0." in page
    assert "kl: the recipe as it is." in page
    assert 'ranknet: loss.kind="rank_net".' in page


def test_the_systems_of_a_run_are_known_before_it(ran: tuple[Family, Path, FamilyResults, Log]):
    measured = Results.read(ran[1] / "kl" / "seed-0" / "metrics.json")
    assert system_names(ran[0].members[0].recipe) == tuple(measured.systems)


def test_started_again_it_does_nothing_and_comes_to_the_same_table(
    ran: tuple[Family, Path, FamilyResults, Log], copy: Path
):
    family, folder, results, first = ran
    before = {file: file.stat().st_mtime_ns for file in files(copy / "kl")}
    log = Log()
    (table,) = run_family(family, copy, log)
    assert table.to_dict() == results.to_dict()
    assert log.reused == list(first.done)
    assert not any(log.done.values())
    told = {".lock", "log.txt", "recipe.yaml"}
    assert {file: file.stat().st_mtime_ns for file in files(copy / "kl") if file.name not in told} == {
        file: stamp for file, stamp in before.items() if file.name not in told
    }
    assert (copy / "table.md").read_bytes() == (folder / "table.md").read_bytes()


def test_interrupted_it_goes_on(ran: tuple[Family, Path, FamilyResults, Log], copy: Path):
    class Interrupted(Log):
        def stage(self, number: int, total: int, title: str, *, reused: bool) -> None:
            if title == "Index the corpus":
                raise KeyboardInterrupt
            super().stage(number, total, title, reused=reused)

    family = ran[0]
    shutil.rmtree(copy / "ranknet" / "seed-0" / "index")
    shutil.rmtree(copy / "ranknet" / "seed-1")
    with pytest.raises(KeyboardInterrupt):
        run_family(family, copy, Interrupted())
    assert not (copy / "family.json").exists()
    assert not (copy / "table.md").exists()
    log = Log()
    (results,) = run_family(family, copy, log)
    assert log.done["2/4 ranknet, seed 0"] == ["Index the corpus"]
    assert log.done["4/4 ranknet, seed 1"] == [
        "Distil the student",
        "Index the corpus",
        "Evaluate every system",
    ]
    assert results.by_seed == ran[2].by_seed


def test_a_variant_can_be_added_later_and_another_system_be_taken(
    ran: tuple[Family, Path, FamilyResults, Log], copy: Path, content: dict[str, Any], tmp_path: Path
):
    family = write_family(
        tmp_path / "files",
        content,
        variants={"kl": {}, "cosine": {"index.candidates": 20}},
        systems={"cosine": "student-cosine"},
    )
    log = Log()
    (results,) = run_family(family, copy, log)
    assert log.done["2/2 cosine, seed 0"] == ["Index the corpus", "Evaluate every system"]
    expected = Results.read(ran[1] / "kl" / "seed-0" / "metrics.json").systems["student-cosine"]
    assert results.results.systems["cosine"].metrics == expected.metrics
    assert results.results.deviations == {}
    assert "cosine: index.candidates=20, measured by student-cosine." in results.legend


def test_a_variant_that_fails_is_named_and_what_is_done_stays(content: dict[str, Any], tmp_path: Path):
    variants = {"kl": {}, "wild": {"training.learning_rate": 1e30}}
    family = write_family(tmp_path / "files", content, variants=variants)
    with pytest.raises(VariantFailedError, match=r"'wild' with seed 0 fails: .*diverged"):
        run_family(family, tmp_path / "out")
    assert (tmp_path / "out" / "kl" / "seed-0" / "metrics.json").is_file()
    assert RunFolder(tmp_path / "out" / "wild" / "seed-0").finished_key("teach") is not None
    assert not (tmp_path / "out" / "family.json").exists()


def test_a_fault_of_the_program_keeps_its_kind_and_tells_the_variant(content: dict[str, Any], tmp_path: Path):
    class Faulty(Silent):
        def stage(self, number: int, total: int, title: str, *, reused: bool) -> None:
            raise RuntimeError("out of memory")

    family = write_family(tmp_path / "files", content)
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        run_family(family, tmp_path / "out", Faulty())
    assert caught.value.__notes__ == ["This was the variant 'kl' with seed 0."]


def test_every_variant_is_looked_at_before_the_first_runs(content: dict[str, Any], tmp_path: Path):
    variants = {"kl": {}, "heads": {"student.heads": 5}}
    family = write_family(tmp_path / "files", content, variants=variants)
    with pytest.raises(VariantFailedError, match=r"'heads' with seed 0 fails: .*student\.heads is 5"):
        run_family(family, tmp_path / "out")
    assert not (tmp_path / "out" / "kl").exists()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"systems": {"kl": "generative"}},
            r"systems\.kl: its runs have no system 'generative'.*student-cosine",
        ),
        ({"variants": {"teacher": {}}}, "a variant cannot be called 'teacher'"),
        ({"variants": {"table.md": {}}}, r"a variant cannot be called 'table\.md'"),
    ],
)
def test_names_that_cannot_be_are_refused(
    content: dict[str, Any], tmp_path: Path, keys: Mapping[str, Any], message: str
):
    family = write_family(tmp_path / "files", content, **keys)
    with pytest.raises(InputError, match=message):
        run_family(family, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_with_something_else_in_them_are_left_alone(content: dict[str, Any], tmp_path: Path):
    family = write_family(tmp_path / "files", content)
    with pytest.raises(InputError, match="not of a family"):
        run_family(family, tmp_path / "files")
    with pytest.raises(InputError, match="is a file"):
        run_family(family, tmp_path / "files" / "recipe.yaml")


def test_variants_on_other_judgements_are_not_compared(
    ran: tuple[Family, Path, FamilyResults, Log], copy: Path
):
    qrels = copy / "ranknet" / "seed-0" / "evaluate" / "qrels.tsv"
    lines = qrels.read_text().splitlines()
    qrels.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(
        VariantFailedError, match=r"'ranknet' with seed 0 .*not judged as those of the others"
    ):
        run_family(ran[0], copy)


def test_a_generative_family_shares_the_base_retriever(corpus: Path, tiny_encoder_path: Path, tmp_path: Path):
    content = generative_content(corpus, tiny_encoder_path)
    content["teacher"] = {"members": [{"kind": "bm25"}]}
    family = write_family(
        tmp_path / "files",
        content,
        variants={
            "base": {"student.ranking": None},
            "ltrgr": {"student.ranking.loss": "positive_margin"},
            "dgr": {},
        },
        compare=[["dgr", "ltrgr"], ["ltrgr", "base"]],
    )
    log = Log()
    (results,) = run_family(family, tmp_path / "out", log)
    assert "Teach the model to generate identifiers" in log.done["1/3 base, seed 0"]
    assert log.done["2/3 ltrgr, seed 0"] == [
        "Index the corpus for the base retriever, and ask it",
        "Find the base retriever's own candidates",
        "Teach the student to rank",
        "Index the corpus",
        "Evaluate every system",
    ]
    assert log.done["3/3 dgr, seed 0"] == [
        "Make the teacher",
        "Audit the teacher",
        "Teach: score the base retriever's candidates",
        "Teach the student to rank",
        "Index the corpus",
        "Evaluate every system",
    ]
    assert list(results.results.systems) == [*INDEPENDENT, "base", "ltrgr", "dgr"]
    # The base variant is what the others start from.
    started = Results.read(tmp_path / "out" / "dgr" / "seed-0" / "metrics.json").systems["generative-base"]
    assert results.results.systems["base"].metrics == started.metrics
    for member in family.members:
        measured = Results.read(tmp_path / "out" / member.folder / "metrics.json")
        assert system_names(member.recipe) == tuple(measured.systems)
    assert "teacher: of the run dgr, seed 0" in (tmp_path / "out" / "table.md").read_text()
