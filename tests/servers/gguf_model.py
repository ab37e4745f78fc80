"""A tiny language model for llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from gguf import MODEL_ARCH, GGUFWriter, TokenType, get_tensor_name_map
from transformers import AutoModelForCausalLM, AutoTokenizer


def favour(folder: Path, words: tuple[str, ...], by: float) -> None:
    """Lets a tiny model of Qwen2's kind say some words more often, whatever it has read.

    A server gives the likeliest tokens alone: of a random model they are rarely the answers. The first
    number of a state is made one that no layer changes, and of which these words have more.
    """
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    likely = [at for at in range(len(tokenizer)) if tokenizer.decode([at]).strip().casefold() in words]
    with torch.no_grad():
        embeddings = model.model.embed_tokens.weight  # which the head shares
        embeddings[:, 0] = 1.0
        embeddings[likely, 0] = by
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
    model.save_pretrained(folder)


def write_gguf(folder: Path, path: Path) -> None:
    """A tiny model of Qwen2's kind and its tokenizer as llama.cpp reads them, in float32."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    config = model.config
    writer = GGUFWriter(str(path), "qwen2")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    # The model has more tokens than its tokenizer.
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = set(tokenizer.all_special_tokens)
    unused = [f"<unused {at}>" for at in range(config.vocab_size - len(names))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*names, *unused])
    writer.add_token_types(
        [TokenType.CONTROL if name in special else TokenType.NORMAL for name in names]
        + [TokenType.UNUSED] * len(unused)
    )
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
    places = get_tensor_name_map(MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, weights in model.named_parameters():  # the head, which is the embeddings, comes once
        place = places.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(place, weights.detach().float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
