"""Real tasks of mteb over small tables: the figures are the interaction's, and not those of the cosine."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch

from limbeck.data import Judgements, Rankings
from limbeck.encoders import model_digest
from limbeck.errors import InputError
from limbeck.evaluation import evaluate_binary, evaluate_graded, evaluate_run
from limbeck.students.dense import mteb as wrapper
from limbeck.students.dense.mteb import LimbeckEncoder, by_interaction
from limbeck.students.dense.student import DenseStudent
from tests.tiny_models import WORDS

mteb = pytest.importorskip("mteb")
from datasets import Dataset, DatasetDict  # noqa: E402
from mteb.abstasks import AbsTaskPairClassification, AbsTaskRetrieval, AbsTaskSTS  # noqa: E402
from mteb.abstasks.aggregated_task import AbsTaskAggregate  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402

PAIRS, QUERIES, CORPUS = 60, 8, 30


def phrases(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, size=generator.integers(2, 7))) for _ in range(count)]


FIRST, SECOND = phrases(PAIRS, 1), phrases(PAIRS, 2)
GRADES = np.random.default_rng(3).integers(0, 6, PAIRS).astype(float)
LABELS = (GRADES > 2).astype(int)
QUERY_TEXTS, BODIES = phrases(QUERIES, 4), phrases(CORPUS, 5)
TITLES = phrases(CORPUS, 6)
QRELS = {
    f"q{row}": {f"d{(row * 5 + step) % CORPUS}": step + 1 for step in range(2)} for row in range(QUERIES)
}
#: Few of many, so that a reranking leaves out what a search would find.
CANDIDATES = {
    query: sorted({*relevant, *(f"d{(at * 7) % CORPUS}" for at in range(6))})
    for query, relevant in QRELS.items()
}


def metadata(name: str, kind: str, main_score: str) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        type=kind,
        main_score=main_score,
        description="A table of random words.",
        dataset={"path": "none", "revision": "none"},
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
    )


class Similarity(AbsTaskSTS):
    metadata = metadata("TinySTS", "STS", "cosine_spearman")

    def load_data(self, **_):
        columns = {"sentence1": FIRST, "sentence2": SECOND, "score": GRADES.tolist()}
        self.dataset = DatasetDict({"test": Dataset.from_dict(columns)})
        self.data_loaded = True


class PairClassification(AbsTaskPairClassification):
    metadata = metadata("TinyPairs", "PairClassification", "max_ap")

    def load_data(self, **_):
        columns = {"sentence1": FIRST, "sentence2": SECOND, "labels": LABELS.tolist()}
        self.dataset = DatasetDict({"test": Dataset.from_dict(columns)})
        self.data_loaded = True


class Retrieval(AbsTaskRetrieval):
    metadata = metadata("TinyRetrieval", "Retrieval", "ndcg_at_10")
    candidates = None

    def load_data(self, **_):
        corpus = [
            {"id": f"d{row}", "title": title, "text": body}
            for row, (title, body) in enumerate(zip(TITLES, BODIES, strict=True))
        ]
        queries = [{"id": f"q{row}", "text": text} for row, text in enumerate(QUERY_TEXTS)]
        split = {
            "corpus": Dataset.from_list(corpus),
            "queries": Dataset.from_list(queries),
            "relevant_docs": QRELS,
            "top_ranked": self.candidates,
        }
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


class Reranking(Retrieval):
    metadata = metadata("TinyReranking", "Reranking", "ndcg_at_10")
    candidates = CANDIDATES


@pytest.fixture(scope="module")
def student(tiny_encoder_path):
    """Its interaction starts at random, so that it ranks otherwise than the cosine, and knows its sides."""
    return DenseStudent.start(
        str(tiny_encoder_path),
        max_length=32,
        heads=4,
        hidden=16,
        features=8,
        interaction_start="random",
        device="cpu",
    )


@pytest.fixture(scope="module")
def figures(student):
    """mteb's figures for every task, by its name."""
    tasks = by_interaction([Similarity(), PairClassification(), Retrieval(), Reranking()])
    result = mteb.evaluate(LimbeckEncoder(student), tasks, cache=None, show_progress_bar=False)
    return {one.task_name: one.scores["test"][0] for one in result.task_results}


@torch.inference_mode()
def symmetric_scores(student, first, second):
    left, right = (torch.from_numpy(student.encode(texts)) for texts in (first, second))
    return student.interaction.score(left, right.unsqueeze(1), "symmetric").logits[:, 0].numpy()


def contents():
    """Passages as students read them, which is not quite as mteb joins title and text."""
    return {
        f"d{row}": f"{title}. {body}" for row, (title, body) in enumerate(zip(TITLES, BODIES, strict=True))
    }


def student_scores(student, candidates):
    texts = contents()
    lists = {}
    for row, query in enumerate(QUERY_TEXTS):
        ids = candidates[f"q{row}"] if candidates else list(texts)
        scores = student.score(query, [texts[passage_id] for passage_id in ids])
        lists[f"q{row}"] = dict(zip(ids, scores.tolist(), strict=True))
    return lists


def cosine_scores(student):
    cosines = student.encode(QUERY_TEXTS, query=True) @ student.encode(list(contents().values())).T
    return {f"q{row}": dict(zip(contents(), line.tolist(), strict=True)) for row, line in enumerate(cosines)}


def ndcg(lists):
    judgements = Judgements((query, one, grade) for query, own in QRELS.items() for one, grade in own.items())
    return evaluate_run(Rankings.from_dict(lists, "student"), judgements, ["nDCG@10"]).mean("nDCG@10")


def test_sentence_similarity_is_that_of_the_symmetric_branch(student, figures):
    scores = symmetric_scores(student, FIRST, SECOND)
    own = evaluate_graded(scores, GRADES)
    assert figures["TinySTS"]["main_score"] == pytest.approx(own["Spearman"].value, abs=1e-9)
    assert figures["TinySTS"]["pearson"] == pytest.approx(own["Pearson"].value, abs=1e-6)
    cosines = (student.encode(FIRST) * student.encode(SECOND)).sum(axis=1)
    by_cosine = evaluate_graded(cosines, GRADES)["Spearman"].value
    assert figures["TinySTS"]["cosine_spearman"] == pytest.approx(by_cosine, abs=1e-3)
    assert abs(figures["TinySTS"]["main_score"] - by_cosine) > 0.01


def test_pair_classification_is_that_of_the_symmetric_branch(student, figures):
    scores = symmetric_scores(student, FIRST, SECOND)
    own = evaluate_binary(scores, LABELS, threshold=0.0)["Average precision"].value
    assert figures["TinyPairs"]["main_score"] == pytest.approx(own, abs=1e-9)
    assert abs(own - figures["TinyPairs"]["cosine_ap"]) > 0.01
    assert figures["TinyPairs"]["max_ap"] >= own


@pytest.mark.parametrize(("task", "candidates"), [("TinyRetrieval", None), ("TinyReranking", CANDIDATES)])
def test_retrieval_ranks_by_the_asymmetric_branch(student, figures, task, candidates):
    own = ndcg(student_scores(student, candidates))
    assert figures[task]["main_score"] == pytest.approx(own, abs=1e-5)  # mteb rounds to five places
    cosines = cosine_scores(student)
    if candidates:
        cosines = {query: {one: cosines[query][one] for one in ids} for query, ids in candidates.items()}
    assert abs(ndcg(cosines) - figures[task]["main_score"]) > 5e-4


def test_the_query_is_the_first_side(student, monkeypatch):
    monkeypatch.setattr(wrapper, "_PAIRS_AT_ONCE", 16 * 7)
    texts = list(contents().values())
    encoder = LimbeckEncoder(student)
    queries, passages = student.encode(QUERY_TEXTS * 3, query=True), student.encode(texts)
    found = encoder.similarity(queries, passages).numpy()
    expected = np.stack([student.score(text, texts) for text in QUERY_TEXTS * 3])
    np.testing.assert_allclose(
        found, expected, atol=0.02
    )  # a single query's bfloat16 vector differs a little
    assert np.abs(encoder.similarity(passages, queries).numpy().T - found).max() > 0.1
    np.testing.assert_array_equal(encoder.similarity(queries[0], passages[0]).shape, (1, 1))


def test_pairs_in_blocks(student, monkeypatch):
    encoder = LimbeckEncoder(student)
    left, right = student.encode(FIRST), student.encode(SECOND)
    whole = encoder.similarity_pairwise(left, right)
    monkeypatch.setattr(wrapper, "_PAIRS_AT_ONCE", 7)
    torch.testing.assert_close(encoder.similarity_pairwise(left, right), whole)
    with pytest.raises(InputError, match="no pairs"):
        encoder.similarity_pairwise(left, right[:-1])


def test_pairs_by_the_branch_that_learnt_them(student, tmp_path):
    left, right = student.encode(FIRST), student.encode(SECOND)
    student.save(tmp_path / "student")
    symmetric = LimbeckEncoder(student)
    asymmetric = LimbeckEncoder.open(tmp_path / "student", "cpu", pair_task="asymmetric")
    found = asymmetric.similarity_pairwise(left, right)
    torch.testing.assert_close(found, symmetric.similarity(left, right).diagonal(), atol=1e-4, rtol=0)
    assert (found - symmetric.similarity_pairwise(left, right)).abs().max() > 0.01
    # Results of the one are not taken for the other's.
    assert asymmetric.mteb_model_meta.revision != symmetric.mteb_model_meta.revision
    with pytest.raises(InputError, match=r"no branch 'entailment'.*symmetric, asymmetric"):
        LimbeckEncoder(student, pair_task="entailment")


def test_tasks_are_changed_in_a_copy(student):
    similarity, retrieval = Similarity(), Retrieval()
    changed, same = by_interaction([similarity, retrieval])
    assert changed.metadata.main_score == "spearman"
    assert similarity.metadata.main_score == Similarity.metadata.main_score == "cosine_spearman"
    assert same.metadata.main_score == "ndcg_at_10"
    assert by_interaction(by_interaction(PairClassification()))[0].metadata.main_score == "similarity_ap"


def test_a_task_of_tasks_is_refused():
    aggregate = object.__new__(AbsTaskAggregate)
    aggregate.metadata = metadata("Many", "STS", "cosine_spearman")
    with pytest.raises(InputError, match="made of other tasks"):
        by_interaction([aggregate])


def test_what_is_known_of_the_student(student, tmp_path):
    run = tmp_path / "mine"
    student.save(run / "distil" / "student")
    for folder, name in ((run, "limbeck/mine"), (run / "distil" / "student", "limbeck/student")):
        meta = LimbeckEncoder.open(folder, "cpu").mteb_model_meta
        assert meta.name == name
        assert meta.revision == model_digest(student.model)
        assert meta.embed_dim == 32
        assert meta.max_tokens == 32
        assert meta.n_parameters == sum(weight.numel() for weight in student.model.parameters())
        assert meta.n_embedding_parameters == student.model[0].model.embeddings.word_embeddings.weight.numel()
        assert meta.similarity_fn_name.value == "custom"
        assert meta.training_datasets is None
    with pytest.raises(InputError, match="no organisation"):
        LimbeckEncoder(student, "mine")
    with pytest.raises(InputError, match="there is no student"):
        LimbeckEncoder.open(tmp_path / "nothing")


def test_without_mteb_the_error_says_what_to_install(student, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.split(".")[0] == "mteb":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"limbeck\[mteb\]"):
        LimbeckEncoder(student)
    with pytest.raises(InputError, match=r"limbeck\[mteb\]"):
        by_interaction([])
