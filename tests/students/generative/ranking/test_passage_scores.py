"""Passage scores worked out by hand, their gradients, and that nothing is decoded twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.indexes.fm_index import IdentifierIndex
from limbeck.students.generative.generator import log_probabilities
from limbeck.students.generative.ranking.counting import Counter
from limbeck.students.generative.ranking.passage_scores import (
    identifier_scores,
    passage_scores,
    plan_rows,
    row_inputs,
    row_logits,
    sequence_log_probabilities,
)
from limbeck.students.generative.scoring import log_frequencies


def log(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


NONE = torch.zeros(3, dtype=torch.float64)


def test_scores_by_hand():
    # Odds 1, 9 and 1/4 against 1/4, 1 and 1: log 4 squared; log 9, a unigram; nothing.
    weights = identifier_scores(
        log(0.5, 0.9, 0.2), log(0.2, 0.5, 0.5), NONE, NONE, torch.tensor([True, False, True])
    )
    assert weights.tolist() == pytest.approx([math.log(4) ** 2, math.log(9), 0.0])
    scores = passage_scores(
        weights, torch.tensor([0, 1, 1, 2]), torch.tensor([1.0, 0.6, 1.0, 1.0]), torch.tensor([0, 0, 2, 2]), 4
    )
    assert scores.tolist() == pytest.approx([math.log(4) ** 2 + 0.6 * math.log(9), 0, math.log(9), 0])


def test_a_raised_identifier_by_hand():
    # A pseudo-query: log 0.01 + 14 is more than -1, and capped there: odds 1 / (e - 1).
    cap = torch.tensor([-1.0], dtype=torch.float64)
    found = identifier_scores(log(0.01), log(0.2), torch.tensor([14.0]).double(), cap, torch.tensor([True]))
    assert found.tolist() == pytest.approx([math.log(4 / (math.e - 1)) ** 2])


def test_gradients():
    chances = torch.tensor([-3.0, -0.4, -2.0], dtype=torch.float64, requires_grad=True)
    frequent, squared = torch.full((3,), -6.0, dtype=torch.float64), torch.tensor([True, True, False])
    bonus, cap = torch.tensor([1.0, 0.0, 0.0]).double(), torch.tensor([-1.0, 0.0, 0.0]).double()

    def score(values):
        weights = identifier_scores(values, frequent, bonus, cap, squared)
        return passage_scores(
            weights, torch.tensor([0, 1, 1, 2]), torch.tensor([1.0, 1.0, 0.2, 0.5]),
            torch.tensor([0, 0, 1, 1]), 3,
        )  # fmt: skip

    assert torch.autograd.gradcheck(score, chances)
    score(chances).sum().backward()
    assert torch.isfinite(chances.grad).all()
    # By hand, for the unigram: d log(p / (1 - p)) / d log p = 1 / (1 - p), halved by its factor.
    assert chances.grad[2].item() == pytest.approx(0.5 / (1 - math.exp(-2.0)))


def test_the_score_is_that_of_the_index(tmp_path):
    passages = [[1, 2, 3, 4, 2], [2, 3, 5], [5, 5, 1, 2]]
    index = IdentifierIndex.build(tmp_path / "index", passages)
    identifiers = [(1, 2), (2, 3), (5,), (3, 4), (2,)]
    chances = log(0.3, 0.2, 0.4, 0.1, 0.45).requires_grad_()
    frequencies = log_frequencies(torch.from_numpy(index.counts(index.find(identifiers))), 100)
    plain = torch.zeros(5, dtype=torch.float64)
    weights = identifier_scores(chances, frequencies, plain, plain, torch.ones(5, dtype=torch.bool))
    expected = index.aggregate(identifiers, weights.detach().numpy(), [0, 5])
    order = torch.argsort(weights, descending=True, stable=True).tolist()
    counter = Counter([identifiers[place] for place in order], 0.8)
    counted = [(order[one.entry], one.factor, number) for number, passage in enumerate(passages)
               for one in counter.count(passage)]  # fmt: skip
    matched, factors, inside = zip(*counted, strict=True)
    found = passage_scores(
        weights, torch.tensor(matched), torch.tensor(factors).double(), torch.tensor(inside), 3
    )
    assert len(expected.passages) == 3
    np.testing.assert_allclose(found.detach().numpy()[expected.passages], expected.scores, rtol=1e-12)
    found.sum().backward()
    assert (chances.grad != 0).any()


SEQUENCES = st.lists(
    st.tuples(st.integers(0, 1), st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple))
)


@given(SEQUENCES)
def test_a_plan_serves_every_sequence_with_no_row_too_many(wanted):
    plan = plan_rows(wanted)
    assert len(plan.places) == len(wanted)
    for (source, tokens), place in zip(wanted, plan.places, strict=True):
        other, row = plan.rows[place]
        assert other == source
        assert row[: len(tokens) - 1] == tokens[:-1]
    reads = {(source, tokens[:-1]) for source, tokens in wanted}
    begun = {(source, read[:length]) for source, read in reads for length in range(len(read))}
    assert len(plan.rows) == len(reads - begun)


QUERIES = ["cat dog", "what is the capital of france", "paris"]
WANTED = [
    (0, (60, 61, 62)),
    (0, (60, 61)),
    (0, (60, 63, 64)),
    (0, (70,)),
    (1, (60, 61, 62)),
    (2, (71,)),
    (2, (72,)),
]


def planned(generator):
    title, body = (view.start for view in generator.vocabulary.markers(["title", "body"]).values())
    sources = [(QUERIES[0], body), (QUERIES[1], title), (QUERIES[2], body)]
    plan = plan_rows(WANTED)
    return sources, plan, row_inputs(generator, plan.rows, sources)


def chances_of(generator, plan, inputs):
    encoder = generator.model.get_encoder() if generator.model.config.is_encoder_decoder else None
    logits = row_logits(generator.model, encoder, inputs)
    lengths, last = zip(*((len(tokens), tokens[-1]) for _, tokens in WANTED), strict=True)
    return sequence_log_probabilities(
        logits, inputs["row_labels"], torch.tensor(plan.places), torch.tensor(lengths), torch.tensor(last)
    )


def test_planned_rows_give_the_same_log_probabilities(generator):
    sources, plan, inputs = planned(generator)
    with torch.inference_mode():
        found = chances_of(generator, plan, inputs)
        expected = log_probabilities(
            generator, [sources[s][0] for s, _ in WANTED], [sources[s][1] for s, _ in WANTED],
            [tokens for _, tokens in WANTED],
        )  # fmt: skip
    np.testing.assert_allclose(found.numpy(), expected.double().sum(1).numpy(), atol=1e-4, rtol=1e-5)


def test_each_prefix_is_decoded_once_and_each_query_encoded_once(bart):
    _, plan, inputs = planned(bart)
    # Seven sequences: two ways down for the first query, one for either of the others.
    assert len(plan.rows) == 4
    read = {"encoder": [], "decoder": []}
    hooks = [
        part.register_forward_hook(lambda _, args, kwargs, out, name=name: read[name].append(
            len(kwargs["input_ids"])), with_kwargs=True)
        for name, part in (("encoder", bart.model.get_encoder()), ("decoder", bart.model.get_decoder()))
    ]  # fmt: skip
    try:
        chances_of(bart, plan, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    assert read == {"encoder": [3], "decoder": [4]}


def test_gradients_are_those_of_plain_rows(generator):
    sources, plan, inputs = planned(generator)
    found = chances_of(generator, plan, inputs).sum()
    expected = log_probabilities(
        generator, [sources[s][0] for s, _ in WANTED], [sources[s][1] for s, _ in WANTED],
        [tokens for _, tokens in WANTED],
    ).sum()  # fmt: skip
    weights = [value for value in generator.model.parameters() if value.requires_grad]
    one, other = (torch.autograd.grad(value, weights, allow_unused=True) for value in (found, expected))
    for mine, plain in zip(one, other, strict=True):
        assert (mine is None) == (plain is None)
        if mine is not None:
            torch.testing.assert_close(mine, plain, atol=2e-4, rtol=2e-3)
