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


@cache
def supports_int8() -> bool:
    """Whether the CPU multiplies 8-bit numbers without overflow, by avx512_vnni, avx_vnni or amx_int8.

    Elsewhere such a product is slower than one in float32, or cuts sums of two products at 16 bits.
    """
    return bool({"avx512_vnni", "avx_vnni", "amx_int8"} & _cpu_flags())


def _cpu_flags() -> set[str]:
    """What Linux says that the processor can do; empty elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return set(next((line for line in lines if line.startswith("flags")), "").split())
