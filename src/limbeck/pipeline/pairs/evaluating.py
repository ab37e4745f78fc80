"""The last stage of pair tasks: every system scores the same pairs, is measured and timed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from limbeck.data import SentencePairs
from limbeck.encoders import encode
from limbeck.evaluation import Latency, Results
from limbeck.evaluation.pair_systems import PairSetScores, SystemScores, evaluate_pair_sets
from limbeck.evaluation.report.model import Report, Table
from limbeck.evaluation.report.pairs import PairReport, PairTexts, write_pair_report
from limbeck.pipeline.candidates import EVALUATED
from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.folder import machine, write_json
from limbeck.pipeline.imitating import trainings
from limbeck.pipeline.pairs.distilling import BASELINE_STAGE, CALIBRATION, MODEL
from limbeck.pipeline.pairs.members import servers_of
from limbeck.pipeline.pairs.reading import open_pairs, split_texts, targets
from limbeck.pipeline.pairs.teaching import AUDIT_STAGE, open_pair_teacher, scored
from limbeck.pipeline.run import Run
from limbeck.recipes import Recipe
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.dense.pair_scoring import PairScorer
from limbeck.students.dense.retriever import STUDENT
from limbeck.students.dense.student import DenseStudent
from limbeck.teachers import Teacher
from limbeck.teachers.server import ServerTeacher

#: The systems by name: rows of the table, keys of `metrics.json`, `scores/SET/NAME.tsv`.
BACKBONE, BASELINE = "backbone", "backbone-fine-tuned"
COSINE, INTERACTION, TEACHER = "student-cosine", "student-interaction", "teacher"

#: What users and scripts read, in a folder of its own beside that of a corpus.
PUBLISHED = ("pairs",)
#: Pairs that a system is given at a time when it is timed, and how many times.
TIMED_PAIRS, TIMED_BLOCKS = 32, 20

Texts = Sequence[str]
Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]


def evaluate_pairs(run: Run, work: Path) -> None:
    """Leaves, in `pairs/`, `metrics.json`, `timing.json`, `scores/SET/SYSTEM.tsv`, and the report."""
    recipe = run.recipe
    sets = {name: _scored_set(run, name) for name in recipe.pairs}
    folder = work / PUBLISHED[0]
    for name, scores in sets.items():
        (folder / "scores" / name).mkdir(parents=True, exist_ok=True)
        scores.write(folder / "scores" / name)
    results = evaluate_pair_sets(
        sets,
        compared=[(INTERACTION, other) for other in (BASELINE, COSINE, BACKBONE, TEACHER)],
        seed=recipe.seed,
    )
    results = replace(results, machine=machine(), recipe=recipe.content)
    results.write(folder / "metrics.json")
    write_pair_report(_report(run, results, sets), folder)
    timing = {
        name: {
            system: {
                "texts": one.latency and asdict(one.latency),
                "vectors": one.latency_encoded and asdict(one.latency_encoded),
            }
            for system, one in scores.systems.items()
        }
        for name, scores in sets.items()
    }
    write_json(folder / "timing.json", timing)


def count_evaluated(run: Run, estimate: CostEstimate) -> None:
    """What the evaluation asks servers; the dev pairs have been asked in the audit."""
    for name in run.recipe.pairs:
        for split in EVALUATED:
            pairs = zip(*split_texts(run, name, split), strict=True)
            estimate.add_pairs(f"{name}: {split} pairs", servers_of(run, name), pairs)


def _report(run: Run, results: Results, sets: dict[str, PairSetScores]) -> PairReport:
    curves = [
        (int(line["step"]), f"{stage}: {part}", line[part])
        for stage in (*trainings(run.recipe), BASELINE_STAGE)
        for line in json.loads((run.folder / stage / "curve.json").read_text(encoding="utf-8"))
        for part in line
        if "loss" in part and part != "train_loss"
    ]
    page = Report(
        results,
        title=f"{run.recipe.name}: a distilled scorer of pairs",
        compared=(INTERACTION, BASELINE),
        curves=curves,
    )
    texts = {name: _texts_of(open_pairs(run, name, "test")) for name in sets}
    audited = json.loads((run.folder / AUDIT_STAGE / "audit.json").read_text(encoding="utf-8"))
    audits = {
        name: Table(
            ["System", one["metric"]],
            [["teacher", f"{one['teacher']:.3f}"], ["student's start", f"{one['start']:.3f}"]],
            one["explanation"],
        )
        for name, one in audited.items()
    }
    return PairReport(page, sets, INTERACTION, TEACHER, texts, audits)


def _texts_of(pairs: SentencePairs) -> PairTexts:
    def texts(row: int) -> tuple[str, str]:
        return pairs[row].text1, pairs[row].text2

    return texts


def _scored_set(run: Run, name: str) -> PairSetScores:
    """Every system's scores of dev and test pairs, with what a pair takes it."""
    labels = run.recipe.pairs[name].labels
    systems = pair_systems(run, name)
    scores = system_scores(run, name, systems)
    texts = split_texts(run, name, "test")
    found = {}
    for system, one in systems.items():
        # To time a server would mean to pay for pairs whose scores are there.
        latency = latencies_ms(one, *texts) if one.timed else {}
        found[system] = SystemScores(
            scores[system]["dev"], scores[system]["test"], latency.get("texts"), latency.get("vectors")
        )
    dev, test = (targets(open_pairs(run, name, split), labels) for split in EVALUATED)
    return PairSetScores(labels.kind, dev, test, found)


@dataclass(frozen=True)
class PairSystem:
    """Something that scores pairs.

    Attributes:
        score: of first and second texts, all that it takes from the texts on.
        encode: vectors of first and second texts, where texts are encoded one by one; None for a teacher.
        compare: scores of vectors; None for a teacher.
        teacher: itself, whose scores are cached; None for all others.
        timed: whether its time is measured.
    """

    score: Callable[[Texts, Texts], Scores]
    encode: Callable[[Texts, Texts], tuple[Vectors, Vectors]] | None = None
    compare: Callable[[Vectors, Vectors], Scores] | None = None
    teacher: Teacher | None = None
    timed: bool = True


def evaluation_settings(recipe: Recipe) -> object:
    """What the figures and their page depend on, beyond the stages before."""
    return [recipe.name, recipe.seed]


def pair_systems(run: Run, name: str) -> dict[str, PairSystem]:
    """The systems of a set, in the order of the table, of a run whose student is distilled."""
    recipe, task = run.recipe, run.recipe.pairs[name].task
    student = DenseStudent.load(run.folder / "distil" / STUDENT, recipe.device)
    scales = json.loads((run.folder / "distil" / CALIBRATION).read_text(encoding="utf-8"))[name]
    scorer = PairScorer(student, task)
    teacher = open_pair_teacher(run, name)

    def probability(first: Vectors, second: Vectors) -> Scores:
        logits = scorer.score_vectors(first, second).astype(np.float64)
        return np.asarray(expit(scales["slope"] * logits + scales["bias"]))

    def bi_encoder(place: str, layers: int | None) -> PairSystem:
        model = load_backbone(place, recipe.max_length, recipe.device, layers=layers)

        def vectors(first: Texts, second: Texts) -> tuple[Vectors, Vectors]:
            asked = _once(first, lambda texts: encode(model, texts, query=task == "asymmetric"))
            return asked, _once(second, lambda texts: encode(model, texts))

        return _decomposed(vectors, _cosine)

    return {
        BACKBONE: bi_encoder(recipe.backbone, recipe.backbone_layers),
        BASELINE: bi_encoder(str(run.folder / BASELINE_STAGE / MODEL), None),
        COSINE: _decomposed(scorer.encode, _cosine),
        INTERACTION: _decomposed(scorer.encode, probability),
        TEACHER: PairSystem(
            lambda first, second: np.asarray(expit(teacher.score(list(zip(first, second, strict=True))))),
            teacher=teacher,
            timed=not any(isinstance(member, ServerTeacher) for member in teacher.members),
        ),
    }


def _decomposed(
    vectors: Callable[[Texts, Texts], tuple[Vectors, Vectors]], compare: Callable[[Vectors, Vectors], Scores]
) -> PairSystem:
    return PairSystem(lambda first, second: compare(*vectors(first, second)), vectors, compare)


def _cosine(first: Vectors, second: Vectors) -> Scores:
    return np.asarray(np.einsum("ij,ij->i", first, second, dtype=np.float64))


def _once(texts: Texts, encoded: Callable[[list[str]], Vectors]) -> Vectors:
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    return encoded(list(row_of))[[row_of[text] for text in texts]]


def system_scores(run: Run, name: str, systems: dict[str, PairSystem]) -> dict[str, dict[str, Scores]]:
    """Every system's scores of dev and test pairs, by system and split; the teacher's are cached."""
    found: dict[str, dict[str, Scores]] = {system: {} for system in systems}
    for split in EVALUATED:
        first, second = split_texts(run, name, split)
        with run.progress.task(f"{name}: {split} pairs", len(systems)) as advance:
            for system, scorer in systems.items():
                if scorer.teacher is not None:
                    pairs = list(zip(first, second, strict=True))
                    logits = scored(run, scorer.teacher, pairs, f"{name}: {split} pairs: {system}")
                    found[system][split] = np.asarray(expit(logits))
                else:
                    found[system][split] = scorer.score(first, second)
                advance(1)
    return found


def latencies_ms(system: PairSystem, first: Texts, second: Texts) -> dict[str, Latency]:
    """Time per pair in milliseconds, pairs being given `TIMED_PAIRS` at a time.

    Returns:
        `"texts"`, from the texts on; and `"vectors"`, from the vectors on, where texts are encoded alone:
        what a pair costs once its texts are known. That is what decomposing buys.
    """
    blocks = [slice(start, start + TIMED_PAIRS) for start in range(0, len(first), TIMED_PAIRS)][:TIMED_BLOCKS]
    found = {"texts": _latency(system.score, [(first[at], second[at]) for at in blocks])}
    if system.encode is not None and system.compare is not None:
        found["vectors"] = _latency(system.compare, [system.encode(first[at], second[at]) for at in blocks])
    return found


def _latency(score: Callable[[Any, Any], object], blocks: Sequence[tuple[Any, Any]]) -> Latency:
    score(*blocks[0])  # the first call loads and compiles
    each = []
    for first, second in blocks:
        started = time.perf_counter()
        score(first, second)
        each.append(1000 * (time.perf_counter() - started) / len(first))
    return Latency(float(np.median(each)), float(np.quantile(each, 0.95)))
