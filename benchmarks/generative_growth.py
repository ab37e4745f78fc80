"""How the time of a generative search grows with the corpus.

The model, the beams and the queries are those of `generative_search.py`; passages are short, so that as many
as possible fit into memory. Sizes are built one after another, from the smallest on; one that would not fit
is left out and named.

    python benchmarks/generative_growth.py --passages 100000 1000000 10000000 --json growth.json
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from pathlib import Path

import psutil
import torch

from generative_search import TITLE, Bench, small_bart, zipf_passages
from limbeck.indexes.fm_index import IdentifierIndex

GROWTH = 1.5
#: Bytes of memory that building takes for a token, measured (benchmarks/identifier_index.py), with a margin.
BUILD_BYTES = 16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passages", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--body", type=int, default=32, help="tokens of a body")
    parser.add_argument("--batch", type=int, default=1, help="queries that are searched together")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| passages | tokens | built in, s | index, GB | CPU ms a query | outside the model | growth |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    results: list[dict[str, float]] = []
    for passages in sorted(arguments.passages):
        needed = passages * (TITLE + arguments.body + 4) * BUILD_BYTES
        if needed > psutil.virtual_memory().available:
            print(f"{passages:,} passages would take {needed / 1e9:.0f} GB to index, and are left out")
            continue
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            rows = zipf_passages(passages, arguments.seed, arguments.body)
            index = IdentifierIndex.build(Path(folder) / "index", rows)
            built = time.perf_counter() - started
            parts = Bench(small_bart(), index).measure(arguments.batch, arguments.queries)
            outside = parts["whole"] - parts["encoder"] - parts["decoder"]
            found = {"passages": passages, "tokens": index.token_count, "built_s": built,
                     "size_bytes": index.size_bytes, "outside_ms": outside, **parts}  # fmt: skip
            results.append(found)
            growth = parts["whole"] / results[0]["whole"]
            print(
                f"| {passages:,} | {index.token_count:,} | {built:.0f} | {index.size_bytes / 1e9:.2f} | "
                f"{parts['whole']:.0f} | {outside:.0f} | {growth:.2f} |",
                flush=True,
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\ntarget: growth below {GROWTH:g} from 100,000 to 10,000,000; peak memory {peak:.1f} GB")
    if arguments.json:
        report = {"machine": platform.processor(), "batch": arguments.batch, "results": results}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
