from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.evaluation.results import Estimate, Latency, Results, SystemResult
from limbeck.evaluation.retrieval import RunMetrics
from limbeck.evaluation.seeds import FamilyResults, Repeated, family_results, mean_metrics


def metrics(*values: float, ids: str = "abcdefgh") -> RunMetrics:
    return RunMetrics(tuple(ids[: len(values)]), {"MRR@10": np.array(values, dtype=np.float64)})


@pytest.fixture
def two_seeds() -> dict[str, Repeated]:
    """Means over the seeds: base 0.25, 0.25, 0.5, 0.0 and dgr 0.75, 0.25, 1.0, 0.5."""
    return {
        "base": Repeated(
            [metrics(0.5, 0.0, 0.5, 0.0), metrics(0.0, 0.5, 0.5, 0.0)],
            [Latency(10.0, 20.0), Latency(30.0, 60.0)],
        ),
        "dgr": Repeated([metrics(1.0, 0.5, 1.0, 0.5), metrics(0.5, 0.0, 1.0, 0.5)]),
    }


def test_each_query_has_its_mean_over_the_runs_whatever_their_order():
    mean = mean_metrics([metrics(1.0, 0.5, ids="ab"), metrics(0.0, 0.5, ids="ba")])
    assert mean.query_ids == ("a", "b")
    assert mean["MRR@10"].tolist() == [0.75, 0.25]


def test_runs_on_other_queries_have_no_mean():
    with pytest.raises(InputError, match="different queries, 'a'"):
        mean_metrics([metrics(1.0, 0.5, ids="ab"), metrics(1.0, 0.5, ids="bc")])
    with pytest.raises(InputError, match="there are no runs"):
        mean_metrics([])


def test_the_time_is_the_median_over_the_seeds():
    times = [Latency(5.0, 9.0), Latency(1.0, 2.0), Latency(2.0, 7.0)]
    assert Repeated([], times).latency == Latency(2.0, 7.0)
    assert Repeated([]).latency is None


def test_variants_are_compared_on_each_querys_mean(two_seeds: dict[str, Repeated]):
    family = family_results("losses", [3, 4], two_seeds, [("dgr", "base")])
    base, dgr = family.results.systems.values()
    assert (base.metrics["MRR@10"].value, dgr.metrics["MRR@10"].value) == (0.25, 0.625)
    assert (base.latency_ms, dgr.latency_ms) == (Latency(20.0, 40.0), None)
    [comparison] = family.results.comparisons
    # Differences 0.5, 0.0, 0.5, 0.5: of the eight assignments of signs to three, two are as far out.
    assert comparison.difference == 0.375
    assert comparison.p_value == comparison.p_holm == 0.25
    assert (comparison.wins, comparison.losses, comparison.ties) == (3, 0, 1)
    assert family.results.seed == 3


def test_the_spread_is_that_of_the_means_of_the_seeds(two_seeds: dict[str, Repeated]):
    family = family_results("losses", [3, 4], two_seeds, [])
    assert family.by_seed == {"base": {"MRR@10": [0.25, 0.25]}, "dgr": {"MRR@10": [0.75, 0.5]}}
    assert family.results.deviations["base"]["MRR@10"] == 0.0
    # Of two values: their distance over the square root of 2.
    assert family.results.deviations["dgr"]["MRR@10"] == pytest.approx(0.25 / math.sqrt(2))


def test_seeds_agree_that_have_the_sign_of_the_mean():
    base = Repeated([metrics(0.5, 0.5), metrics(0.5, 0.5), metrics(0.5, 0.5)])
    variants = {"base": base, "up": Repeated([metrics(1, 1), metrics(0.5, 0.25), metrics(0.5, 0.5)])}
    family = family_results("x", [0, 1, 2], variants, [("up", "base"), ("base", "up")])
    assert family.agreeing == [1, 1]
    same = family_results("x", [0, 1, 2], {"base": base, "same": base}, [("same", "base")])
    assert same.agreeing == [3]


def test_p_values_are_corrected_over_the_pairs(two_seeds: dict[str, Repeated]):
    variants = two_seeds | {"other": two_seeds["dgr"]}
    family = family_results("x", [3, 4], variants, [("dgr", "base"), ("other", "base")])
    assert [comparison.p_holm for comparison in family.results.comparisons] == [0.5, 0.5]


def test_a_variant_that_lacks_a_seed_is_refused(two_seeds: dict[str, Repeated]):
    with pytest.raises(InputError, match=r"'base' has 2 runs.*3, one a seed"):
        family_results("x", [0, 1, 2], two_seeds, [])


@pytest.fixture
def family(two_seeds: dict[str, Repeated]) -> FamilyResults:
    others = Results(
        {"bm25": SystemResult({"MRR@10": Estimate(0.1, 0.0, 0.2)}, Latency(1.0, 2.0))},
        machine={"processor": "two cores"},
    )
    return family_results("losses", [3, 4], two_seeds, [("dgr", "base")], others=others, notes=["A note."])


def test_the_tables_as_strings(family: FamilyResults):
    heading, bm25, base, dgr = family.table_rows()
    assert heading == ["System", "MRR@10", "ms per query"]
    assert bm25 == ["bm25", "0.100 [0.000, 0.200]", "1.0"]
    assert base[1].startswith("0.250 ± 0.000 [")
    assert dgr[1].startswith("0.625 ± 0.177 [")
    assert (base[2], dgr[2]) == ("20", "–")
    heading, row = family.comparison_rows()
    assert len(heading) == len(row)
    assert row[:2] == ["dgr against base", "MRR@10"]
    assert row[2].startswith("+0.375 [")
    assert row[3:] == ["0.250", "0.250", "3", "0", "1", "2/2"]


def test_one_seed_has_no_spread():
    family = family_results("x", [0], {"only": Repeated([metrics(0.5, 0.5)])}, [])
    assert family.table_rows()[1][1] == "0.500 [0.500, 0.500]"
    assert family.comparison_rows()[1:] == []
    assert "Comparisons" not in family.to_markdown()
    assert not any("seeds" in line for line in family.legend)
    assert "deviations" not in family.to_dict()


def test_both_forms_are_written_and_the_figures_read_again(family: FamilyResults, tmp_path: Path):
    family.write(tmp_path / "family.json", tmp_path / "table.md")
    document = json.loads((tmp_path / "family.json").read_text())
    assert (document["name"], document["seeds"], document["agreeing"]) == ("losses", [3, 4], [2])
    assert document["by_seed"]["dgr"] == {"MRR@10": [0.75, 0.5]}
    assert Results.read(tmp_path / "family.json").to_dict() == family.results.to_dict()
    page = (tmp_path / "table.md").read_text()
    assert "| dgr | **0.625** ± 0.177 [" in page
    assert "| dgr against base | MRR@10 | +0.375 [" in page
    assert "Means over the seeds 3, 4" in page
    assert "A note." in page
