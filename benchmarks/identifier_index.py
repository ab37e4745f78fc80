"""Speed, size and memory of the identifier index, beside the published FM-index (sdsl through SWIG).

The corpus is drawn from Zipf's law (exponent 1), 50,000 token ids in random order of frequency, passages of
100 tokens. Times are CPU time of one thread, medians over sets of intervals that were not used before; with
`--cold`, other memory is read in between, so that neither the index nor the scores are in the cache.

How the intervals behind the published figures were chosen is not stated. Here they belong to n-grams at
random positions of the corpus, so frequent ones come often. Where a figure is bound by memory, the table
names the bound: bytes that must be moved, over the bandwidth of one core as measured in the same run.

    OMP_NUM_THREADS=1 python benchmarks/identifier_index.py --json identifier_index.json
    OMP_NUM_THREADS=1 python benchmarks/identifier_index.py --tokens 119000000 --cold
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.indexes.fm_index.part import Part
from limbeck.indexes.fm_index.ragged import Ragged

VOCABULARY, LENGTH, ROWS, BEAMS, K = 50_000, 100, 150, 300, 15
DEPTHS = (1, 2, 3, 5)
SETS = 9
PUBLISHED = {
    "12 M": {
        "build, s": 14.2,
        "steps/s": 391_000.0,
        "locate/s": 16_000.0,
        "extract tokens/s": 341_000.0,
        "continuations": (119.0, 24.0, 15.0, 9.0),
    },
    "119 M": {"build, s": 158.0, "locate/s": 9_900.0, "continuations": (600.0, 94.0, 16.0, 9.0)},
}
TIMES_FASTER = {"build, s": 7, "steps/s": 1, "locate/s": 100, "extract tokens/s": 100, "continuations": 50}


@dataclass
class Figure:
    """One line of the table."""

    name: str
    measured: float
    published: float | None = None
    target: float | None = None
    more_is_better: bool = False
    note: str = ""

    def cells(self) -> list[str]:
        """The columns of the table."""
        ratio = met = "–"
        if self.published:
            quotient = self.published / self.measured
            ratio = f"{1 / quotient if self.more_is_better else quotient:,.1f} ×"
        if self.target is not None:
            reached = self.measured >= self.target if self.more_is_better else self.measured <= self.target
            met = "yes" if reached else "NO"
        numbers = ["–" if value is None else f"{value:,.4g}" for value in (self.published, self.target)]
        if self.measured >= 10_000:
            numbers = ["–" if value is None else f"{value:,.0f}" for value in (self.published, self.target)]
        measured = f"{self.measured:,.0f}" if self.measured >= 10_000 else f"{self.measured:,.4g}"
        return [self.name, measured, *numbers, met, ratio, self.note]


def zipf(tokens: int, seed: int) -> Iterator[NDArray[np.uint32]]:
    """The corpus in blocks of passages, (passages, LENGTH) each."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, VOCABULARY + 1)
    cumulative = np.cumsum(weights / weights.sum())
    ids = generator.permutation(VOCABULARY).astype(np.uint32)
    for start in range(0, tokens // LENGTH, 2000):
        shape = (min(2000, tokens // LENGTH - start), LENGTH)
        ranks = np.searchsorted(cumulative, generator.random(shape))
        yield ids[np.minimum(ranks, VOCABULARY - 1)]


def child(arguments: argparse.Namespace) -> None:
    """Builds once in a process of its own and prints what memory it took, in bytes."""
    Part.build(arguments.child / "first", next(zipf(10_000, 1)))  # load the kernels
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    part = Part.build(
        arguments.child / "part",
        (passage for block in zipf(arguments.tokens, arguments.seed) for passage in block),
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"before": before, "peak": peak, "size": part.size_bytes}))


def run_child(arguments: argparse.Namespace, folder: Path) -> dict[str, int]:
    command = [sys.executable, __file__, "--tokens", arguments.tokens, "--seed", arguments.seed]
    printed = subprocess.run(
        [*map(str, command), "--child", str(folder)], check=True, capture_output=True, text=True
    )
    result: dict[str, int] = json.loads(printed.stdout)
    return result


FIRST_USE = """
import time
start, cpu = time.perf_counter(), time.process_time()
import limbeck.indexes.fm_index.part as part
imported = time.perf_counter() - start, time.process_time() - cpu
import numpy as np, sys
opened = part.Part(sys.argv[1])
bounds, depths = opened.root(), np.zeros(1, np.int32)
opened.top_k(np.zeros((1, 8), np.float32), bounds, depths, 2)
opened.continuations(bounds, depths)
print(*imported, time.perf_counter() - start)
"""


def first_use(path: Path) -> tuple[float, float]:
    """Seconds in a new process: the import, and all until the first answers (compile cache warm)."""
    command = [sys.executable, "-c", FIRST_USE, str(path)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(3)]
    times = np.array([[float(value) for value in run.split()] for run in runs])
    return float(np.median(times[:, 0])), float(np.median(times[:, 2]))


class Bench:
    """An open part and its corpus.

    Args:
        part: the index.
        corpus: (passages, LENGTH).
        arguments: what the user asked for.
    """

    def __init__(self, part: Part, corpus: NDArray[np.uint32], arguments: argparse.Namespace) -> None:
        self.part = part
        self.corpus = corpus
        self.cold: bool = arguments.cold
        self.generator = np.random.default_rng(arguments.seed + 1)
        self.other = np.ones(1 << 26, np.float32)  # 256 MB, several times any cache

    def seconds(self, work: Callable[[int], object]) -> float:
        """Median CPU seconds of work(0), work(1), ...; the first one only loads what is needed."""
        times = []
        for turn in range(SETS):
            if self.cold:
                self.other.max()
            start = time.process_time()
            work(turn)
            times.append(time.process_time() - start)
        return float(np.median(times[1:]))

    def bandwidth(self) -> float:
        """Bytes a second that one core reads."""
        return self.other.nbytes / self.seconds(lambda _: self.other.max())

    def grams(self, rows: int, depth: int) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
        """The intervals of n-grams at random places that do not cross a passage's end."""
        passages = self.generator.integers(0, len(self.corpus), rows)
        offsets = self.generator.integers(0, LENGTH - depth + 1, rows)
        runs = [self.corpus[p, o : o + depth] for p, o in zip(passages, offsets, strict=True)]
        return self.part.find(Ragged.from_rows(runs)), np.full(rows, depth, np.int32)

    def continuations(self, published: Sequence[float | None]) -> list[Figure]:
        """What may follow, at each depth."""
        figures = []
        for depth, known in zip(DEPTHS, published, strict=True):
            sets = [self.grams(ROWS, depth) for _ in range(SETS)]
            children = np.mean([len(self.part.continuations(*intervals)[1]) for intervals in sets])
            ms = 1000 * self.seconds(lambda turn, sets=sets: self.part.continuations(*sets[turn]))
            # The target was set for the smaller corpus.
            small = self.part.token_count <= 12_000_000
            target = known / TIMES_FASTER["continuations"] if known and small else None
            note = f"{children / ROWS:,.1f} followers a row"
            figures.append(
                Figure(f"continuations of {ROWS}, depth {depth}, ms", ms, known, target, note=note)
            )
        return figures

    def top_k(self, target_ms: float) -> list[Figure]:
        """The fused step of a beam search, at each depth and on average."""
        scores = [self.generator.standard_normal((BEAMS, VOCABULARY), dtype=np.float32) for _ in range(2)]
        bandwidth, figures, all_ms = self.bandwidth(), [], []
        for depth in range(1, 10):
            sets = [self.grams(BEAMS, depth) for _ in range(SETS)]
            ms = 1000 * self.seconds(
                lambda turn, sets=sets: self.part.top_k(scores[turn % 2], *sets[turn], K)
            )
            all_ms.append(ms)
            if depth in DEPTHS:
                moved = np.mean([self.moved(*intervals) for intervals in sets])
                note = f"at least {moved / 1e6:,.2f} MB to read: {1000 * moved / bandwidth:,.2f} ms"
                figures.append(
                    Figure(f"top {K} of {BEAMS} rows, depth {depth}, ms", ms, None, target_ms, note=note)
                )
        mean = float(np.mean(all_ms))
        note = "a decoding step with beams of n-grams up to 9 tokens"
        return [
            *figures,
            Figure(f"top {K} of {BEAMS} rows, mean of depths 1 to 9, ms", mean, None, target_ms, note=note),
        ]

    def moved(self, bounds: NDArray[np.uint32], depths: NDArray[np.int32]) -> int:
        """Bytes that top-k has to read: the children's codes, and the cache lines of their scores."""
        offsets, tokens, _ = self.part.continuations(bounds, depths)
        rows = np.repeat(np.arange(len(bounds)), np.diff(offsets))
        lines = len(np.unique(rows * (VOCABULARY // 16 + 1) + tokens // 16))
        return 64 * lines + 2 * len(tokens)

    def steps(self, known: float | None) -> list[Figure]:
        """One token further, many in a call and one a call."""
        rows = 20_000
        sets = [self.grams(rows, 1 + turn % 4) for turn in range(SETS)]
        tokens = [self.generator.choice(self.corpus.ravel(), rows).astype(np.int64) for _ in range(SETS)]
        batch = rows / self.seconds(lambda turn: self.part.extend(*sets[turn], tokens[turn]))
        bounds, depths = self.grams(1, 2)
        single = 2000 / self.seconds(
            lambda _: [self.part.extend(bounds, depths, tokens[0][:1]) for _ in range(2000)]
        )
        return [
            Figure("interval steps/s, in batches of 20,000", batch, known, known, more_is_better=True),
            Figure("interval steps/s, one a call", single, known, None, more_is_better=True),
        ]

    def locate_and_extract(self, known: dict[str, float | None]) -> list[Figure]:
        """From ranks to passages, and from passages to tokens."""
        sets = [self.grams(5000, 3)[0] for _ in range(SETS)]
        sets = [bounds[self.part.counts(bounds) <= 2000] for bounds in sets]
        found = np.mean([self.part.counts(bounds).sum() for bounds in sets[1:]])
        locate = float(found) / self.seconds(lambda turn: self.part.locate(sets[turn]))
        chosen = [self.generator.integers(0, self.part.passage_count, 5000) for _ in range(SETS)]
        extract = 5000 * LENGTH / self.seconds(lambda turn: self.part.extract(chosen[turn]))
        return [
            Figure(name, value, old, TIMES_FASTER[key] * old if old else None, more_is_better=True, note=note)
            for name, key, value, note in (
                ("locate, occurrences/s", "locate/s", locate, f"{found:,.0f} of 5,000 trigrams"),
                ("extraction, tokens/s", "extract tokens/s", extract, ""),
            )
            for old in [known.get(key)]
        ]


def measure(arguments: argparse.Namespace, folder: Path) -> list[Figure]:
    size = next((name for name in PUBLISHED if name == f"{round(arguments.tokens / 1e6)} M"), None)
    published: dict[str, object] = dict(PUBLISHED[size]) if size else {}
    memory = run_child(arguments, folder)
    Part.build(folder / "first", next(zipf(10_000, 1)))  # load the kernels
    corpus = np.concatenate(list(zipf(arguments.tokens, arguments.seed)))
    start = time.process_time()
    part = Part.build(folder / "part", corpus)
    build_s = time.process_time() - start
    start = time.perf_counter()
    Part(folder / "part")
    open_ms = 1000 * (time.perf_counter() - start)
    start = time.perf_counter()
    part.verify()
    verify_ms = 1000 * (time.perf_counter() - start)
    import_s, first_s = first_use(folder / "part")
    bench = Bench(part, corpus, arguments)
    taken = memory["peak"] - memory["before"]
    old_build = published.get("build, s")
    return [
        Figure("build, s", build_s, old_build, old_build / TIMES_FASTER["build, s"] if old_build else None),
        Figure("size, bytes a token", part.size_bytes / part.token_count, note="locate, extract included"),
        Figure(
            "peak memory of the build / index",
            taken / memory["size"],
            None,
            1.6,
            note=f"{taken / 1e6:,.0f} MB beside {memory['before'] / 1e6:,.0f} MB of Python and kernels",
        ),
        *bench.steps(published.get("steps/s")),
        *bench.continuations(published.get("continuations", (None,) * len(DEPTHS))),
        *bench.top_k(1.0 if part.token_count <= 12_000_000 else 3.0),
        *bench.locate_and_extract(published),
        Figure("open, ms", open_ms, None, 20.0),
        Figure("read through and check, ms/GB", verify_ms / part.size_bytes * 1e9),
        Figure("import, warm compile cache, s", import_s, None, 1.0),
        Figure("import, open and first answers, s", first_s),
        Figure("bandwidth of one core, GB/s", bench.bandwidth() / 1e9),
    ]


def table(figures: list[Figure]) -> str:
    """The figures as a table for a terminal, which is Markdown too."""
    head = ["figure", "measured", "published", "target", "met", "against published", "note"]
    rows = [head, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=12_000_000, help="published: 12 M and 119 M")
    parser.add_argument("--cold", action="store_true", help="empty the caches before each measurement")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments, Path(folder))
    print(table(figures))
    if arguments.json:
        facts = {
            "tokens": arguments.tokens,
            "vocabulary": VOCABULARY,
            "passage_tokens": LENGTH,
            "cold": arguments.cold,
            "machine": platform.processor() or platform.machine(),
            "figures": [asdict(figure) for figure in figures],
        }
        arguments.json.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
