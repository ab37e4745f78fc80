from __future__ import annotations

from pathlib import Path

import pytest

from limbeck import hardware


@pytest.fixture
def cpu(monkeypatch):
    """Lets the processor be one of these flags."""

    def pretend(*flags: str) -> None:
        monkeypatch.setattr(hardware, "_cpu_flags", lambda: set(flags))
        hardware.supports_bf16.cache_clear()
        hardware.supports_int8.cache_clear()

    yield pretend
    hardware.supports_bf16.cache_clear()
    hardware.supports_int8.cache_clear()


@pytest.mark.parametrize(
    ("flags", "bf16", "int8"),
    [
        ((), False, False),
        (("avx2", "avx512f", "avx512bw"), False, False),
        (("avx512f", "avx512_vnni"), False, True),
        (("avx2", "avx_vnni"), False, True),
        (("avx512_vnni", "avx512_bf16"), True, True),
        (("amx_bf16", "amx_int8"), True, True),
    ],
)
def test_what_a_processor_computes_goes_by_its_flags(cpu, flags, bf16, int8):
    cpu(*flags)
    assert (hardware.supports_bf16("cpu"), hardware.supports_int8()) == (bf16, int8)
    assert not hardware.supports_bf16("mps")


def test_the_flags_are_those_that_linux_tells():
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        assert hardware._cpu_flags() == set()
        return
    lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")]
    assert hardware._cpu_flags() == (set(lines[0].split()) if lines else set())
