from __future__ import annotations

import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.indexes.vectors import HnswParameters, VectorIndex, two_stage_recall
from limbeck.indexes.vectors import index as index_module

from .conftest import DIM, direct_logits, random_vectors, random_weights

PASSAGES = 300


def blocks_of(vectors, size=64):
    return (vectors[start : start + size] for start in range(0, len(vectors), size))


def names(count):
    return [f"passage-{row}" for row in range(count)]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks far smaller than the corpus, so that every search crosses them."""
    monkeypatch.setattr(index_module, "INTERACTION_BLOCK", 37)
    monkeypatch.setattr(index_module, "_QUERIES_AT_ONCE", 3)
    monkeypatch.setattr("limbeck.indexes.vectors.first_stage.COSINE_BLOCK", 41)


@pytest.fixture
def vectors():
    return random_vectors(PASSAGES)


@pytest.fixture
def queries():
    return random_vectors(7, seed=1)


@pytest.fixture
def index(tmp_path, vectors, weights):
    return VectorIndex.build(tmp_path / "index", blocks_of(vectors), names(PASSAGES), weights)


@pytest.mark.usefixtures("small_blocks")
def test_exhaustive_search_is_the_formula(index, vectors, weights, queries):
    expected = direct_logits(weights, queries, vectors)
    rows, scores = index.search_exhaustive(queries, 25)
    np.testing.assert_array_equal(rows, np.argsort(-expected, axis=1)[:, :25])
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :25], atol=1e-4)
    assert rows.dtype == np.int64


@pytest.mark.usefixtures("small_blocks")
def test_score_is_the_formula_for_chosen_rows(index, vectors, weights, queries):
    rows = np.random.default_rng(2).integers(0, PASSAGES, (7, 90))
    expected = np.take_along_axis(direct_logits(weights, queries, vectors), rows, 1)
    np.testing.assert_allclose(index.score(queries, rows), expected, atol=1e-4)


@pytest.mark.usefixtures("small_blocks")
def test_cosine_search_is_brute_force(index, vectors, queries):
    cosines = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    rows, scores = index.search_cosine(queries, 10)
    np.testing.assert_array_equal(rows, np.argsort(-cosines, axis=1)[:, :10])
    np.testing.assert_allclose(scores, -np.sort(-cosines, axis=1)[:, :10], atol=1e-6)


@pytest.mark.usefixtures("small_blocks")
def test_two_stages_rescore_the_best_by_cosine(index, vectors, weights, queries):
    logits = direct_logits(weights, queries, vectors)
    rows, scores = index.search(queries, 5, candidates=40)
    for query in range(7):
        candidates = np.argsort(-(vectors @ queries[query]))[:40]
        expected = candidates[np.argsort(-logits[query, candidates])][:5]
        assert rows[query].tolist() == expected.tolist()
        np.testing.assert_allclose(scores[query], logits[query, expected], atol=1e-4)


def test_all_candidates_give_the_exhaustive_result(index, queries):
    for found, expected in zip(
        index.search(queries, 10, candidates=PASSAGES), index.search_exhaustive(queries, 10), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.usefixtures("small_blocks")
def test_recall_is_the_share_of_the_exhaustive_top(index, queries):
    exhaustive = index.search_exhaustive(queries, 10)[0]
    found = index.search(queries, 10, candidates=30)[0]
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exhaustive, found, strict=True)])
    assert 0 < share < 1  # the case tells something
    assert two_stage_recall(index, queries, k=10, candidates=30) == pytest.approx(share)
    assert two_stage_recall(index, queries, k=10, candidates=PASSAGES) == 1


@pytest.mark.usefixtures("small_blocks")
def test_equal_passages_come_in_the_order_of_their_rows(tmp_path, weights):
    vectors = np.repeat(random_vectors(1), 100, axis=0)
    index = VectorIndex.build(tmp_path / "index", [vectors], names(100), weights)
    assert index.search_cosine(vectors[:1], 60)[0][0].tolist() == list(range(60))
    rows, scores = index.search_exhaustive(vectors[:1], 60)
    if np.ptp(scores) == 0:  # a row's place in a block may change its last bit
        assert rows[0].tolist() == list(range(60))
    assert two_stage_recall(index, vectors[:1], 10, 50) == 1


def test_ids_come_back(tmp_path):
    ids = ["a", "", "ä/ö", "日本語", "p 5"]
    index = VectorIndex.build(tmp_path / "index", [random_vectors(5)], iter(ids))
    assert [index.id(row) for row in range(5)] == ids
    assert index.ids(np.array([3, 0])) == ["日本語", "a"]
    assert (len(index), index.dim) == (5, DIM)
    for row in (-1, 5):
        with pytest.raises(InputError, match="no row"):
            index.id(row)


def test_ids_cross_their_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.indexes.vectors.builder._IDS_AT_ONCE", 7)
    index = VectorIndex.build(tmp_path / "index", [random_vectors(50)], names(50))
    assert index.ids(range(50)) == names(50)


@pytest.mark.parametrize(("vector_type", "half_type"), [("float16", "float32"), ("float32", "float16")])
def test_half_precision_stays_near_the_formula(tmp_path, vectors, weights, queries, vector_type, half_type):
    index = VectorIndex.build(
        tmp_path / "index", [vectors], names(PASSAGES), weights, vector_type=vector_type, half_type=half_type
    )
    expected = direct_logits(weights, queries, vectors)
    found = index.score(queries, np.tile(np.arange(PASSAGES), (7, 1)))
    assert np.abs(found - expected).max() < 0.005 * expected.std()
    np.testing.assert_allclose(index.vectors([3, 4]), vectors[3:5], atol=5e-4)


def test_an_index_smaller_than_k_gives_all_it_has(tmp_path, weights, queries):
    index = VectorIndex.build(tmp_path / "index", [random_vectors(4)], names(4), weights)
    for rows, scores in (
        index.search(queries, 10),
        index.search_cosine(queries, 10),
        index.search_exhaustive(queries, 10),
    ):
        assert rows.shape == scores.shape == (7, 4)
        assert (np.sort(rows, axis=1) == np.arange(4)).all()


def test_no_queries_give_no_results(index):
    nothing = np.empty((0, DIM), dtype=np.float32)
    assert index.search(nothing, 5)[0].shape == (0, 5)
    assert index.search_exhaustive(nothing, 5)[1].shape == (0, 5)
    assert two_stage_recall(index, nothing) == 1


def test_an_index_without_interaction_is_searched_by_cosine_only(tmp_path, vectors, queries):
    index = VectorIndex.build(tmp_path / "index", blocks_of(vectors), names(PASSAGES))
    assert index.search_cosine(queries, 3)[0].shape == (7, 3)
    for search in (index.search, index.search_exhaustive):
        with pytest.raises(InputError, match="without an interaction module"):
            search(queries, 3)


def test_the_module_without_a_cosine_part(tmp_path, vectors, queries):
    weights = random_weights(cosine_scale=0.0)
    index = VectorIndex.build(tmp_path / "index", [vectors], names(PASSAGES), weights)
    rows, scores = index.search_exhaustive(queries, 1)
    expected = direct_logits(weights, queries, vectors)
    assert rows[:, 0].tolist() == expected.argmax(1).tolist()
    np.testing.assert_allclose(scores[:, 0], expected.max(1), atol=1e-4)


def test_searches_in_threads_agree_with_one_after_another(index):
    queries = random_vectors(40, seed=3)
    expected, _ = index.search(queries, 5, 50)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda query: index.search(query[None], 5, 50)[0][0], queries))
    np.testing.assert_array_equal(np.stack(found), expected)


def test_memory_does_not_grow_with_the_corpus(tmp_path, weights, queries):
    """NumPy's allocations at their peak, for a corpus and one four times as large."""

    def peak_bytes(passages):
        def blocks():
            for start in range(0, passages, 2048):
                yield random_vectors(min(2048, passages - start), seed=start)

        tracemalloc.start()
        index = VectorIndex.build(tmp_path / str(passages), blocks(), map(str, range(passages)), weights)
        built = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        index.search_exhaustive(queries, 10)
        index.search(queries, 10, 50)
        searched = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return built, searched

    peak_bytes(2048)  # what is allocated once
    small, large = peak_bytes(20_480), peak_bytes(81_920)
    assert large[0] < 1.3 * small[0]
    assert large[1] < 1.3 * small[1]


class TestWrongInput:
    @pytest.mark.parametrize("shape", [(4, DIM + 1), (DIM,), (4, 0)])
    def test_shape_of_vectors(self, tmp_path, weights, shape):
        with pytest.raises(InputError, match="block of vectors has shape"):
            VectorIndex.build(tmp_path / "index", [np.ones(shape)], names(4), weights)
        assert not list(tmp_path.iterdir())

    def test_blocks_of_two_dimensions(self, tmp_path):
        with pytest.raises(InputError, match=r"shape \(2, 3\)"):
            VectorIndex.build(tmp_path / "index", [np.eye(2), np.eye(3)[:2]], names(4))

    @pytest.mark.parametrize("value", [np.nan, np.inf, 2.0, 0.0])
    def test_vectors_that_have_no_direction(self, tmp_path, value):
        wrong = np.eye(DIM)
        wrong[2] *= 0
        wrong[2, 0] = value
        with pytest.raises(InputError, match=r"vector of passage 18 .*length"):
            VectorIndex.build(tmp_path / "index", [np.eye(DIM), wrong], names(32))

    @pytest.mark.parametrize("count", [19, 21])
    def test_number_of_ids(self, tmp_path, count):
        with pytest.raises(InputError, match=f"{count} ids came with 20 vectors"):
            VectorIndex.build(tmp_path / "index", [random_vectors(20)], names(count))

    def test_no_vectors(self, tmp_path):
        with pytest.raises(InputError, match="no vectors"):
            VectorIndex.build(tmp_path / "index", [], [])

    def test_type(self, tmp_path):
        with pytest.raises(InputError, match="half_type is 'int8'"):
            VectorIndex.build(tmp_path / "index", [random_vectors(2)], names(2), half_type="int8")

    def test_queries(self, index, queries):
        with pytest.raises(InputError, match="query vectors have shape"):
            index.search_cosine(queries[:, :5], 3)
        with pytest.raises(InputError, match="NaN"):
            index.search(queries * np.nan, 3)
        with pytest.raises(InputError, match="0 results"):
            index.search_exhaustive(queries, 0)
        with pytest.raises(InputError, match="at least as many candidates"):
            index.search(queries, 10, candidates=5)


class TestGraph:
    @pytest.fixture
    def graph_index(self, tmp_path, vectors, weights):
        return VectorIndex.build(
            tmp_path / "graph", blocks_of(vectors), names(PASSAGES), weights, first_stage="graph"
        )

    def test_finds_what_brute_force_finds(self, graph_index, index, queries):
        rows, cosines = graph_index.search_cosine(queries, 10)
        expected_rows, expected = index.search_cosine(queries, 10)
        # 300 passages with an effort of 128: a graph on so few that misses any would be broken
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_allclose(cosines, expected, atol=1e-6)
        assert two_stage_recall(graph_index, queries, 10, 200) == two_stage_recall(index, queries, 10, 200)

    def test_is_part_of_the_directory(self, graph_index):
        path = graph_index.directory / "graph.faiss"
        graph_index.check_content()
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(InputError, match=r"graph\.faiss"):
            VectorIndex.open(graph_index.directory)
        path.write_bytes(b"x" * len(content))
        with pytest.raises(InputError, match="graph cannot be read"):
            VectorIndex.open(graph_index.directory)

    def test_is_taken_for_large_corpora(self, tmp_path, monkeypatch, vectors):
        monkeypatch.setattr(index_module, "EXACT_UP_TO", PASSAGES - 1)
        VectorIndex.build(tmp_path / "large", [vectors], names(PASSAGES))
        VectorIndex.build(tmp_path / "small", [vectors[1:]], names(PASSAGES - 1))
        VectorIndex.build(tmp_path / "exact", [vectors], names(PASSAGES), first_stage="exact")
        built = [(tmp_path / name / "graph.faiss").exists() for name in ("large", "small", "exact")]
        assert built == [True, False, False]

    def test_a_query_that_the_graph_cannot_serve_is_searched_exactly(self, graph_index, index, queries):
        class Short:
            def search(self, vectors, k, params):
                rows = np.zeros((len(vectors), k), dtype=np.int64)
                rows[2, -1] = -1
                return np.zeros((len(vectors), k), dtype=np.float32), rows

        graph_index._first_stage._index = Short()
        rows, _ = graph_index.search_cosine(queries, 10)
        assert rows[2].tolist() == index.search_cosine(queries, 10)[0][2].tolist()
        assert rows[1].tolist() == [0] * 10

    def test_without_faiss_the_error_says_what_to_install(self, tmp_path, monkeypatch, vectors):
        monkeypatch.setitem(sys.modules, "faiss", None)
        VectorIndex.build(tmp_path / "exact", [vectors], names(PASSAGES)).search_cosine(vectors[:1], 1)
        with pytest.raises(InputError, match=r"pip install 'limbeck\[dense\]'"):
            VectorIndex.build(tmp_path / "graph", [vectors], names(PASSAGES), first_stage="graph")
        assert not (tmp_path / "graph").exists()

    @pytest.mark.parametrize("name", ["links", "build_effort", "search_effort"])
    def test_parameters(self, name):
        with pytest.raises(InputError, match=name):
            HnswParameters(**{name: 1})
