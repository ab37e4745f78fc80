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
    cpuinfo = Path("/proc/cpuinfo")
    if device_type != "cpu" or not cpuinfo.is_file():
        return False
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    return bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))
