"""Scoring all passages with the interaction module, and the two-stage search.

The plain way joins the query's vector to each passage's and runs the module as it is written; the index has
the passage half of the first layer on disk. Both score every passage with the same weights and must agree.

The vectors are random around random centres in fewer dimensions than they have, as embeddings are; the
weights are random, with an interaction part that moves the logits by a stated share of what the cosine part
does. Times are real; recall on other data and of a trained module will differ.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dense_student_parts.machine import in_turns, seconds
from limbeck.encoders import autocast
from limbeck.indexes.vectors import InteractionWeights, VectorIndex, two_stage_recall

DIM, HIDDEN, FEATURE, COSINE_SCALE = 384, 512, 128, 20.0
LATENT_DIM = 64
K = 10
_BLOCK = 2048
#: Operations of a pair once the passage half is known: sum and ReLU, branch, output, cosine.
FLOP_A_PAIR = 2 * HIDDEN + 2 * HIDDEN * FEATURE + 2 * FEATURE + 2 * DIM
#: What a scan for one query reads of a passage: its vector and its half of the first layer.
BYTES_A_PASSAGE = 4 * (DIM + HIDDEN)
PLAIN_FLOP_A_PAIR = 2 * 2 * DIM * HIDDEN + 2 * HIDDEN * FEATURE + 2 * FEATURE + 2 * DIM


class PlainInteraction(torch.nn.Module):
    """The interaction module as it is trained: one first layer over both vectors."""

    def __init__(self, weights: InteractionWeights) -> None:
        super().__init__()
        self.first = torch.nn.Linear(2 * DIM, HIDDEN)
        self.branch = torch.nn.Linear(HIDDEN, FEATURE)
        self.output = torch.nn.Linear(FEATURE, 1)
        halves = np.concatenate([weights.query_half, weights.passage_half], axis=1)
        values = {
            "first.weight": halves,
            "first.bias": weights.hidden_bias,
            "branch.weight": weights.branch,
            "branch.bias": weights.branch_bias,
            "output.weight": weights.output[None],
            "output.bias": np.array([weights.output_bias]),
        }
        self.load_state_dict({name: torch.as_tensor(value) for name, value in values.items()})
        self.weights = weights

    def forward(self, query: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
        """One query (dim,) against passages (block, dim): logits (block,)."""
        pairs = torch.cat([query.expand_as(passages), passages], dim=1)
        logits = self.output(self.branch(self.first(pairs).relu()).relu()).squeeze(1)
        return logits + self.weights.cosine_scale * (passages @ query) + self.weights.cosine_bias

    @torch.inference_mode()
    def scores(self, query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Every passage in blocks: (passages,)."""
        passages, vector = torch.from_numpy(vectors), torch.from_numpy(query)
        blocks = [
            self(vector, passages[start : start + _BLOCK]).float()
            for start in range(0, len(passages), _BLOCK)
        ]
        return torch.cat(blocks).numpy()

    def scores_bf16(self, query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same under autocast, which computes bfloat16 where the machine does."""
        with autocast(torch.device("cpu")):
            return self.scores(query, vectors)


class Clusters:
    """Passages in clusters of about fifty, and queries near the centres."""

    def __init__(self, passages: int, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        count = max(passages // 50, 1)
        self._centres = self._generator.standard_normal((count, LATENT_DIM), dtype=np.float32)
        self._embedding = self._generator.standard_normal((LATENT_DIM, DIM), dtype=np.float32)

    def draw(self, count: int) -> NDArray[np.float32]:
        """Vectors of length 1 (count, DIM), made in blocks: a million of them take 1.5 GB and no more."""
        vectors = np.empty((count, DIM), np.float32)
        for start in range(0, count, 65_536):
            block = vectors[start : start + 65_536]
            noise = self._generator.standard_normal((len(block), LATENT_DIM), dtype=np.float32)
            chosen = self._generator.integers(0, len(self._centres), len(block))
            np.matmul(self._centres[chosen] + noise, self._embedding, out=block)
            block /= np.linalg.norm(block, axis=1, keepdims=True)
        return vectors


def random_interaction(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], share: float, seed: int
) -> InteractionWeights:
    """Weights whose interaction part spreads a query's logits `share` times as much as the cosine part."""
    generator = np.random.default_rng(seed)

    def layer(rows: int, columns: int, scale: float) -> NDArray[np.float32]:
        return generator.standard_normal((rows, columns), dtype=np.float32) * scale

    arrays = {
        # Vectors of length 1 have small entries; without a gain the first layer would hardly bend.
        "query_half": layer(HIDDEN, DIM, 1.0),
        "passage_half": layer(HIDDEN, DIM, 1.0),
        "hidden_bias": np.zeros(HIDDEN, np.float32),
        "branch": layer(FEATURE, HIDDEN, HIDDEN**-0.5),
        "branch_bias": np.zeros(FEATURE, np.float32),
    }
    output = layer(1, FEATURE, FEATURE**-0.5)[0]
    biases = {"output_bias": 0.0, "cosine_bias": 0.0}
    raw = PlainInteraction(InteractionWeights(**arrays, output=output, cosine_scale=0.0, **biases))
    spread = float(np.mean([raw.scores(query, vectors[:2000]).std() for query in queries[:20]]))
    cosine_spread = COSINE_SCALE * float((queries[:20] @ vectors[:2000].T).std(axis=1).mean())
    output *= share * cosine_spread / spread
    return InteractionWeights(**arrays, output=output, cosine_scale=COSINE_SCALE, **biases)


def measure_exhaustive(
    folder: Path, passages: int, *, share: float, seed: int, peaks: dict[str, float]
) -> dict[str, object]:
    """(a) Every passage scored: the index against the plain module, and against what the machine can do."""
    clusters = Clusters(passages, seed)
    vectors, queries = clusters.draw(passages), clusters.draw(32)
    weights = random_interaction(vectors, queries, share, seed)
    blocks = (vectors[start : start + 4096] for start in range(0, passages, 4096))
    index = VectorIndex.build(folder / "a", blocks, map(str, range(passages)), weights, first_stage="exact")
    module = PlainInteraction(weights)
    exact = np.stack([module.scores(query, vectors) for query in queries[:2]])
    rows, logits = index.search_exhaustive(queries[:2], K)
    best = -np.sort(-exact, axis=1)[:, :K]
    times = in_turns(
        {
            "plain": lambda: module.scores(queries[0], vectors),
            "plain_bf16": lambda: module.scores_bf16(queries[0], vectors),
            "one_query": lambda: index.search_exhaustive(queries[:1], K),
            "32_queries": lambda: index.search_exhaustive(queries, K),
        }
    )
    pairs = {name: passages * (32 if name == "32_queries" else 1) / time for name, time in times.items()}
    fastest = max(peaks["float32_gflops"], peaks["bfloat16_gflops"], peaks["int8_gops"])
    return {
        "passages": passages,
        "pairs_per_s": {name: round(rate) for name, rate in pairs.items()},
        "times_plain": {name: round(pairs[name] / pairs["plain"], 2) for name in pairs},
        "times_plain_bf16": {name: round(pairs[name] / pairs["plain_bf16"], 2) for name in pairs},
        "share_of_bandwidth_one_query": round(
            pairs["one_query"] * BYTES_A_PASSAGE / 1e9 / peaks["triad_gb_per_s"], 3
        ),
        "share_of_arithmetic_32_queries": round(pairs["32_queries"] * FLOP_A_PAIR / 1e9 / fastest, 3),
        "share_of_arithmetic_plain": round(
            pairs["plain"] * PLAIN_FLOP_A_PAIR / 1e9 / peaks["float32_gflops"], 3
        ),
        "largest_difference_of_top_10": float(np.abs(logits - best).max()),
        "top_10_in_agreement": float(
            np.mean([len(set(a) & set(np.argsort(-b)[:K])) / K for a, b in zip(rows, exact, strict=True)])
        ),
    }


def measure_two_stages(
    folder: Path, passages: int, *, queries: int, share: float, seed: int, kinds: list[str]
) -> dict[str, object]:
    """(b) Candidates by cosine, then the interaction: time a query, and what is lost against (a)."""
    clusters = Clusters(passages, seed)
    vectors, asked = clusters.draw(passages), clusters.draw(queries)
    weights = random_interaction(vectors, asked, share, seed)
    report: dict[str, object] = {"passages": passages, "queries": queries, "interaction_share": share}
    for kind in kinds:
        start = time.perf_counter()
        blocks = (vectors[first : first + 4096] for first in range(0, passages, 4096))
        index = VectorIndex.build(folder / kind, blocks, map(str, range(passages)), weights, first_stage=kind)
        build_s = time.perf_counter() - start
        report[kind] = {
            "build_s": round(build_s, 1),
            "size_bytes": index.size_bytes,
            "exhaustive_ms": round(
                1000 * seconds(lambda index=index: index.search_exhaustive(asked[:1], K)), 1
            ),
            "candidates": {
                str(candidates): _two_stages(index, asked, candidates)
                for candidates in (100, 200, 500, 1000, 2000, 5000)
            },
        }
    return report


def _two_stages(index: VectorIndex, queries: NDArray[np.float32], candidates: int) -> dict[str, float]:
    times = []
    for query in np.concatenate([queries[:5], queries]):
        start = time.perf_counter()
        index.search(query[None], K, candidates)
        times.append(1000 * (time.perf_counter() - start))
    return {
        "share_of_exhaustive_top_10": round(two_stage_recall(index, queries, K, candidates), 4),
        "p50_ms": round(float(np.median(times[5:])), 2),
        "p95_ms": round(float(np.percentile(times[5:], 95)), 2),
    }
