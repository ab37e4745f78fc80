"""A llama.cpp server of a tiny language model, in a process of its own."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from gguf import MODEL_ARCH, GGUFWriter, TokenType, get_tensor_name_map
from transformers import AutoModelForCausalLM, AutoTokenizer


class LlamaCpp(NamedTuple):
    """A server that runs."""

    url: str
    process: subprocess.Popen[bytes]


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


@contextmanager
def serving_llama_cpp(model: Path, log: Path, port: int = 0) -> Iterator[LlamaCpp]:
    """Starts a server of a .gguf file, and ends it."""
    command = [sys.executable, "-m", "tests.servers.llama_cpp", str(model), str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream)
        try:
            ready, _, _ = select.select([process.stdout], [], [], 60)
            address = process.stdout.readline().decode().strip() if ready and process.stdout else ""
            assert address.startswith("http"), f"the server did not start: {log.read_text()[-2000:]}"
            yield LlamaCpp(f"{address}/v1", process)
        finally:
            process.kill()
            process.wait()


def main() -> None:
    """Serves until it is killed."""
    from xllamacpp import CommonParams, Server  # noqa: PLC0415

    params = CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx, params.n_parallel = 1024, 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[2])
    params.warmup = False
    server = Server(params)
    print(server.listening_address, flush=True)  # noqa: T201
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
