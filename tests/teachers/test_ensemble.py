from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import Judgements, Rankings
from limbeck.errors import InputError
from limbeck.teachers import EnsembleTeacher, fit_ensemble, probabilities
from tests.teachers.conftest import CountingTeacher


def development(queries=40, passages=12, strengths=(2.0, 0.5, 0.0), seed=0):
    """Members that see the truth through noise; strength 0 sees nothing."""
    rng = np.random.default_rng(seed)
    truth = {f"q{q}": f"d{rng.integers(passages)}" for q in range(queries)}
    judgements = Judgements((query, passage, 1) for query, passage in truth.items())
    scored = [
        Rankings.from_dict(
            {
                query: {
                    f"d{d}": 5 + 3 * (strength * (f"d{d}" == answer) + rng.normal()) for d in range(passages)
                }
                for query, answer in truth.items()
            },
            f"member{at}",
        )
        for at, strength in enumerate(strengths)
    ]
    return scored, judgements


def test_the_formula():
    members = [CountingTeacher("a"), CountingTeacher("b")]
    ensemble = EnsembleTeacher(members, [1, 3], [2, 0], [2, 1], slope=2, bias=-1)
    # By hand: slope 2 times (1 times (4 - 2) / 2, plus 3 times (5 - 0) / 1, together 16), less 1.
    assert ensemble.combine(np.array([[4.0], [5.0]])).tolist() == [31.0]
    assert probabilities(np.array([0.0])).tolist() == [0.5]


pair = st.tuples(st.text(max_size=5), st.text(max_size=5))


@settings(deadline=None)
@given(st.lists(pair, min_size=1, max_size=6), st.data())
def test_a_pair_does_not_depend_on_the_others(pairs, data):
    ensemble = EnsembleTeacher([CountingTeacher(), CountingTeacher("b")], [0.3, 1.7], [1, 2], [3, 4])
    order = data.draw(st.permutations(range(len(pairs))))
    together = ensemble.score([pairs[at] for at in order])
    for place, at in enumerate(order):
        assert together[place] == pytest.approx(ensemble.score([pairs[at]])[0], abs=1e-12)


def test_better_members_get_more_weight():
    scored, judgements = development(queries=100, strengths=(2.0, 1.0, 0.0))
    fit = fit_ensemble(scored, judgements)
    assert fit.names == ("member0", "member1", "member2")
    assert fit.weights[0] > fit.weights[1] > fit.weights[2] >= 0
    assert fit.means == pytest.approx([rankings.scores.mean() for rankings in scored])
    assert fit.stds == pytest.approx([rankings.scores.std() for rankings in scored])
    assert fit.held_out_ndcg >= max(fit.member_ndcg) - 0.02
    assert fit.queries == 100
    assert fit_ensemble(scored, judgements).weights == fit.weights


def test_the_fit_is_a_minimum():
    """No small change of the weights makes the judged passages more likely."""
    scored, judgements = development(queries=15)
    fit = fit_ensemble(scored, judgements, pull=0.5)

    def loss(weights):
        apart = weights - weights.mean()
        value = 0.5 * apart @ apart + 1e-3 * weights @ weights
        for query in judgements.query_ids:
            ids = scored[0].list_for(query).passage_ids
            total = np.zeros(len(ids))
            for weight, mean, std, rankings in zip(weights, fit.means, fit.stds, scored, strict=True):
                score_of = rankings.to_dict()[query]
                total += weight * (np.array([score_of[i] for i in ids]) - mean) / std
            answer = ids.index(judgements.relevant(query)[0])
            value += np.log(np.exp(total).sum()) - total[answer]
        return value

    best = np.array(fit.weights)
    for at in range(len(best)):
        for change in (-0.02, 0.02):
            moved = best.copy()
            moved[at] = max(0, moved[at] + change)
            assert loss(moved) >= loss(best) - 1e-6


def test_few_queries_cannot_tear_the_weights_apart():
    scored, judgements = development(queries=3, strengths=(1.0, 1.0))
    loose = fit_ensemble(scored, judgements, pull=0.0)
    tight = fit_ensemble(scored, judgements, pull=100.0)
    assert abs(tight.weights[0] - tight.weights[1]) < 0.05
    assert abs(tight.weights[0] - tight.weights[1]) <= abs(loose.weights[0] - loose.weights[1])


def test_scores_are_calibrated():
    scored, judgements = development(queries=200)
    fit = fit_ensemble(scored, judgements)
    members = [CountingTeacher(str(at)) for at in range(3)]
    ensemble = fit.teacher(members)
    raw = [rankings.to_dict() for rankings in scored]
    pairs = list(scored[0].pairs())
    scores = np.array([[member[query][passage] for query, passage in pairs] for member in raw])
    chance = probabilities(ensemble.combine(scores))
    relevant = np.array([passage in judgements.relevant(query) for query, passage in pairs])
    assert chance.mean() == pytest.approx(relevant.mean(), abs=0.01)
    for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 1)):
        inside = (chance >= low) & (chance < high)
        assert chance[inside].mean() == pytest.approx(relevant[inside].mean(), abs=0.12)


def test_held_out_lists_keep_the_candidates():
    scored, judgements = development(queries=7)
    fit = fit_ensemble(scored, judgements, folds=3)
    assert set(fit.held_out.pairs()) == set(scored[0].pairs())
    assert 0 <= fit.held_out_ndcg <= 1


def test_what_cannot_be_fitted():
    scored, judgements = development(queries=4)
    with pytest.raises(InputError, match="different candidates for query 'q0'"):
        fit_ensemble([scored[0], scored[1].top(3)], judgements)
    with pytest.raises(InputError, match="no development query has a relevant passage"):
        fit_ensemble(scored, Judgements([("q0", "elsewhere", 1)]))
    with pytest.raises(InputError, match="has candidates"):
        fit_ensemble(scored, Judgements([("q99", "d0", 1)]))
    with pytest.raises(InputError, match="no members"):
        fit_ensemble([], judgements)


# Of 120 times -4.2 mean and deviation are off by rounding.
@pytest.mark.parametrize("score", [1.0, -4.2])
def test_a_member_that_says_one_thing_of_all_adds_nothing(score):
    scored, judgements = development(queries=10, strengths=(2.0,))
    flat = scored[0].rescored(np.full(len(scored[0]), score), "flat")
    fit = fit_ensemble([scored[0], flat], judgements)
    assert (fit.weights[1], fit.means[1], fit.stds[1]) == (0, score, 1)
    assert fit.weights[0] > 0
    assert fit.held_out_ndcg == pytest.approx(fit.member_ndcg[0])


def test_an_ensemble_that_makes_no_sense():
    member = CountingTeacher()
    for weights, stds in (([-1], [1]), ([1], [0]), ([1, 1], [1]), ([np.nan], [1])):
        with pytest.raises(InputError):
            EnsembleTeacher([member], weights, [0], stds)
    first = EnsembleTeacher([member], [1], [0], [1])
    assert first.version == EnsembleTeacher([CountingTeacher()], [1], [0], [1]).version
    assert first.version != EnsembleTeacher([member], [2], [0], [1]).version
