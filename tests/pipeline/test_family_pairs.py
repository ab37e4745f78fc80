from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from limbeck.errors import InputError
from limbeck.evaluation import PairSetScores, Results, SystemScores, evaluate_pair_sets
from limbeck.pipeline.family import measures_of, run_family
from limbeck.pipeline.family_pairs import PairMeasures
from limbeck.recipes.family import Family, load_family
from tests.pipeline.pairs.tiny_pairs import pair_content, write_pairs
from tests.pipeline.tiny_corpus import tiny_content

SYSTEMS = ("backbone", "backbone-fine-tuned", "student-cosine", "student-interaction", "teacher")
VARIANTS = {"d2llm": {}, "no-rank": {"pair_loss.rank": 0}, "baseline": {}}


def write_family(folder: Path, content: dict[str, Any], **keys: Any) -> Family:
    """A family beside its recipe; keys are those of its file."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    document = {"name": "pairs", "recipe": "recipe.yaml", "variants": VARIANTS} | keys
    (folder / "family.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return load_family(folder / "family.yaml")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_path: Path) -> dict[str, Any]:
    """The tiny recipe of pairs."""
    pairs = write_pairs(tmp_path_factory.mktemp("family-pairs") / "pairs")
    return pair_content(pairs, tiny_encoder_path)


@pytest.fixture
def family(content: dict[str, Any], tmp_path: Path) -> Family:
    """Two students, and the fine-tuned backbone in the place of a third; two seeds."""
    return write_family(
        tmp_path / "files",
        content,
        seeds=[0, 1],
        systems={"baseline": "backbone-fine-tuned"},
        compare=[["d2llm", "baseline"], ["d2llm", "no-rank"]],
    )


def leave_runs(family: Family, folder: Path) -> None:
    """What the last stage of each run would leave."""
    rng = np.random.default_rng(0)
    dev, test = rng.uniform(0, 1, (2, 50))
    for member in family.members:
        scores = PairSetScores(
            "graded",
            dev,
            test,
            {name: SystemScores(dev, test + rng.normal(0, 0.3, 50)) for name in SYSTEMS},
        )
        path = folder / member.folder / "pairs"
        scores.write(path / "scores" / "tiny")
        results = evaluate_pair_sets({"tiny": scores}, seed=member.seed)
        replace(results, machine={"processor": "slow"}).write(path / "metrics.json")


def read_all(family: Family, folder: Path) -> PairMeasures:
    measures = PairMeasures()
    for member in family.members:
        system, *_ = family.systems.get(member.variant, (measures.student(member.recipe),))
        measures.read(member, system, folder)
    return measures


def test_rows_are_what_the_runs_measured_with_every_seed(family: Family, tmp_path: Path):
    leave_runs(family, tmp_path)
    table = read_all(family, tmp_path).table(family, ["A note."])
    # What a variant stands for has no row of its own beside it.
    assert list(table.results.systems) == ["backbone", "teacher", "d2llm", "no-rank", "baseline"]
    for row, variant, system in (
        ("d2llm", "d2llm", "student-interaction"),
        ("no-rank", "no-rank", "student-interaction"),
        ("baseline", "baseline", "backbone-fine-tuned"),
        ("teacher", "d2llm", "teacher"),
    ):
        measured = [Results.read(tmp_path / variant / f"seed-{seed}/pairs/metrics.json") for seed in (0, 1)]
        expected = [one.systems[system].metrics["Spearman"].value for one in measured]
        assert table.by_seed[row]["Spearman"] == pytest.approx(expected), row
    assert table.results.machine == {"processor": "slow"}
    assert table.notes == ["A note.", "backbone, teacher: of the runs of d2llm."]
    assert [(c.first, c.second) for c in table.results.comparisons[:2]] == [
        ("d2llm", "baseline"),
        ("d2llm", "no-rank"),
    ]


def test_what_is_learnt_besides_the_labels_may_differ(content: dict[str, Any], tmp_path: Path):
    more = tmp_path / "more.jsonl"
    more.write_text('{"_id": "0", "text": "the sea"}\n')
    variants = VARIANTS | {"no-rank": {"pairs.tiny.unlabelled": str(more), "pairs.tiny.neighbours": 1}}
    made = write_family(
        tmp_path / "files", content, variants=variants, systems={"baseline": "backbone-fine-tuned"}
    )
    assert [member.recipe.pairs["tiny"].unlabelled for member in made.members] == [None, more, None]


def test_runs_on_other_pairs_are_not_compared(family: Family, tmp_path: Path):
    leave_runs(family, tmp_path)
    path = tmp_path / "no-rank" / "seed-1" / "pairs" / "scores" / "tiny" / "student-interaction.tsv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(InputError, match=r"no-rank.*tiny: the labels of 'tiny' are not those of the other"):
        read_all(family, tmp_path)


def test_a_recipe_is_measured_by_what_it_has(family: Family):
    (measures,) = measures_of(family.recipe)
    assert measures.files == ("family-pairs.json", "table-pairs.md")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"systems": {"d2llm": "bm25"}}, r"systems\.d2llm: its runs have no system 'bm25'.*student-cosine"),
        ({"variants": {"teacher": {}}, "systems": {}}, "a variant cannot be called 'teacher'"),
        ({"variants": {"table-pairs.md": {}}}, r"a variant cannot be called 'table-pairs\.md'"),
    ],
)
def test_names_that_cannot_be_are_refused(
    content: dict[str, Any], tmp_path: Path, keys: dict[str, Any], message: str
):
    made = write_family(tmp_path / "files", content, **keys)
    with pytest.raises(InputError, match=message):
        run_family(made, tmp_path / "out")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"variants": {"a": {"pairs.tiny.labels": {"kind": "graded", "low": 0, "high": 5}}}},
            "variants.a: it changes the sets of pairs that are measured",
        ),
        (
            {"variants": {"a": {"data": {"kind": "stdlib"}}}},
            "variants.a: it takes the section 'data' away, or adds one",
        ),
        ({"recovered": [["d2llm", "baseline", "teacher"]]}, "there is no variant 'teacher'"),
        ({"recovered": [["d2llm", "baseline", "d2llm"]]}, "must be three: student, baseline, teacher"),
    ],
)
def test_families_that_could_not_be_compared_are_refused(
    content: dict[str, Any], tmp_path: Path, keys: dict[str, Any], message: str
):
    with pytest.raises(InputError, match=message):
        write_family(tmp_path / "files", content, **keys)


def test_only_pairs_have_a_distance_to_recover(tmp_path: Path):
    content = {"data": {"kind": "stdlib"}}
    with pytest.raises(InputError, match="recovered: the recipe has no pairs"):
        write_family(
            tmp_path / "files", content, variants={"a": {}, "b": {}, "c": {}}, recovered=[["a", "b", "c"]]
        )


@pytest.mark.slow
def test_a_family_of_pairs_runs_from_the_sets_to_the_table(content: dict[str, Any], tmp_path: Path):
    family = write_family(
        tmp_path / "files",
        content,
        variants={"d2llm": {}, "no-rank": {"pair_loss.rank": 0}, "tuned": {}, "slow-ranker": {}},
        systems={"tuned": "backbone-fine-tuned", "slow-ranker": "teacher"},
        recovered=[["d2llm", "tuned", "slow-ranker"]],
    )
    (table,) = run_family(family, tmp_path / "out", anyway=True)
    assert list(table.results.systems) == ["backbone", "d2llm", "no-rank", "tuned", "slow-ranker"]
    assert all(row.latency_ms is not None for row in table.results.systems.values())
    measured = Results.read(tmp_path / "out" / "d2llm" / "seed-0" / "pairs" / "metrics.json")
    for row, system in (
        ("d2llm", "student-interaction"),
        ("tuned", "backbone-fine-tuned"),
        ("slow-ranker", "teacher"),
    ):
        assert table.results.systems[row].metrics == measured.systems[system].metrics
    assert (tmp_path / "out" / "table-pairs.md").read_text() == table.to_markdown()
    report = (tmp_path / "out" / "d2llm" / "seed-0" / "pairs" / "report.html").read_text()
    assert "tiny: student and teacher" in report
    assert "Audit of the teacher" in report
    # What the variants share was made once: the teacher's files are the same.
    one, other = (
        tmp_path / "out" / name / "seed-0" / "pair-teach" / "tiny.npy" for name in ("d2llm", "no-rank")
    )
    assert one.samefile(other)


@pytest.mark.slow
def test_a_family_over_a_corpus_and_pairs_has_a_table_of_each(
    content: dict[str, Any], corpus: Path, tiny_encoder_path: Path, tmp_path: Path
):
    both = tiny_content(corpus, tiny_encoder_path, teacher={"members": [{"kind": "bm25"}]})
    family = write_family(
        tmp_path / "files",
        both | {"pairs": content["pairs"]},
        variants={"branch-a-task": {}, "one-branch": {"student.branches": "shared"}, "tuned": {}},
        # Each table has the first of them that it knows.
        systems={"tuned": ["backbone-in-batch", "backbone-fine-tuned"]},
    )
    tables = run_family(family, tmp_path / "out", anyway=True)
    assert [table.results.unit for table in tables] == ["query", "pair"]
    for table in tables:
        assert {"branch-a-task", "one-branch", "teacher"} <= set(table.results.systems)
        assert all((tmp_path / "out" / name).is_file() for name in table.files)
        assert Results.read(tmp_path / "out" / table.files[0]).systems == table.results.systems
    for table, path, system in zip(
        tables, (".", "pairs"), ("backbone-in-batch", "backbone-fine-tuned"), strict=True
    ):
        measured = Results.read(tmp_path / "out" / "tuned" / "seed-0" / path / "metrics.json")
        for name, metric in table.results.systems["tuned"].metrics.items():
            assert metric.value == pytest.approx(measured.systems[system].metrics[name].value)
