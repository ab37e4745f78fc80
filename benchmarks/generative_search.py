"""Where the time of a generative search goes, beside the published retriever's.

The shape is that of the published measurement: a small BART with random weights (width 256, 3 + 3 layers,
50,000 words), a Zipf corpus with titles and bodies, 15 beams, identifiers of up to 10 tokens, one thread.
A random model is unsure of everything, so no beam ends early: the decoder does all the work that it can.
CPU time of the process, over new queries each time.

    python benchmarks/generative_search.py --tokens 12000000 --batches 1 20 --json generative_search.json
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BartConfig, BartForConditionalGeneration

from limbeck.indexes.fm_index import IdentifierIndex, View
from limbeck.students.generative import decoding
from limbeck.students.generative.identifiers import ViewSettings
from limbeck.students.generative.seq2seq import Seq2SeqGenerator
from limbeck.students.generative.weighting import token_counts, unigrams_of, weights_of

VOCABULARY, TITLE, BODY, QUERY = 50_000, 4, 120, 12
BLOCK = 10_000  # passages that are drawn together
FIRST_WORD = 10  # below are the special tokens
MARKERS = {
    "title": View("title", VOCABULARY, VOCABULARY + 1),
    "body": View("body", VOCABULARY + 2, VOCABULARY + 3),
}
VIEWS = [ViewSettings("title", True, 10), ViewSettings("body", False, 10)]
UNIGRAMS, RESULTS = 1000, 100
#: Milliseconds a query of the published system, as its parts were measured.
PUBLISHED = {"encoder": 21.0, "decoder": 311.0, "rescoring": 999.0, "aggregation": 2726.0, "whole": 4500.0}
TIMES_FASTER = {1: 10.0, 20: 15.0}
SHARE_OUTSIDE = 0.15


class RandomWords:
    """Stands for the tokenizer: a query's number is its text, and its tokens are drawn by it."""

    unknown, padding, before, after = 3, 1, (0,), (2,)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of queries."""
        return [
            np.random.default_rng(int(text)).integers(FIRST_WORD, VOCABULARY, QUERY).tolist()
            for text in texts
        ]


def zipf_passages(passages: int, seed: int, body: int = BODY) -> Iterator[NDArray[np.uint32]]:
    """Passages with a title and a body between markers; words by Zipf's law (exponent 1)."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, VOCABULARY - FIRST_WORD + 1)
    cumulative = np.cumsum(weights / weights.sum())
    names = generator.permutation(np.arange(FIRST_WORD, VOCABULARY)).astype(np.uint32)
    before, after = MARKERS["title"], MARKERS["body"]
    for start in range(0, passages, BLOCK):
        size = min(BLOCK, passages - start)
        ranks = np.searchsorted(cumulative, generator.random((size, TITLE + body)))
        words = names[np.minimum(ranks, len(names) - 1)]
        block = np.empty((size, TITLE + body + 4), np.uint32)
        block[:, 0], block[:, 1 : TITLE + 1] = before.start, words[:, :TITLE]
        block[:, TITLE + 1], block[:, TITLE + 2] = before.end, after.start
        block[:, TITLE + 3 : -1], block[:, -1] = words[:, TITLE:], after.end
        yield from block


def small_bart() -> Seq2SeqGenerator:
    """The published measurement's model, with random weights."""
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=VOCABULARY + 4,
        d_model=256,
        encoder_layers=3,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=1024,
        decoder_ffn_dim=1024,
        decoder_start_token_id=2,
    )
    words: Any = RandomWords()
    return Seq2SeqGenerator(BartForConditionalGeneration(config).eval(), words)


@dataclass
class Clock:
    """Adds up the CPU seconds of each part."""

    seconds: dict[str, float]

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with its time added to a part."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = work(*args, **kwargs)
            self.seconds[part] = self.seconds.get(part, 0.0) + time.process_time() - start
            return result

        return wrapped


class Bench:
    """A model and an index whose parts are timed.

    Args:
        generator: the model.
        index: of the corpus.
    """

    def __init__(self, generator: Seq2SeqGenerator, index: IdentifierIndex) -> None:
        self.clock = Clock({})
        self.generator: Any = generator
        self.index: Any = index
        excluded = [token for view in MARKERS.values() for token in (view.start, view.end)]
        self.counts = token_counts(index, VOCABULARY + 4, excluded)
        self.encoder = generator.model.get_encoder()
        self.asked = 0
        self.search(1)  # loads the kernels
        generator.model.model.encoder.forward = self.clock.timed("encoder", self.encoder.forward)
        self.generator.start = self.clock.timed("model", generator.start)
        self.generator.step = self.clock.timed("model", generator.step)
        self.index.top_k = self.clock.timed("top-k", index.top_k)
        self.index.aggregate = self.clock.timed("aggregation", index.aggregate)

    def search(self, queries: int) -> None:
        """Searches with new queries."""
        texts = [str(self.asked + number) for number in range(queries)]
        self.asked += queries
        found = decoding.generate(self.generator, self.index, texts, VIEWS, MARKERS)
        weights = weights_of(found, VIEWS, self.index.token_count)
        assert found.first is not None
        unigrams = unigrams_of(found.first, self.counts, self.index.token_count, UNIGRAMS)
        self.index.aggregate(
            found.tokens, weights, found.query_offsets, unigrams=unigrams, k=RESULTS, threads=1
        )

    def measure(self, batch: int, queries: int) -> dict[str, float]:
        """Milliseconds of CPU time a query, by part."""
        repeats = max(queries // batch, 1)
        self.clock.seconds.clear()
        start = time.process_time()
        for _ in range(repeats):
            self.search(batch)
        whole = time.process_time() - start
        spent = self.clock.seconds
        parts = {
            "encoder": spent["encoder"],
            "decoder": spent["model"] - spent["encoder"],
            "top-k": spent["top-k"],
            "aggregation": spent["aggregation"],
            "beams and weights": whole - spent["model"] - spent["top-k"] - spent["aggregation"],
            "whole": whole,
        }
        return {name: 1000 * seconds / (repeats * batch) for name, seconds in parts.items()}


def show(batch: int, parts: dict[str, float]) -> dict[str, object]:
    print(f"\nBatches of {batch}, ms of CPU a query\n")
    print("| part | measured | published |\n|:--|--:|--:|")
    for name, value in parts.items():
        published = PUBLISHED.get(name)
        print(f"| {name} | {value:,.1f} | {'' if published is None else f'{published:,.0f}'} |")
    outside = 1 - (parts["encoder"] + parts["decoder"]) / parts["whole"]
    faster = PUBLISHED["whole"] / parts["whole"]
    wanted = TIMES_FASTER.get(batch)
    print(f"\noutside encoder and decoder: {outside:.1%} (target: at most {SHARE_OUTSIDE:.0%})")
    print(f"times faster than published: {faster:.1f}" + (f" (target: {wanted:g})" if wanted else ""))
    return {"batch": batch, "ms": parts, "outside": outside, "times_faster": faster}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=12_000_000)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--queries", type=int, default=40, help="searched for each batch size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    passages = max(arguments.tokens // (TITLE + BODY + 4), 1)
    with tempfile.TemporaryDirectory() as folder:
        index = IdentifierIndex.build(Path(folder) / "index", zipf_passages(passages, arguments.seed))
        print(f"{index.passage_count:,} passages, {index.token_count:,} tokens, {index.size_bytes:,} bytes")
        bench = Bench(small_bart(), index)
        results = [show(batch, bench.measure(batch, arguments.queries)) for batch in arguments.batches]
    if arguments.json:
        report = {"tokens": arguments.tokens, "machine": platform.processor(), "results": results}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
