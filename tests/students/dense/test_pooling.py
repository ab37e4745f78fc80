"""PMA: what it starts as, what it computes, which side the padding may stand on."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.students.dense.pooling import PMA

LENGTHS = (5, 2, 1)
MODES = ["mean", "cls", "lasttoken", "max", "weightedmean"]


def features(side="right", seed=0):
    """Three texts of 5, 2 and 1 tokens of 8 dimensions; what stands in the padding is large."""
    generator = torch.Generator().manual_seed(seed)
    texts = [torch.randn(length, 8, generator=generator) for length in LENGTHS]
    tokens, mask = torch.full((3, 5, 8), 100.0), torch.zeros(3, 5, dtype=torch.long)
    for row, text in enumerate(texts):
        place = slice(0, len(text)) if side == "right" else slice(5 - len(text), 5)
        tokens[row, place], mask[row, place] = text, 1
    return {"token_embeddings": tokens, "attention_mask": mask}


def pooled(module, side="right"):
    return module(features(side))["sentence_embedding"]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("mode", MODES)
def test_backbone_start_is_the_pooling_of_the_backbone(mode, side):
    assert torch.equal(pooled(PMA(8, heads=2, pooling_mode=mode), side), pooled(Pooling(8, mode), side))


@pytest.mark.parametrize("start", ["backbone", "random"])
@pytest.mark.parametrize("mode", ["mean", "cls", "lasttoken"])
def test_padding_on_either_side_gives_the_same_vector(mode, start):
    module = PMA(8, heads=2, start=start, pooling_mode=mode)
    for weights in module.parameters():
        torch.nn.init.normal_(weights, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pooled(module, "left"), pooled(module, "right"))


def test_random_start_is_the_formula():
    module = PMA(8, heads=2, start="random")
    inner = module.attention_pooling
    weight, bias = inner.attention.in_proj_weight, inner.attention.in_proj_bias + 0.1
    inner.attention.in_proj_bias.data.add_(0.1)
    seed, batch = inner.seed[0, 0], features()
    for row, length in enumerate(LENGTHS):
        states = batch["token_embeddings"][row, :length]
        query, keys, values = (
            source @ weight[i * 8 : i * 8 + 8].T + bias[i * 8 : i * 8 + 8]
            for i, source in enumerate((seed, states, states))
        )
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            shares = torch.softmax(keys[:, head] @ query[head] / 4**0.5, dim=0)
            heads.append(shares @ values[:, head])
        attended = torch.cat(heads) @ inner.attention.out_proj.weight.T + inner.attention.out_proj.bias
        mixed = functional.layer_norm(
            seed + attended, (8,), inner.attention_norm.weight, inner.attention_norm.bias
        )
        out = mixed + torch.relu(inner.feed_forward.weight @ mixed + inner.feed_forward.bias)
        expected = functional.layer_norm(out, (8,), inner.output_norm.weight, inner.output_norm.bias)
        torch.testing.assert_close(pooled(module)[row], expected)


@pytest.mark.parametrize("start", ["backbone", "random"])
def test_every_parameter_gets_a_gradient_after_one_step(start):
    module = PMA(8, heads=2, start=start)
    target = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(2):
        optimiser.zero_grad()
        (pooled(module) * target).sum().backward()
        optimiser.step()
    for name, weights in module.named_parameters():
        gradient = weights.grad
        if name.endswith("in_proj_bias"):
            # A bias of the keys moves all attention logits alike, which softmax does not see.
            gradient = torch.cat([gradient[:8], gradient[16:]])
        assert gradient.abs().max() > 0, name


def test_prompt_tokens_are_left_out_where_the_backbone_leaves_them_out():
    batch = features() | {"prompt_length": 1}
    expected = Pooling(8, "mean", include_prompt=False)(dict(batch))["sentence_embedding"]
    found = PMA(8, heads=2, include_prompt=False)(dict(batch))["sentence_embedding"]
    assert torch.equal(found, expected)
    assert not torch.equal(found[0], pooled(Pooling(8, "mean"))[0])


def test_half_precision_is_close():
    module = PMA(8, heads=2, start="random")
    with torch.autocast("cpu", torch.bfloat16):
        half = pooled(module)
    torch.testing.assert_close(half.float(), pooled(module), atol=0.1, rtol=0.1)


def test_heads_that_do_not_divide_are_named():
    with pytest.raises(InputError, match="3 attention heads do not divide the backbone's 8 dimensions"):
        PMA(8, heads=3)


def test_unknown_start_is_named():
    with pytest.raises(InputError, match="'zero'"):
        PMA(8, heads=2, start="zero")


def test_save_and_load(tmp_path):
    module = PMA(8, heads=2, pooling_mode="cls", include_prompt=False)
    torch.nn.init.normal_(module.branch.weight)
    module.save(str(tmp_path))
    again = PMA.load(str(tmp_path))
    assert again.get_config_dict() == module.get_config_dict()
    assert torch.equal(pooled(again), pooled(module))
