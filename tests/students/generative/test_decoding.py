"""The beam search returns what a plain one returns, which reads everything anew and masks the full width."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limbeck.errors import InputError, LimbeckError
from limbeck.indexes.fm_index import IdentifierIndex, View
from limbeck.students.generative.decoding import generate
from limbeck.students.generative.identifiers import BodyView, TitleView, ViewSettings
from limbeck.students.generative.layout import ViewText, passage_tokens
from tests.students.generative.worlds import PASSAGES, listed, plain_search

VIEWS = [ViewSettings("title", True, 3), ViewSettings("body", False, 4)]
QUERIES = ["cat dog", "what is the capital of france", "queen"]


def tokens_of(generator, passages=PASSAGES):
    views = [TitleView(), BodyView()]
    markers = generator.vocabulary.markers(["title", "body"])
    texts = [
        [ViewText(view.name, text) for view in views for text in view.texts(passage)] for passage in passages
    ]
    return markers, passage_tokens(generator.vocabulary, markers, texts)


@pytest.mark.parametrize("beams", [1, 3, 8])
def test_it_equals_a_plain_search(generator, tmp_path, beams):
    markers, tokens = tokens_of(generator)
    index = IdentifierIndex.build(tmp_path / "index", tokens)
    found = generate(generator, index, QUERIES, VIEWS, markers, beams=beams)
    plain = plain_search(generator, [row.tolist() for row in tokens], QUERIES, VIEWS, markers, beams)
    assert listed(found) == listed(plain)
    np.testing.assert_allclose(found.log_probabilities, plain.log_probabilities, atol=1e-4)
    np.testing.assert_allclose(found.first, plain.first, atol=1e-4)
    assert len(found.tokens) >= 3 * beams


def test_a_batch_is_its_queries(generator, tmp_path):
    markers, tokens = tokens_of(generator)
    index = IdentifierIndex.build(tmp_path / "index", tokens)
    together = generate(generator, index, QUERIES, VIEWS, markers, beams=4)
    for place, query in enumerate(QUERIES):
        alone = generate(generator, index, [query], VIEWS, markers, beams=4)
        part = slice(*together.query_offsets[place : place + 2])
        assert [row.tolist() for row in alone.tokens] == [row.tolist() for row in together.tokens][part]
        np.testing.assert_allclose(alone.log_probabilities, together.log_probabilities[part], atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same(bart, tmp_path):
    markers, tokens = tokens_of(bart)
    index = IdentifierIndex.build(tmp_path / "index", tokens)
    expected = generate(bart, index, QUERIES, VIEWS, markers, beams=4)
    bart.model.to("cuda")
    found = generate(bart, index, QUERIES, VIEWS, markers, beams=4)
    bart.model.to("cpu")
    assert {tuple(row) for row in found.tokens} == {tuple(row) for row in expected.tokens}
    np.testing.assert_allclose(
        np.sort(found.log_probabilities), np.sort(expected.log_probabilities), atol=1e-3
    )


def test_several_parts_and_deletions_are_searched_as_one_index(bart, tmp_path):
    markers, tokens = tokens_of(bart)
    split = IdentifierIndex.build(tmp_path / "split", tokens[:3])
    split.add(tokens[3:])
    split.delete([1])
    whole = IdentifierIndex.build(tmp_path / "whole", [row for n, row in enumerate(tokens) if n != 1])
    found, expected = (generate(bart, index, QUERIES, VIEWS, markers, beams=4) for index in (split, whole))
    assert listed(found) == listed(expected)


class Table:
    """A model whose chances are multiples of 1/4 that depend on the whole sequence: most of them are ties."""

    table = True

    def __init__(self, width: int, seed: int, levels: int) -> None:
        self.width, self.seed, self.levels = width, seed, levels
        self.vocabulary = type("V", (), {"unknown": 9})()
        weight = np.zeros((width, 1))
        self.model = type("M", (), {"get_output_embeddings": lambda _: type("E", (), {"weight": weight})()})()

    def chances(self, sequence) -> np.ndarray:
        random = np.random.default_rng(zlib.crc32(repr((self.seed, *sequence)).encode()))
        return (-random.integers(1, self.levels + 1, self.width) / 4).astype(np.float32)

    def start(self, queries, prompts):
        state = list(zip(queries, prompts, strict=True))
        return self._answer(state), state

    def step(self, state, parents, tokens):
        state = [
            (*state[parent], token) for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True)
        ]
        return self._answer(state), state

    def _answer(self, state):
        return torch.from_numpy(np.stack([self.chances(sequence) for sequence in state]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_ties_are_decided_as_the_rule_says(tmp_path_factory, data):
    text = st.lists(st.integers(10, 14) | st.just(9), max_size=6)
    passages = data.draw(st.lists(st.tuples(st.none() | text, text), min_size=1, max_size=6))
    markers = {"title": View("title", 0, 1), "body": View("body", 2, 3)}
    rows = [[*([] if title is None else [0, *title, 1]), 2, *body, 3] for title, body in passages]
    views = [
        ViewSettings("title", True, data.draw(st.integers(1, 4))),
        ViewSettings("body", False, data.draw(st.integers(1, 5))),
    ]
    views = data.draw(st.sampled_from([views, views[::-1], views[:1], views[1:]]))
    beams = data.draw(st.integers(1, 6))
    model = Table(15, data.draw(st.integers(0, 999)), data.draw(st.sampled_from([1, 2, 4])))
    index = IdentifierIndex.build(tmp_path_factory.mktemp("index") / "index", rows)
    found = generate(model, index, ["a", "b"], views, markers, beams=beams)
    plain = plain_search(model, rows, ["a", "b"], views, markers, beams)
    assert listed(found) == listed(plain)
    assert found.log_probabilities.tolist() == plain.log_probabilities.tolist()
    if plain.first is None:
        assert found.first is None
    else:
        assert found.first.tolist() == plain.first.tolist()


def test_the_encoder_reads_each_query_and_view_once(bart, tmp_path, monkeypatch):
    markers, tokens = tokens_of(bart)
    index = IdentifierIndex.build(tmp_path / "index", tokens)
    seen = []
    hook = bart.model.get_encoder().register_forward_hook(lambda _, __, out: seen.append(out[0].shape[0]))
    generate(bart, index, QUERIES, VIEWS, markers, beams=4)
    hook.remove()
    assert seen == [6]


def test_a_cache_is_reordered_with_the_beams(generator):
    """Slots swap, split and change their rows; each goes on as if it had been read alone."""
    prompts = [view.start for view in generator.vocabulary.markers(["title", "body"]).values()]
    queries = ["cat dog bird", "queen"]
    with torch.inference_mode():
        _, state = generator.start(queries, prompts)
        _, state = generator.step(state, np.array([1, 0, 0]), np.array([50, 51, 52]))
        _, state = generator.step(state, np.array([2, 2, 0, 1]), np.array([60, 61, 62, 63]))
        found, state = generator.step(state, np.array([3, 0, 2, 1, 1]), np.array([70, 71, 72, 73, 74]))
        sequences = [
            (0, [51, 63, 70]),
            (0, [52, 60, 71]),
            (1, [50, 62, 72]),
            (0, [52, 61, 73]),
            (0, [52, 61, 74]),
        ]
        for chances, (row, sequence) in zip(found, sequences, strict=True):
            inputs = generator.training_inputs([queries[row]], [prompts[row]], [[*sequence, 1]])
            inputs.pop("labels")
            expected = torch.log_softmax(generator.model(**inputs).logits[0, -1], -1)
            torch.testing.assert_close(chances, expected, atol=1e-4, rtol=1e-4)


def test_no_title_anywhere_is_no_title_found(bart, tmp_path):
    markers, tokens = tokens_of(bart, [PASSAGES[4], PASSAGES[5]])
    index = IdentifierIndex.build(tmp_path / "index", tokens)
    found = generate(bart, index, QUERIES, VIEWS, markers)
    assert set(found.views.tolist()) == {1}
    found = generate(bart, index, QUERIES, VIEWS[:1], markers)
    assert len(found.tokens) == 0
    assert found.query_offsets.tolist() == [0, 0, 0, 0]


def test_bad_input(bart, tmp_path):
    markers, tokens = tokens_of(bart)
    index = IdentifierIndex.build(tmp_path / "index", tokens)
    with pytest.raises(InputError, match="0 queries"):
        generate(bart, index, [], VIEWS, markers)
    with pytest.raises(InputError, match="0 beams"):
        generate(bart, index, QUERIES, VIEWS, markers, beams=0)
    broken = Table(15, 0, 1)
    broken.chances = lambda sequence: np.full(15, np.nan, np.float32)
    own = {"title": View("title", 0, 1), "body": View("body", 2, 3)}
    with pytest.raises(LimbeckError, match="not numbers"):
        generate(broken, IdentifierIndex.build(tmp_path / "other", [[2, 10, 3]]), ["a"], VIEWS, own)
