from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.evaluation import Latency, Results, RunMetrics, against, compare_systems, system_result
from limbeck.evaluation.report import Report, Table, write_report
from limbeck.evaluation.report.markdown import plain
from limbeck.evaluation.report.model import summary
from limbeck.evaluation.report.plots import FRAMES

NASTY = "a <b>bold</b> | $x_1$ & `code` 中文"


def build(*, systems: int = 3, queries: int = 40, **changes: object) -> Report:
    rng = np.random.default_rng(0)
    ids = tuple(f"q{i}" for i in range(queries))
    base = rng.random(queries) * 0.5
    names = ["old", "new", NASTY, *(f"system {i}" for i in range(9))][:systems]
    runs = {
        name: RunMetrics(ids, {"nDCG@10": np.round(base + 0.1 * i * rng.random(queries), 2)})
        for i, name in enumerate(names)
    }
    results = Results(
        {name: system_result(run, Latency(1.0 + i, 2.0 + i)) for i, (name, run) in enumerate(runs.items())},
        compare_systems(runs, against("old", runs), ["nDCG@10"]),
        {"processor": NASTY},
        0,
        {"name": "试验", "text": "```"},
    )
    values: dict[str, object] = {
        "results": results,
        "runs": runs,
        "query_text": lambda query_id: f"{query_id}: {NASTY}",
        "curves": [(step, name, 1 / (step + 1)) for name in ("loss", NASTY) for step in range(30)],
        "audit": Table(["Ranker", "nDCG@10"], [[NASTY, "0.5"]], "Headroom."),
    }
    return Report(**{**values, **changes})


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> tuple[str, str, Path]:
    files = write_report(build(), tmp_path_factory.mktemp("report"))
    return (
        files.html.read_text(encoding="utf-8"),
        files.markdown.read_text(encoding="utf-8"),
        files.html.parent,
    )


class Page(HTMLParser):
    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_well_formed_and_has_one_of_each_id(pages):
    page = Page(pages[0])
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', pages[0]))
    assert {one or other for one, other in references} <= set(ids)


def test_the_page_needs_nothing_but_itself(pages):
    page = Page(pages[0])
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "img", "object"}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert name != "src"
            assert not name.endswith("href") or (value or "").startswith("#")
    assert not re.search(r"url\((?!#)|@import", pages[0])
    assert "default-src 'none'" in pages[0]


def test_texts_are_escaped_and_shown_as_they_are(pages):
    page = Page(pages[0])
    assert "b" not in {tag for tag, _ in page.tags}
    shown = "".join(page.text)
    assert NASTY in shown
    assert f": {NASTY}" in shown
    assert "试验" in shown


def test_figures_are_told_in_words_and_follow_light_and_dark(pages):
    drawings = [attributes for tag, attributes in Page(pages[0]).tags if tag == "svg"]
    assert len(drawings) == 6  # three plots, for wide and for narrow screens
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawings)
    assert "40 " not in drawings[0]["aria-label"]
    assert "old 0." in drawings[0]["aria-label"]
    assert "prefers-color-scheme:dark" in pages[0]
    svg = pages[0][pages[0].index("<svg") :]
    assert not re.search(r"#0([1-6])0\1", svg), "a stand-in colour was left"
    assert "var(--first)" in svg


def test_the_markdown_page_shows_the_same(pages):
    _, text, folder = pages
    for part in (
        "# Limbeck report",
        "## Results",
        "## Query by query",
        "### Largest wins",
        "## Training",
        "Headroom.",
    ):
        assert part in text
    assert "<b>" not in text.replace("\\<b\\>", "")
    for name in re.findall(r"\]\((report-figures/\w+\.svg)\)", text):
        root = ET.fromstring((folder / name).read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.get("width")
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert tables
    for table in tables:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table


def test_a_fence_in_the_recipe_does_not_end_it(pages):
    assert "\n````yaml\n" in pages[1]


def test_the_same_report_is_the_same_file(tmp_path: Path, pages):
    assert write_report(build(), tmp_path).html.read_text(encoding="utf-8") == pages[0]


def test_only_results_make_a_small_page(tmp_path: Path):
    results = Results({"bm25": system_result(RunMetrics(("q",), {"MRR@10": np.array([0.5])}))})
    files = write_report(Report(results), tmp_path)
    page = files.html.read_text(encoding="utf-8")
    assert "<svg" not in page
    assert "How it was made" not in page
    assert Page(page).open == []
    assert "0.500" in files.markdown.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes", [{"systems": 1}, {"systems": 11}, {"queries": 1}, {"queries": 1300, "systems": 2}]
)
def test_few_and_many_systems_and_queries_are_drawn(changes, tmp_path: Path):
    page = write_report(build(**changes), tmp_path).html.read_text(encoding="utf-8")
    assert Page(page).open == []
    assert len(page) < 1_000_000


def test_panels_of_long_names_can_be_told_apart(tmp_path: Path):
    names = ["distil: loss", "distil: cosine_kl_divergence_loss", f"distil: {'x' * 40}_loss"]
    curves = [(step, name, 1.0) for name in names for step in (1, 2)]
    page = write_report(build(curves=curves), tmp_path).html.read_text(encoding="utf-8")
    for heading in ("distil: loss", "distil: cosine kl divergence", f"distil: {'x' * 24}…"):
        assert f">{heading}<" in page


def test_a_curve_of_one_point_has_one_step_below_it(tmp_path: Path):
    page = write_report(build(curves=[(4_321, "one", 1.0)]), tmp_path).html.read_text(encoding="utf-8")
    assert page.count(">4,321<") == len(FRAMES)


def test_curves_of_one_point_and_of_nan_are_drawn(tmp_path: Path):
    curves = [(0, "one", 1.0), (0, "broken", float("nan")), (5, "gap", 1.0), (1, "gap", 2.0)]
    page = write_report(build(curves=curves), tmp_path).html.read_text(encoding="utf-8")
    assert "one from 1 to 1; gap from 2 to 1." in page
    assert "broken" not in page


def test_runs_of_equal_values_are_drawn(tmp_path: Path):
    ids = tuple("abc")
    runs = {name: RunMetrics(ids, {"MRR@10": np.ones(3)}) for name in ("one", "other")}
    results = Results({name: system_result(run, Latency(1, 1)) for name, run in runs.items()})
    report = Report(results, runs, compared=("one", "other"))
    assert "3 equal" in write_report(report, tmp_path).html.read_text(encoding="utf-8")


def test_the_summary_says_what_was_found():
    report = build()
    text = summary(Report(report.results, compared=("new", "old")))
    assert text.startswith("new is better than old on 40 queries: nDCG@10 +0.")
    assert summary(Report(Results({"a": system_result(report.runs["old"])}))) == ""


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"results": Results({})}, "no systems to report"),
        ({"compared": ("new", "nobody")}, "no system 'nobody'"),
        ({"metric": "MAP"}, "no system has the metric 'MAP'"),
    ],
)
def test_what_is_not_there_cannot_be_reported(changes, problem):
    with pytest.raises(InputError, match=problem):
        build(**changes)


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_without_the_extra_the_error_says_what_to_install(module, monkeypatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install 'limbeck\[report\]'"):
        write_report(build(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_plots_are_imported_only_when_a_report_is_written():
    code = (
        "import sys, limbeck.evaluation.report; print({'matplotlib', 'jinja2', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_nothing_in_a_text_is_taken_for_markup():
    assert plain("a*b\n<i>") == r"a\*b \<i\>"
