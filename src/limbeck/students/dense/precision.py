"""In which precision a device computes fast and well enough."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import torch


@cache
def supports_bf16(device_type: str) -> bool:
    """Whether bfloat16 is computed in hardware: on CUDA from Ampere on, on CPUs with avx512_bf16 or amx_bf16.

    Elsewhere PyTorch emulates it, more slowly than float32.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        cpuinfo = Path("/proc/cpuinfo")
        if not cpuinfo.is_file():
            return False
        flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
        return bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))
    return False


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Computes in bfloat16 where the hardware does, else in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=supports_bf16(device.type))
