"""What the machine can do, for whoever computes on it."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def supports_bf16(device_type: str) -> bool:
    """Whether bfloat16 is computed in hardware: on CUDA from Ampere on, on CPUs with avx512_bf16 or amx_bf16.

    Elsewhere PyTorch emulates it, more slowly than float32.
    """
    import torch  # noqa: PLC0415  # takes seconds

    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device_type == "cpu" and bool({"avx512_bf16", "amx_bf16"} & _cpu_flags())


def supports_int8() -> bool:
    """Whether PyTorch multiplies matrices of 8-bit numbers fast on the CPU: by oneDNN, with avx512_vnni.

    Elsewhere it does so in a plain loop, many times slower than in float32.

    Source: PyTorch's `_int_mm` for CPUs, since its pull request 136942.
    """
    import torch  # noqa: PLC0415  # takes seconds

    onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return onednn and "avx512_vnni" in _cpu_flags()


@cache
def _cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What Linux says that an x86 processor can do; empty elsewhere."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())
