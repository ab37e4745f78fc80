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
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
    PreTrainedTokenizerFast,
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


def tiny_encoder(
    path: Path, seed: int = 0, *, pooling: str = "mean", dropout: float = 0.0, width: int = 32
) -> Path:
    """Write a sentence-transformers folder (Transformer, pooling, normalisation) and return its path."""
    torch.manual_seed(seed)
    backbone = path / "backbone"
    BertModel(tiny_config(hidden_dropout_prob=dropout, hidden_size=width)).save_pretrained(backbone)
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
    width = transformer.get_embedding_dimension()
    model = SentenceTransformer(
        modules=[transformer, Pooling(width, pooling_mode=pooling), Normalize()], device="cpu"
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


CHAT = (
    "{% for message in messages %}"
    "<|start|>{{ message.role }}\n{{ message.content | trim }}<|end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
LLM_TEXT = [
    TEXT,
    "yes no Yes No\nAnswer: Query: Passage: 是 不是 能 不能 the cat says yes and the dog says no",
] * 3
#: Architectures of language models and what sets them apart: learnt positions, rotary ones, windows, caps on
#: the logits, tied heads, a state space.
LLM_FAMILIES: dict[str, dict[str, object]] = {
    "gpt2": {},
    "llama": {},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 16},
    "mistral": {"sliding_window": 8},
    "gemma2": {"head_dim": 16, "sliding_window": 8, "final_logit_softcapping": 2.0},
    "mamba": {},
}


def byte_bpe_tokenizer(*, chat: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE, as GPT-2, Llama 3 and Qwen have, which takes any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|end|>", "<|start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LLM_TEXT, trainer)
    return _as_llm_tokenizer(tokenizer, chat=chat)


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """A BPE with a space put before each text, as Llama 2 has; bytes for what it does not know."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = ["<unk>", "<|end|>", "<|start|>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # no merges across words
    tokenizer.train_from_iterator(LLM_TEXT, trainer)
    return _as_llm_tokenizer(tokenizer)


def _as_llm_tokenizer(tokenizer: Tokenizer, *, chat: bool = False) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|start|>",
        eos_token="<|end|>",
        unk_token="<unk>" if "<unk>" in tokenizer.get_vocab() else None,
        chat_template=CHAT if chat else None,
        model_max_length=512,
    )


def tiny_llm(path: Path, family: str = "qwen2", seed: int = 0, *, chat: bool = False) -> Path:
    """Write a causal language model of a family of `LLM_FAMILIES`, hidden size 32, and return its path."""
    torch.manual_seed(seed)
    sizes: dict[str, object] = {
        "vocab_size": 512,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 0,
    }
    if family not in {"gpt2", "mamba"}:
        sizes["num_key_value_heads"] = 1
    config = AutoConfig.for_model(family, **(sizes | LLM_FAMILIES[family]))
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    byte_bpe_tokenizer(chat=chat).save_pretrained(path)
    return path
