from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from limbeck.attention import Float32Attention


def inputs(kind=torch.float32, seed=0):
    """Query, key and value of two texts, two heads, five tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 2, 5, 8, generator=generator).to(kind).requires_grad_() for _ in range(3)]


MASKS = {
    "none": None,
    "bool": torch.tensor([True, True, True, False, False]).expand(2, 1, 5, 5),
    "float": torch.tensor([0.0, 0.0, -1.0, -9.0, -99.0]).expand(2, 1, 5, 5),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("by_name", [True, False])
def test_of_rounded_inputs_it_is_the_attention_in_float32(mask, by_name):
    rounded = inputs(torch.bfloat16)
    exact = [one.detach().float().requires_grad_() for one in rounded]
    expected = scaled_dot_product_attention(*exact, attn_mask=MASKS[mask])
    # As transformers hand it over: a mask of numbers has the precision of the query.
    given = MASKS[mask].bfloat16() if mask == "float" else MASKS[mask]
    with Float32Attention():
        if by_name:
            found = scaled_dot_product_attention(*rounded, attn_mask=given)
        else:
            found = scaled_dot_product_attention(*rounded, given)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())
    found.sum().backward()
    expected.bfloat16().sum().backward()
    for one, other in zip(rounded, exact, strict=True):
        assert torch.equal(one.grad, other.grad.bfloat16())


def test_under_autocast_wide_inputs_are_not_rounded():
    wide = inputs()
    expected = scaled_dot_product_attention(*wide)
    with torch.autocast("cpu", torch.bfloat16), Float32Attention():
        found = scaled_dot_product_attention(*wide)
        around = wide[0] @ wide[1].transpose(2, 3)
    assert found.dtype == around.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


def test_what_else_attention_is_told_arrives():
    wide = inputs()
    expected = scaled_dot_product_attention(*wide, is_causal=True, scale=0.5)
    with Float32Attention():
        assert torch.equal(scaled_dot_product_attention(*wide, is_causal=True, scale=0.5), expected)
    assert not torch.equal(scaled_dot_product_attention(*wide), expected)
