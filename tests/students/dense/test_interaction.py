"""The interaction module: its two starts, its two branches, and the split first layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.indexes.vectors import VectorIndex
from limbeck.students.dense.interaction import TASKS, CosineInteraction, InteractionModule


def vectors(*shape, seed=0):
    return functional.normalize(torch.randn(*shape, 6, generator=torch.Generator().manual_seed(seed)), dim=-1)


def module(start="cosine", *, learnt=False):
    torch.manual_seed(3)
    iem = InteractionModule(6, hidden=5, features=4, start=start)
    if learnt:
        for weights in iem.parameters():
            torch.nn.init.normal_(weights)
    return iem


@pytest.mark.parametrize("task", TASKS)
def test_cosine_start_is_the_scaled_cosine(task):
    queries, passages = vectors(2), vectors(2, 3, seed=1)
    cosine = functional.cosine_similarity(queries.unsqueeze(1), passages, dim=-1)
    torch.testing.assert_close(module().score(queries, passages, task).logits, 20 * cosine)


def test_learnt_scale_and_bias_move_the_cosine():
    iem = module()
    iem.cosine_scale.data.fill_(3.0)
    iem.cosine_bias.data.fill_(-1.0)
    queries, passages = vectors(2), vectors(2, 3, seed=1)
    cosine = functional.cosine_similarity(queries.unsqueeze(1), passages, dim=-1)
    torch.testing.assert_close(iem.score(queries, passages).logits, 3 * cosine - 1)
    torch.testing.assert_close(iem.cosine_part(queries, passages), 3 * cosine - 1)


@pytest.mark.parametrize(
    "scoring",
    [
        module(learnt=True),
        module("random", learnt=True),
        InteractionModule(6, hidden=5, features=4, branches="shared"),
        CosineInteraction(6),
    ],
)
@pytest.mark.parametrize("task", TASKS)
def test_a_shift_moves_every_logit_of_its_task_and_the_cosine_part(scoring, task):
    queries, passages = vectors(2), vectors(2, 3, seed=1)
    before = scoring.score(queries, passages, task).logits.detach().clone()
    scoring.shift(-2.5, task)
    torch.testing.assert_close(scoring.score(queries, passages, task).logits, before - 2.5)
    if scoring.adds_to_cosine:
        assert float(scoring.cosine_bias) != 0.0


def test_one_branch_for_all_tasks():
    iem = InteractionModule(6, hidden=5, features=4, start="random", branches="shared")
    queries, passages = vectors(2), vectors(2, 3, seed=1)
    one, other = (iem.score(queries, passages, task) for task in TASKS)
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(one.features, other.features)
    apart = module("random")
    assert sum(w.numel() for w in iem.parameters()) == sum(w.numel() for w in apart.parameters()) - 24 - 5
    hidden = torch.relu(iem.query_half(queries[0]) + iem.passage_half(passages[0, 0]))
    feature = torch.relu(iem.branches["shared"](hidden))
    torch.testing.assert_close(one.logits[0, 0], iem.outputs["shared"](feature)[0])


def test_a_cosine_in_place_of_the_module():
    cosine = CosineInteraction(6)
    cosine.cosine_scale.data.fill_(3.0)
    cosine.cosine_bias.data.fill_(-1.0)
    queries, passages = vectors(2), vectors(2, 3, seed=1)
    expected = 3 * functional.cosine_similarity(queries.unsqueeze(1), passages, dim=-1) - 1
    found = cosine.score(queries, passages)
    torch.testing.assert_close(found.logits, expected)
    assert found.features.shape == (2, 3, 0)
    assert not cosine.adds_to_cosine


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "scoring",
    [InteractionModule(6, hidden=5, features=4, branches="shared"), CosineInteraction(6)],
    ids=["shared", "cosine"],
)
def test_an_index_ranks_as_the_variant_does(tmp_path, scoring, task):
    for weights in scoring.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    query, passages = vectors(1), vectors(1, 30, seed=1)
    logits = scoring.score(query, passages, task).logits[0].detach().numpy()
    blocks = [passages[0].numpy()]
    index = VectorIndex.build(tmp_path / "index", blocks, map(str, range(30)), scoring.weights(task))
    rows, scores = index.search(query.numpy(), 30, 30)
    np.testing.assert_allclose(scores[0], logits[rows[0]], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("task", TASKS)
def test_random_start_is_the_published_formula_on_the_joined_vectors(task):
    iem = module("random")
    queries, passages = vectors(2), vectors(2, 3, seed=1)
    first = torch.cat([iem.query_half.weight, iem.passage_half.weight], dim=1)
    found = iem.score(queries, passages, task)
    for i in range(2):
        for j in range(3):
            hidden = torch.relu(first @ torch.cat([queries[i], passages[i, j]]) + iem.query_half.bias)
            feature = torch.relu(iem.branches[task].weight @ hidden + iem.branches[task].bias)
            logit = iem.outputs[task].weight[0] @ feature + iem.outputs[task].bias[0]
            torch.testing.assert_close(found.features[i, j], feature)
            torch.testing.assert_close(found.logits[i, j], logit)


def test_random_start_has_no_cosine_part():
    assert not [name for name, _ in module("random").named_parameters() if "cosine" in name]


def test_the_branches_are_separate():
    iem = module(learnt=True)
    queries, passages = vectors(2), vectors(2, 3, seed=1)
    symmetric, asymmetric = (iem.score(queries, passages, task).logits for task in TASKS)
    assert not torch.allclose(symmetric, asymmetric)
    symmetric.sum().backward()
    assert iem.branches["asymmetric"].weight.grad is None
    assert iem.branches["symmetric"].weight.grad is not None


@pytest.mark.parametrize("start", ["cosine", "random"])
def test_a_pool_is_scored_for_every_query(start):
    iem = module(start, learnt=True)
    queries, pool = vectors(4), vectors(7, seed=1)
    found = iem.score(queries, pool.unsqueeze(0))
    each = iem.score(queries, pool.expand(4, 7, 6))
    assert found.logits.shape == (4, 7)
    assert found.features.shape == (4, 7, 4)
    torch.testing.assert_close(found.logits, each.logits)
    torch.testing.assert_close(found.features, each.features)


def test_every_used_parameter_gets_a_gradient_after_one_step():
    iem = module()
    optimiser = torch.optim.SGD(iem.parameters(), 0.1)
    target = torch.tensor([[1.0, -2.0, 3.0], [0.5, 1.0, -1.0]])
    for _ in range(2):
        optimiser.zero_grad()
        (iem.score(vectors(2), vectors(2, 3, seed=1)).logits * target).sum().backward()
        optimiser.step()
    for name, weights in iem.named_parameters():
        if "symmetric" not in name.split("."):
            assert weights.grad.abs().max() > 0, name


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("start", ["cosine", "random"])
def test_an_index_scores_as_the_student_does(student, tmp_path, start, task):
    torch.manual_seed(4)
    interaction = InteractionModule(32, hidden=16, features=8, start=start)
    for weights in interaction.parameters():
        torch.nn.init.normal_(weights)
    student.model[-1] = student.interaction = interaction
    texts = ["cat dog", "paris france", "sort list number", "red green"]
    index = VectorIndex.build(
        tmp_path / "index", [student.encode(texts)], ["a", "b", "c", "d"], student.interaction_weights(task)
    )
    asked = student.encode(["who has a cat", "sum of a list"], query=True)
    rows, logits = index.search_exhaustive(asked, 4)
    for query, text in enumerate(["who has a cat", "sum of a list"]):
        expected = student.score(text, texts, task)
        np.testing.assert_allclose(logits[query], expected[rows[query]], rtol=1e-4, atol=1e-3)
        assert list(rows[query]) == list(np.argsort(-expected, kind="stable"))


def test_embeddings_pass_unchanged():
    features = {"sentence_embedding": vectors(2)}
    assert module()(dict(features)) == features


def test_unknown_start_is_named():
    with pytest.raises(InputError, match="'zero'"):
        InteractionModule(6, start="zero")


def test_save_and_load(tmp_path):
    iem = module(learnt=True)
    iem.save(str(tmp_path))
    again = InteractionModule.load(str(tmp_path))
    queries, passages = vectors(2), vectors(2, 3, seed=1)
    assert torch.equal(again.score(queries, passages).logits, iem.score(queries, passages).logits)
