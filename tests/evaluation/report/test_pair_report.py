from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.evaluation import Latency, PairSetScores, SystemScores, evaluate_pair_sets
from limbeck.evaluation.report import Report, Section, Table
from limbeck.evaluation.report.pair_plots import POINTS, shown_pairs, tenths
from limbeck.evaluation.report.pairs import PairReport, largest_disagreements, places, write_pair_report

NASTY = "a <b>bold</b> | $x_1$ & `code` 中文"


def scored(kind: str, pairs: int, seed: int) -> PairSetScores:
    rng = np.random.default_rng(seed)
    labels = rng.uniform(0, 1, (2, pairs)) if kind == "graded" else rng.integers(0, 2, (2, pairs)) * 1.0

    def system(noise: float, ms: float, encoded: float | None) -> SystemScores:
        dev, test = (1 / (1 + np.exp(2 - 4 * one - rng.normal(0, noise, pairs))) for one in labels)
        kept = None if encoded is None else Latency(encoded, 2 * encoded)
        return SystemScores(dev, test, Latency(ms, 2 * ms), kept)

    systems = {
        "backbone": system(2.0, 2.0, 0.001),
        "student": system(1.0, 2.5, 0.004),
        "teacher": system(0.5, 20.0, None),
    }
    return PairSetScores(kind, *labels, systems)


def build(**changes: object) -> PairReport:
    sets = {"sts": scored("graded", 60, 0), "nli": scored("binary", 700, 1)}
    results = evaluate_pair_sets(sets, compared=[("student", "backbone"), ("student", "teacher")])
    page = Report(
        results,
        title="Pairs",
        compared=("student", "backbone"),
        curves=[(step, "loss", 1 / (step + 1)) for step in range(5)],
        sections=[Section("more", "Further things", tables=[Table(["What"], [["this"]])])],
    )
    texts = {name: (lambda row, name=name: (f"{name} {row} {NASTY}", "x" * 300)) for name in sets}
    audits = {"sts": Table(["Ranker", "Spearman"], [["teacher", "0.9"]], "Headroom.")}
    values: dict[str, object] = {
        "page": page,
        "sets": sets,
        "student": "student",
        "teacher": "teacher",
        "texts": texts,
        "audits": audits,
    }
    return PairReport(**{**values, **changes})


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> tuple[str, str, Path]:
    files = write_pair_report(build(), tmp_path_factory.mktemp("pairs"))
    return files.html.read_text("utf-8"), files.markdown.read_text("utf-8"), files.html.parent


def test_each_set_has_its_section_before_what_else_the_page_has(pages):
    headings = re.findall(r"<h2>(.*?)</h2>", pages[0])
    assert headings == [
        "Results",
        "Quality against time",
        "Comparisons",
        "sts: student and teacher",
        "nli: student and teacher",
        "Further things",
        "Training",
        "How it was made",
    ]
    assert [line[3:] for line in pages[1].splitlines() if line.startswith("## ")] == headings[:-1]


def test_the_pages_speak_of_pairs(pages):
    for page in pages[:2]:
        assert "ms per pair" in page
        assert "quer" not in page.lower().split("</style>")[-1].replace('class="query"', "")
        assert "shifted bootstrap" in page
    assert "on 60 pairs: sts Spearman" in pages[0]
    assert "better on" not in re.search(r"on 60 pairs.*", pages[1])[0]


def test_texts_are_escaped_shortened_and_set_as_texts(pages):
    html, markdown, _ = pages
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "<b>bold" not in html
    assert "x" * 239 + "…" in html
    assert "x" * 240 not in html
    assert '<td class="query" dir="auto">' in html
    assert html.count("The student puts higher than the teacher") == 4  # a heading and a label, two sets
    assert "\\<b\\>bold" in markdown


def test_times_and_audits_stand_with_their_set(pages):
    html = pages[0]
    sts, nli = html.split("sts: student and teacher</h2>")[1].split("nli: student and teacher</h2>")
    assert "Audit of the teacher" in sts
    assert "Audit of the teacher" not in nli
    for section in (sts, nli):
        assert re.search(r"student</th>.*?2\.5.*?5\.0.*?0\.004.*?0\.008", section, re.DOTALL)
        assert re.search(r"teacher</th><td[^>]*>20</td><td[^>]*>40</td><td[^>]*>–</td>", section)


def test_the_page_needs_nothing_but_itself_and_has_one_of_each_id(pages):
    html, markdown, folder = pages
    assert "<script" not in html
    assert not re.findall(r'(?:src|href)="(?!#)', html)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for path in re.findall(r"\]\((report-figures/[^)]+)\)", markdown):
        ET.parse(folder / path)
    assert {path.name for path in (folder / "report-figures").iterdir()} == {
        "curves.svg",
        "quality.svg",
        "set-1.svg",
        "set-2.svg",
    }


def test_without_a_teacher_there_is_nothing_to_disagree_with(tmp_path):
    html = write_pair_report(build(teacher=None), tmp_path).html.read_text("utf-8")
    assert "puts higher" not in html
    assert "Milliseconds per pair" in html
    assert "Audit of the teacher" in html


def test_a_system_without_scores_is_refused(tmp_path):
    with pytest.raises(InputError, match="the set 'sts' has no scores of 'nobody'"):
        write_pair_report(build(student="nobody"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_disagreements_by_hand():
    student, teacher = np.array([10.0, 20, 30, 40, 50]), np.array([0.5, 0.2, 0.3, 0.4, 0.1])
    # Places 0, 1/4, 1/2, 3/4, 1 and 1, 1/4, 1/2, 3/4, 0.
    assert largest_disagreements(student, teacher, 3) == ([4], [0])
    assert largest_disagreements(student, student, 3) == ([], [])
    assert places(np.array([1.0, 1.0, 3.0])).tolist() == [0.25, 0.25, 1.0]
    assert places(np.array([7.0])).tolist() == [0.0]


def test_tenths_by_hand():
    scores = np.arange(20)[::-1] / 20.0
    means, labels = tenths(scores, (scores >= 0.5).astype(float))
    assert means == pytest.approx(np.arange(10) / 10 + 0.025)
    assert labels.tolist() == [0.0] * 5 + [1.0] * 5


def test_many_pairs_are_thinned_evenly():
    assert shown_pairs(3).tolist() == [0, 1, 2]
    rows = shown_pairs(5000)
    assert (len(rows), rows[0], rows[-1]) == (POINTS, 0, 4999)
    assert max(np.diff(rows)) <= 11
