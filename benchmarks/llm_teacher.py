"""How many pairs a second an LLM teacher scores, with the query's keys and values computed once and without.

Three ways over the same pairs in one run, in turns: the library's own forward over padded prompts, as a plain
loop would do it; the teacher without sharing; the teacher as it is. Query and passage have the same number of
tokens, and the prompt is the built-in one. The model is a random Qwen3, whose time is that of a trained one
of its size.

    python benchmarks/llm_teacher.py --layers 4 --hidden 256 --passages 32 --tokens 64
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from limbeck.teachers.llm import PROMPTS, LanguageModel, LLMTeacher

WORDS = 1000
PROMPT = PROMPTS["asymmetric", "en"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=32_000, help="rows of the head")
    parser.add_argument("--queries", type=int, default=4)
    parser.add_argument("--passages", type=int, default=32, help="of a query")
    parser.add_argument("--tokens", type=int, default=64, help="of a query, and of a passage")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3, help="the best of which counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = random_model(arguments)
    shared, plain = (
        LLMTeacher(model, PROMPT, batch_size=arguments.batch, share_prefix=share) for share in (True, False)
    )
    pairs = random_pairs(arguments)
    ways = {
        "transformers, padded prompts": lambda: by_library(plain, pairs, arguments.batch),
        "teacher, plain": lambda: plain.score(pairs),
        "teacher, shared prefix": lambda: shared.score(pairs),
    }
    scores = {name: score() for name, score in ways.items()}  # and warms up
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(arguments.repeats):
        for name, score in ways.items():
            started = time.perf_counter()
            score()
            best[name] = min(best[name], time.perf_counter() - started)
    slowest = best["transformers, padded prompts"]
    print(f"{platform.processor() or platform.machine()}, {arguments.threads} threads, {arguments.device}")
    print("| way | pairs/s | times the library's | largest difference |")
    print("|:--|--:|--:|--:|")
    for name, seconds in best.items():
        difference = np.abs(scores[name] - scores["transformers, padded prompts"]).max()
        print(f"| {name} | {len(pairs) / seconds:.1f} | {slowest / seconds:.2f} | {difference:.1e} |")
    if arguments.json:
        rates = {name: len(pairs) / seconds for name, seconds in best.items()}
        arguments.json.write_text(json.dumps({"pairs_per_s": rates}, indent=2))


def random_model(arguments: argparse.Namespace) -> LanguageModel:
    config = Qwen3Config(
        vocab_size=arguments.vocabulary,
        hidden_size=arguments.hidden,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.hidden // 64,
        num_key_value_heads=max(1, arguments.hidden // 128),
        head_dim=64,
        intermediate_size=3 * arguments.hidden,
        max_position_embeddings=4096,
    )
    vocabulary = {f"w{number}": number for number in range(WORDS)} | {"yes": WORDS, "no": WORDS + 1}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return LanguageModel(
        Qwen3ForCausalLM(config).eval().to(arguments.device),
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="w0", unk_token="w0"),
        "a random Qwen3",
    )


def random_pairs(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    rng = np.random.default_rng(0)

    def text() -> str:
        return " ".join(f"w{number}" for number in rng.integers(4, WORDS, arguments.tokens))

    queries = [text() for _ in range(arguments.queries)]
    return [(query, text()) for query in queries for _ in range(arguments.passages)]


@torch.inference_mode()
def by_library(teacher: LLMTeacher, pairs: list[tuple[str, str]], batch: int) -> np.ndarray:
    """What one writes with transformers alone: left padding, and the logits of the last position."""
    model, tokenizer = teacher.language_model.model, teacher.language_model.tokenizer
    tokenizer.padding_side = "left"
    yes, no = (tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    scores = []
    for start in range(0, len(pairs), batch):
        prompts = [
            PROMPT.template.replace("{query}", query).replace("{passage}", passage)
            for query, passage in pairs[start : start + batch]
        ]
        inputs = tokenizer(prompts, padding=True, return_tensors="pt", return_token_type_ids=False)
        logits = model(**inputs.to(model.device), logits_to_keep=1).logits[:, 0].float()
        scores.append((logits[:, yes] - logits[:, no]).cpu())
    return torch.cat(scores).double().numpy()


if __name__ == "__main__":
    main()
