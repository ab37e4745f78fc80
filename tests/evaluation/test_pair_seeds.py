from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from limbeck.errors import InputError
from limbeck.evaluation import (
    Latency,
    PairSetScores,
    RepeatedPairs,
    Results,
    SystemScores,
    pair_family_results,
)
from limbeck.evaluation.seeds import FamilyResults

PAIRS = 120


def rows(kinds=("graded",), seeds=2, **noises: float) -> dict[str, RepeatedPairs]:
    """Systems that see the labels through noise, all on the same pairs."""
    rng = np.random.default_rng(0)
    labels = {
        kind: (rng.uniform(0, 1, PAIRS) if kind == "graded" else rng.integers(0, 2, PAIRS).astype(float))
        for kind in kinds
    }

    def run(noise: float) -> dict[str, PairSetScores]:
        return {
            kind: PairSetScores(
                kind, truth, truth, {"student": SystemScores(truth, truth + rng.normal(0, noise, PAIRS))}
            )
            for kind, truth in labels.items()
        }

    return {
        name: RepeatedPairs("student", [run(noise) for _ in range(seeds)], [Latency(noise, 2 * noise)])
        for name, noise in noises.items()
    }


def table(made: dict[str, RepeatedPairs], compared=(), seeds=(3, 4), **options) -> FamilyResults:
    return pair_family_results("losses", seeds, made, compared, **options)


def test_values_are_means_over_the_seeds_of_what_each_seed_measures():
    made = rows(student=0.3, base=0.6)
    family = table(made, [("student", "base")])
    by_hand = [
        stats.spearmanr(run["graded"].systems["student"].test, run["graded"].test_labels).statistic
        for run in made["student"].runs
    ]
    assert family.by_seed["student"]["Spearman"] == pytest.approx(by_hand)
    row = family.results.systems["student"]
    assert row.metrics["Spearman"].value == pytest.approx(np.mean(by_hand))
    assert family.results.deviations["student"]["Spearman"] == pytest.approx(
        abs(by_hand[0] - by_hand[1]) / 2**0.5
    )
    assert row.latency_ms == Latency(0.3, 0.6)
    comparison = family.results.comparison("student", "base", "Spearman")
    assert comparison.difference == pytest.approx(
        np.mean(by_hand) - family.results.systems["base"].metrics["Spearman"].value
    )
    assert comparison.significant
    assert family.agreeing == [2, 2]
    assert (family.results.unit, family.results.seed) == ("pair", 3)


def test_one_seed_has_no_spread():
    assert table(rows(seeds=1, student=0.3), seeds=(0,)).results.deviations == {}


def test_several_sets_have_prefixes_and_each_comparison_its_seeds():
    family = table(rows(("graded", "binary"), student=0.3, base=0.6), [("student", "base")])
    assert family.results.metric_names == (
        "graded Spearman",
        "graded Pearson",
        "binary Average precision",
        "binary Accuracy",
        "binary Precision",
        "binary Recall",
    )
    assert len(family.agreeing) == len(family.results.comparisons) == 6
    accuracy = family.results.comparison("student", "base", "binary Accuracy")
    assert accuracy.wins + accuracy.losses + accuracy.ties == PAIRS
    assert accuracy.wins > accuracy.losses


def test_what_is_recovered_is_measured_on_the_first_metric_of_each_set():
    made = rows(("graded", "binary"), student=0.4, base=0.8, teacher=0.2)
    family = table(made, recovered=[("student", "base", "teacher")])
    assert [one.metric for one in family.recovered] == ["graded Spearman", "binary Average precision"]
    values = [family.results.systems[name].metrics["graded Spearman"].value for name in made]
    share = family.recovered[0].share
    assert share.value == pytest.approx((values[0] - values[1]) / (values[2] - values[1]))
    assert share.low < share.value < share.high


def test_the_page_and_the_file_say_what_was_measured(tmp_path):
    family = table(
        rows(student=0.4, base=0.8, teacher=0.2),
        [("student", "base")],
        recovered=[("student", "base", "teacher"), ("base", "student", "base")],
        notes=["A note."],
        machine={"processor": "slow"},
        recipe={"name": "x"},
    )
    family.write(tmp_path / "family.json", tmp_path / "table.md")
    page = (tmp_path / "table.md").read_text()
    assert "ms per pair" in page
    assert "| student against base | Spearman |" in page
    assert "| – | – | – | 2/2 |" in page
    assert "## Recovered of the distance to the teacher" in page
    assert "shifted bootstrap" in page
    assert "quer" not in page
    assert page.endswith("A note.\n")
    document = json.loads((tmp_path / "family.json").read_text())
    # From the better to the worse there is no way to go.
    assert document["recovered"][1]["share"] == {"value": None, "low": None, "high": None}
    assert document["recovered"][0]["share"]["value"] == pytest.approx(family.recovered[0].share.value)
    assert Results.read(tmp_path / "family.json").systems == family.results.systems


def test_a_missing_seed_and_an_unknown_name_are_refused():
    made = rows(student=0.4, base=0.8)
    with pytest.raises(InputError, match=r"'student' has 2 runs.*3, one a seed"):
        table(made, seeds=(0, 1, 2))
    with pytest.raises(InputError, match="no system 'teacher'"):
        table(made, [("student", "teacher")])
