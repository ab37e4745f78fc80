"""Speed and recall of the vector index, beside the interaction module run plainly, in one run.

The plain way joins the query's vector to each passage's and runs the module as it is written; the index has
the passage half of the first layer on disk. Both score every passage with the same weights, in blocks of the
same size, and must agree. Then the two-stage search: time per query, and how much of the exhaustive top 10 it
finds.

The vectors are random around random centres in fewer dimensions than they have, as embeddings are; the
weights are random, with an interaction part that moves the logits by a stated share of what the cosine part
does. Times are real; recall on other data and of a trained module will differ.

    python benchmarks/vector_index.py --passages 20000 --json vector_index.json
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from limbeck.indexes.vectors import InteractionWeights, VectorIndex, two_stage_recall
from limbeck.indexes.vectors.scoring import INTERACTION_BLOCK

DIM, HIDDEN, FEATURE, COSINE_SCALE = 384, 512, 128, 20.0
LATENT_DIM = 64
K = 10


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


def unit(values: NDArray[np.floating]) -> NDArray[np.float32]:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def clustered(passages: int, queries: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Passages in clusters of about fifty, and queries near the centres."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((max(passages // 50, 1), LATENT_DIM), dtype=np.float32)
    embedding = generator.standard_normal((LATENT_DIM, DIM), dtype=np.float32)

    def near(count: int) -> NDArray[np.float32]:
        noise = generator.standard_normal((count, LATENT_DIM), dtype=np.float32)
        return unit((centres[generator.integers(0, len(centres), count)] + noise) @ embedding)

    return near(passages), near(queries)


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
    sample = torch.from_numpy(vectors[:2000])
    with torch.inference_mode():
        spread = float(np.mean([raw(query, sample).std() for query in torch.from_numpy(queries[:20])]))
    cosine_spread = COSINE_SCALE * float((queries[:20] @ vectors[:2000].T).std(axis=1).mean())
    output *= share * cosine_spread / spread
    return InteractionWeights(**arrays, output=output, cosine_scale=COSINE_SCALE, **biases)


def plain_scores(
    module: PlainInteraction, query: NDArray[np.float32], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Every passage by the plain way: (passages,)."""
    passages, vector = torch.from_numpy(vectors), torch.from_numpy(query)
    with torch.inference_mode():
        blocks = [
            module(vector, passages[start : start + INTERACTION_BLOCK])
            for start in range(0, len(passages), INTERACTION_BLOCK)
        ]
        return torch.cat(blocks).numpy()


def milliseconds(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median and 95th percentile of single calls, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return {"p50": round(float(np.median(times)), 3), "p95": round(float(np.percentile(times, 95)), 3)}


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    vectors, queries = clustered(arguments.passages, arguments.queries, arguments.seed)
    weights = random_interaction(vectors, queries, arguments.interaction_share, arguments.seed)
    module = PlainInteraction(weights)
    blocks = [vectors[start : start + 4096] for start in range(0, len(vectors), 4096)]
    report: dict[str, object] = {
        "passages": arguments.passages,
        "queries": arguments.queries,
        "dim": DIM,
        "hidden": HIDDEN,
        "feature": FEATURE,
        "interaction_share": arguments.interaction_share,
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
    }
    for kind in arguments.first_stage:
        start = time.perf_counter()
        ids = map(str, range(len(vectors)))
        index = VectorIndex.build(folder / kind, blocks, ids, weights, first_stage=kind)
        build_s = round(time.perf_counter() - start, 2)
        if "exhaustive" not in report:
            report["exhaustive"] = measure_exhaustive(index, module, queries, vectors)
        stages: dict[str, object] = {}
        for candidates in (200, 1000):
            query = iter(np.tile(queries, (2, 1)))
            stages[str(candidates)] = {
                "latency_ms": milliseconds(
                    lambda index=index, query=query, candidates=candidates: index.search(
                        next(query)[None], K, candidates
                    ),
                    repeats=min(50, len(queries)),
                ),
                "share_of_exhaustive_top_10": round(two_stage_recall(index, queries, K, candidates), 4),
            }
        report[f"two_stage_{kind}"] = {
            "build_s": build_s,
            "size_bytes": index.size_bytes,
            "candidates": stages,
        }
    return report


def measure_exhaustive(
    index: VectorIndex, module: PlainInteraction, queries: NDArray[np.float32], vectors: NDArray[np.float32]
) -> dict[str, object]:
    """The same scores in both ways: agreement and time per query."""
    rows = np.arange(len(vectors))[None]
    difference = np.abs(index.score(queries[:1], rows)[0] - plain_scores(module, queries[0], vectors)).max()
    # In turns, so that whatever else the machine does falls on both.
    plain, blocked = [], []
    for query in queries[:5]:
        plain.append(milliseconds(lambda query=query: plain_scores(module, query, vectors), 1)["p50"])
        blocked.append(milliseconds(lambda query=query: index.search_exhaustive(query[None], K), 1)["p50"])
    batch = milliseconds(lambda: index.search_exhaustive(queries[:32], K), 1)["p50"] / len(queries[:32])
    return {
        "plain_ms": round(float(np.median(plain)), 3),
        "index_ms": round(float(np.median(blocked)), 3),
        "index_in_batches_of_32_ms": round(batch, 3),
        "times_faster": round(float(np.median(plain) / np.median(blocked)), 2),
        "largest_difference": float(difference),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument(
        "--first-stage",
        nargs="+",
        choices=["exact", "graph"],
        default=["exact", "graph"],
        help="to be measured",
    )
    parser.add_argument(
        "--interaction-share",
        type=float,
        default=0.5,
        help="spread of the interaction part of a logit, as a share of the cosine part's",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(measure(arguments, Path(folder)), indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
