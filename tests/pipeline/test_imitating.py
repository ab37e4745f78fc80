"""The stage in which a student's backbone learns the vectors of its teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer

from limbeck.encoders import encode
from limbeck.errors import InputError
from limbeck.pipeline import imitating, stages_of
from limbeck.pipeline.run import stage_keys
from limbeck.recipes import make_recipe
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.dense.student import DenseStudent
from limbeck.trainers import TrainingOutcome
from tests.pipeline.pairs.tiny_pairs import pair_content, pair_recipe, set_content, write_pairs
from tests.pipeline.tiny_corpus import run_recipe, tiny_recipe, write_corpus
from tests.tiny_models import tiny_encoder

STUDENT = {"heads": 4, "hidden": 16, "features": 8, "vector_imitation": {"epochs": 8, "batch_size": 8}}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs")


def names(recipe: Any) -> list[str]:
    return [stage.name for stage in stages_of(recipe)]


def test_only_a_recipe_that_wants_it_has_the_stage(pairs: Path, tiny_encoder_path: Path, tmp_path: Path):
    corpus = write_corpus(tmp_path / "corpus")
    assert imitating.STAGE not in names(tiny_recipe(corpus, tiny_encoder_path))
    assert imitating.STAGE not in names(pair_recipe(pairs, tiny_encoder_path))
    alone = names(tiny_recipe(corpus, tiny_encoder_path, student=STUDENT, backbone_layers=1))
    assert alone.index("teach") < alone.index("imitate") == alone.index("distil") - 1
    of_pairs = names(pair_recipe(pairs, tiny_encoder_path, student=STUDENT))
    assert of_pairs.index("pair-teacher") < of_pairs.index("imitate") == of_pairs.index("distil") - 1
    assert "teacher" not in of_pairs


def test_a_student_of_pairs_starts_near_its_fine_tuned_bi_encoder(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path
):
    recipe = pair_recipe(pairs, tiny_encoder_path, student=STUDENT, backbone_layers=1)
    run = tmp_path / "run"
    record = run_recipe(recipe, run, until="imitate")
    texts = [line.split("\t")[0] for line in (pairs / "train.tsv").read_text().splitlines()[1:]]
    teacher = SentenceTransformer(str(run / "pair-teacher/tiny/member-1/model"), device="cpu")
    goal = encode(teacher, texts)
    start = load_backbone(str(tiny_encoder_path), 32, "cpu", layers=1)
    learnt = load_backbone(str(run / "imitate/model"), 32, "cpu")
    before, after = (float((encode(model, texts) * goal).sum(axis=1).mean()) for model in (start, learnt))
    assert after > before + 0.1
    assert record.tasks["tiny: encoding with the bi-encoder"] == 87  # of 48 pairs, each text once
    assert not (run / "imitate" / "scratch").exists()
    record = run_recipe(recipe, run, anyway=True)
    assert record.reused["imitate"]
    student = DenseStudent.load(run / "distil" / "student", "cpu")
    assert len(student.model[0].auto_model.encoder.layer) == 1
    assert "imitate: loss" in (run / "pairs" / "report.html").read_text(encoding="utf-8")


def test_the_student_begins_with_what_was_imitated(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recipe = pair_recipe(pairs, tiny_encoder_path, student=STUDENT, backbone_layers=1)
    begun: list[tuple[str, Any]] = []
    real = DenseStudent.start.__func__

    def start(cls: Any, backbone: str, *, layers: int | None = None, **options: Any) -> DenseStudent:
        begun.append((backbone, layers))
        return real(cls, backbone, layers=layers, **options)

    monkeypatch.setattr(DenseStudent, "start", classmethod(start))
    run_recipe(recipe, tmp_path / "run", until="distil", anyway=True)
    assert begun == [(str(tmp_path / "run" / "imitate" / "model"), None)]


def test_a_corpus_gives_its_passages_and_training_queries(tiny_encoder_path: Path, tmp_path: Path):
    corpus = write_corpus(tmp_path / "corpus")
    recipe = tiny_recipe(corpus, tiny_encoder_path, student=STUDENT, backbone_layers=1)
    record = run_recipe(recipe, tmp_path / "run", until="imitate", anyway=True)
    queries = sum(1 for line in (corpus / "queries.jsonl").open() if '"_id": "train' in line)
    assert record.tasks["retrieval: encoding with the bi-encoder"] == 60
    assert record.tasks["retrieval queries: encoding with the bi-encoder"] == queries > 0


def test_of_an_asymmetric_set_first_texts_are_queries(pairs: Path, tiny_encoder_path: Path, tmp_path: Path):
    labels = {"kind": "binary", "positive": ["same"], "negative": ["other"]}
    one = set_content(pairs, labels=labels, fields=["text1", "text2", "class"], task="asymmetric")
    recipe = pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": one}, student=STUDENT)
    record = run_recipe(recipe, tmp_path / "run", until="imitate", anyway=True)
    assert record.tasks["tiny first: encoding with the bi-encoder"] == 48
    assert record.tasks["tiny: encoding with the bi-encoder"] == 48


def test_what_was_encoded_before_a_stop_is_not_encoded_again(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recipe = pair_recipe(pairs, tiny_encoder_path, student=STUDENT)
    run_recipe(recipe, tmp_path / "run", until="pair-audit", anyway=True)
    monkeypatch.setattr(imitating, "BLOCK", 40)
    encoded: list[int] = []
    stop_at = 2

    def encode_some(model: Any, texts: list[str], *, query: bool) -> Any:
        if len(encoded) == stop_at:
            raise KeyboardInterrupt
        encoded.append(len(texts))
        return encode(model, texts, query=query)

    monkeypatch.setattr(imitating, "encode", encode_some)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path / "run", until="imitate", anyway=True)
    stop_at = -1
    run_recipe(recipe, tmp_path / "run", until="imitate", anyway=True)
    assert encoded == [40, 40, 7]


def test_a_start_that_diverged_is_not_kept(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recipe = pair_recipe(pairs, tiny_encoder_path, student=STUDENT)
    run_recipe(recipe, tmp_path / "run", until="pair-teacher")

    def diverge(model: Any, goals: Any, **_: object) -> TrainingOutcome:
        assert list(goals) == ["tiny"]
        next(model.parameters()).data.fill_(float("nan"))
        return TrainingOutcome(1)

    monkeypatch.setattr(imitating, "imitate_vectors", diverge)
    with pytest.raises(InputError, match=r"diverged.*lower student\.vector_imitation\.learning_rate"):
        run_recipe(recipe, tmp_path / "run", until="imitate", anyway=True)
    assert not (tmp_path / "run" / "imitate").exists()


def test_a_wider_bi_encoder_cannot_be_imitated(pairs: Path, tiny_encoder_path: Path, tmp_path: Path):
    wide = tiny_encoder(tmp_path / "wide", width=48)
    one = set_content(pairs, teacher={"members": [{"kind": "bi-encoder", "model": str(wide)}]})
    recipe = pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": one}, student=STUDENT)
    with pytest.raises(InputError, match=r"tiny\.teacher: .*48 dimensions, the student's backbone of 32"):
        run_recipe(recipe, tmp_path / "run", until="imitate", anyway=True)
    assert not (tmp_path / "run" / "pair-data").exists()  # before any work


@pytest.mark.parametrize(
    ("members", "student", "problem"),
    [
        ([{"kind": "cross-encoder"}], {}, r"a bi-encoder among pairs\.tiny\.teacher\.members"),
        ([{"kind": "cross-encoder"}, {"kind": "bi-encoder"}], {}, "teach the backbone its own vectors"),
        (None, {"lora": {}}, "teaches all weights of the backbone, and lora keeps them"),
        (None, {"pooling": "mean"}, "pooling must be attention"),
        (None, {"pooling_start": "random"}, "pooling_start backbone, or they would be lost"),
    ],
)
def test_contradictions_are_refused(
    pairs: Path, tiny_encoder_path: Path, members: Any, student: dict[str, Any], problem: str
):
    one = set_content(pairs, **({"teacher": {"members": members}} if members else {}))
    content = pair_content(pairs, tiny_encoder_path, pairs={"tiny": one}, student=STUDENT | student)
    with pytest.raises(InputError, match=problem):
        make_recipe(content, pairs / "recipe.yaml")


def test_what_changes_the_vectors_changes_the_student_and_nothing_else(pairs: Path, tiny_encoder_path: Path):
    def keys(changes: dict[str, Any], training: dict[str, Any]) -> dict[str, str]:
        student = STUDENT | {"vector_imitation": STUDENT["vector_imitation"] | changes}
        options = pair_content(pairs, tiny_encoder_path)["training"] | training
        recipe = pair_recipe(pairs, tiny_encoder_path, student=student, training=options)
        return stage_keys(recipe, stages_of(recipe))

    def changed(changes: dict[str, Any], training: dict[str, Any]) -> list[str]:
        other = keys(changes, training)
        return [stage for stage, key in keys({}, {}).items() if other[stage] != key]

    assert changed({"epochs": 9}, {}) == ["imitate", "distil", "pair-evaluate"]
    assert changed({}, {"seed": 1}) == ["imitate", "distil", "pair-baseline", "pair-evaluate"]
    assert changed({}, {"cosine_weight": 0.7}) == ["distil", "pair-evaluate"]


def test_a_corpus_needs_a_bi_encoder_of_its_own(tiny_encoder_path: Path, tmp_path: Path):
    corpus = write_corpus(tmp_path / "corpus")
    with pytest.raises(InputError, match=r"a bi-encoder among teacher\.members"):
        tiny_recipe(corpus, tiny_encoder_path, student=STUDENT, teacher={"members": [{"kind": "bm25"}]})
    with pytest.raises(InputError, match="teach the backbone its own vectors"):
        tiny_recipe(corpus, tiny_encoder_path, student=STUDENT)


def test_corpus_and_pairs_give_their_goals_together(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: dict[str, tuple[bool, int]] = {}
    settings: list[Any] = []

    def note(model: Any, goals: Any, **options: Any) -> TrainingOutcome:
        seen.update({name: (one.query, len(one.texts)) for name, one in goals.items()})
        settings.append(options["settings"])
        return TrainingOutcome(1)

    monkeypatch.setattr(imitating, "imitate_vectors", note)
    corpus = write_corpus(tmp_path / "corpus")
    one = set_content(pairs, task="asymmetric")
    training = {"checkpoint_every": 7, "gradient_checkpointing": True, "batch_size": 8, "hard_negatives": 4}
    recipe = tiny_recipe(
        corpus,
        tiny_encoder_path,
        pairs={"tiny": one},
        student=STUDENT,
        training=training,
        backbone_layers=1,
    )
    run_recipe(recipe, tmp_path / "run", until="imitate", anyway=True)
    assert list(seen) == ["retrieval queries", "retrieval", "tiny first", "tiny"]
    assert [query for query, _ in seen.values()] == [True, False, True, False]
    assert seen["retrieval"][1] == 60
    assert (settings[0].checkpoint_every, settings[0].gradient_checkpointing) == (7, True)
    assert (settings[0].epochs, settings[0].batch_size) == (8, 8)
