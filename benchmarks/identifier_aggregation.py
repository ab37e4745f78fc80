"""Passage scores from identifiers: time a query, from first stage to matches, on a Zipf corpus.

Identifiers are what beam search gives: n-grams of 1 to 10 tokens, taken from forty passages a query (passages
share phrases, as real ones do). Unigrams are drawn from the distinct tokens of a thousand passages.

    python benchmarks/identifier_aggregation.py --tokens 12000000 --json aggregation.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.indexes.fm_index import IdentifierIndex, Ragged, Unigrams

VOCABULARY = 50_000
PASSAGE_TOKENS = 120
PHRASES = 200_000


def corpus(tokens: int, seed: int) -> NDArray[np.uint32]:
    """(passages, PASSAGE_TOKENS): half of it phrases of four tokens that come again and again."""
    generator = np.random.default_rng(seed)
    frequency = 1.0 / np.arange(1, VOCABULARY + 1)
    bounds = np.cumsum(frequency / frequency.sum())

    def draw(*shape: int) -> NDArray[np.uint32]:
        drawn = np.searchsorted(bounds, generator.random(shape))
        return np.minimum(drawn, VOCABULARY - 1).astype(np.uint32)

    phrases = draw(PHRASES, 4)
    groups = draw(tokens // PASSAGE_TOKENS, PASSAGE_TOKENS // 4, 4)
    repeated = generator.random(groups.shape[:2]) < 0.5
    popular = (PHRASES * generator.random(int(repeated.sum())) ** 3).astype(np.int64)
    groups[repeated] = phrases[popular]
    return groups.reshape(len(groups), PASSAGE_TOKENS)


def requests(
    passages: NDArray[np.uint32], queries: int, identifiers: int, unigrams: int, seed: int
) -> tuple[Ragged, NDArray[np.float64], NDArray[np.int64], Unigrams]:
    """Identifiers of `queries` queries with weights as the squared scores of real ones are spread."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(queries):
        subject = generator.integers(0, len(passages), 40)
        for _ in range(identifiers):
            start = 4 * generator.integers(0, PASSAGE_TOKENS // 4)
            length = 1 + generator.binomial(9, 0.25)
            rows.append(passages[generator.choice(subject)][start : start + length])
    weights = generator.gamma(2.0, 20.0, len(rows))
    singles = []
    for _ in range(queries):
        seen = np.unique(passages[generator.integers(0, len(passages), unigrams)])
        singles.append(generator.permutation(seen)[:unigrams])
    tokens = np.concatenate(singles)
    offsets = np.arange(queries + 1)
    return (
        Ragged.from_rows(rows),
        weights,
        offsets * identifiers,
        Unigrams(offsets * unigrams, tokens, generator.gamma(2.0, 1.0, len(tokens))),
    )


def measure(
    folder: Path, *, tokens: int, queries: int, identifiers: int, unigrams: int, seed: int
) -> dict[str, float]:
    """Times in milliseconds a query, and what the work consists of."""
    passages = corpus(tokens, seed)
    started = time.perf_counter()
    index = IdentifierIndex.build(folder / "index", passages)
    build_s = time.perf_counter() - started
    rows, weights, offsets, single = requests(passages, queries, identifiers, unigrams, seed + 1)
    counts = index.counts(index.find(rows))

    def ask(**options: int) -> tuple[float, int]:
        started = time.process_time(), time.perf_counter()
        found = index.aggregate(rows, weights, offsets, unigrams=single, **options)
        assert len(found) == queries
        cpu, wall = time.process_time() - started[0], time.perf_counter() - started[1]
        return (cpu if options.get("threads") == 1 else wall) / queries * 1000, len(found.match_entries)

    ask(threads=1)  # compiles, and brings the pages into memory
    one_thread_ms = min(ask(threads=1)[0] for _ in range(3))
    all_threads_ms = min(ask()[0] for _ in range(3))
    matches = ask(threads=1)[1]
    started = time.process_time()
    for query in range(queries):
        span = slice(offsets[query], offsets[query + 1])
        one = Unigrams(
            np.array([0, unigrams]),
            single.tokens[query * unigrams : (query + 1) * unigrams],
            single.weights[query * unigrams : (query + 1) * unigrams],
        )
        places = np.arange(offsets[query], offsets[query + 1])
        index.aggregate(rows.take(places), weights[span], [0, identifiers], unigrams=one, threads=1)
    alone_ms = (time.process_time() - started) / queries * 1000
    rare = counts[(counts > 0) & (counts <= 1500)]
    return {
        "corpus_tokens": float(index.token_count),
        "build_s": build_s,
        "identifiers": float(identifiers),
        "unigrams": float(unigrams),
        "first_stage_occurrences_a_query": float(rare.sum() / queries),
        "matches_a_query": matches / queries,
        "batch_cpu_ms_a_query_one_thread": one_thread_ms,
        "batch_wall_ms_a_query_all_threads": all_threads_ms,
        "single_cpu_ms_a_query_one_thread": alone_ms,
    }


def main() -> None:
    """Print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=12_000_000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--identifiers", type=int, default=300)
    parser.add_argument("--unigrams", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(
            Path(folder),
            tokens=options.tokens,
            queries=options.queries,
            identifiers=options.identifiers,
            unigrams=options.unigrams,
            seed=options.seed,
        )
    for name, value in figures.items():
        print(f"{name:36} {value:14,.2f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
