"""What this machine can do at most, measured in the same run, and times."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from limbeck.hardware import supports_int8

#: Large enough to reach the peak, small enough for a second.
_GEMM, _TRIAD = 3072, 2**26


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The median of single calls, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def in_turns(works: dict[str, Callable[[], object]], repeats: int = 3) -> dict[str, float]:
    """The median time of each, run in turns, so that whatever else the machine does falls on all."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(found)) for name, found in times.items()}


def peaks() -> dict[str, float]:
    """GFLOP/s of a large matrix product in float32, bfloat16 and 8 bits, and GB/s of a triad in float32.

    The best of five, for a peak is what the machine can do; of 8 bits 0 where it has no such products.
    """
    found = {}
    for name, kind in (("float32_gflops", torch.float32), ("bfloat16_gflops", torch.bfloat16)):
        left, right = (torch.randn(_GEMM, _GEMM).to(kind) for _ in range(2))
        out = torch.empty_like(left)
        best = min(seconds(lambda a=left, b=right, c=out: torch.mm(a, b, out=c), 1) for _ in range(5))
        found[name] = round(2 * _GEMM**3 / best / 1e9, 1)
    found["int8_gops"] = 0.0
    if supports_int8():
        counts = torch.randint(-127, 128, (2, _GEMM, _GEMM), dtype=torch.int8)
        best = min(seconds(lambda: torch._int_mm(counts[0], counts[1]), 1) for _ in range(5))
        found["int8_gops"] = round(2 * _GEMM**3 / best / 1e9, 1)
    first, second, third = (torch.ones(_TRIAD) for _ in range(3))
    best = min(seconds(lambda: torch.add(first, second, alpha=3.0, out=third), 1) for _ in range(5))
    # Two arrays are read and one is written.
    found["triad_gb_per_s"] = round(3 * 4 * _TRIAD / best / 1e9, 1)
    return found


def description() -> dict[str, object]:
    """The processor and the threads that are used."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return {
        "processor": names[0] if names else "unknown",
        "instructions": sorted(
            {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"} & flags
        ),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
