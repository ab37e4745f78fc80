"""Random models small enough to build in a test: two layers, hidden size 32, their own WordPiece vocabulary.

They know nothing, and that is the point: they exercise every path of loading, tokenising, batching, training
and saving within a second. Both are deterministic in `seed`.
"""

from __future__ import annotations

import string
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
    Qwen2Config,
    Qwen2Model,
)

TEXT = """
the a an of to in is are was and or not how what where who when why which do does with from by for on at it
cat dog bird fish sea city river france germany paris berlin capital red green blue sum list file read write
open close sort number string time thread run day year water fire tree house book music war king queen
"""
WORDS = TEXT.split()
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *string.punctuation,
    *string.ascii_lowercase,
    *string.digits,
    *(f"##{character}" for character in string.ascii_lowercase + string.digits),
    *(word for word in WORDS if len(word) > 1),
]


def tiny_tokenizer(padding_side: str = "right") -> BertTokenizerFast:
    """A lower-casing WordPiece tokenizer: whole words of `WORDS`, anything else letter by letter."""
    return BertTokenizerFast(
        vocab={token: row for row, token in enumerate(VOCABULARY)},
        do_lower_case=True,
        model_max_length=128,
        padding_side=padding_side,
    )


def tiny_config(**changes: object) -> BertConfig:
    """Two layers, hidden size 32, two heads, 128 positions, and no dropout."""
    settings: dict[str, object] = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.2,
        "pad_token_id": 0,
    }
    return BertConfig(**(settings | changes))


def tiny_encoder(path: Path, seed: int = 0, *, pooling: str = "mean", dropout: float = 0.0) -> Path:
    """Write a sentence-transformers folder (Transformer, pooling, normalisation) and return its path."""
    torch.manual_seed(seed)
    backbone = path / "backbone"
    BertModel(tiny_config(hidden_dropout_prob=dropout)).save_pretrained(backbone)
    tiny_tokenizer().save_pretrained(backbone)
    return _saved_with_pooling(backbone, path / "model", pooling)


def tiny_decoder(path: Path, seed: int = 0, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write a causal decoder (Qwen2) that pads on the left and pools its last token, and return its path."""
    torch.manual_seed(seed)
    backbone = path / "backbone"
    config = Qwen2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.2,
        pad_token_id=0,
    )
    Qwen2Model(config).to(dtype).save_pretrained(backbone)
    tiny_tokenizer("left").save_pretrained(backbone)
    return _saved_with_pooling(backbone, path / "model", "lasttoken")


def _saved_with_pooling(backbone: Path, path: Path, pooling: str) -> Path:
    transformer = Transformer(str(backbone), max_seq_length=64)
    model = SentenceTransformer(
        modules=[transformer, Pooling(32, pooling_mode=pooling), Normalize()], device="cpu"
    )
    model.save(str(path), create_model_card=False)
    return path


def tiny_cross_encoder(path: Path, seed: int = 0) -> Path:
    """Write a one-logit cross-encoder that `sentence_transformers.CrossEncoder` loads and return its path."""
    torch.manual_seed(seed)
    backbone = path / "backbone"
    BertForSequenceClassification(tiny_config(num_labels=1)).save_pretrained(backbone)
    tiny_tokenizer().save_pretrained(backbone)
    model = CrossEncoder(str(backbone), device="cpu")
    model.save_pretrained(str(path / "model"))
    return path / "model"
