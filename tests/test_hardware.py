from __future__ import annotations

from pathlib import Path

import pytest

from limbeck import hardware

CPUINFO = """processor\t: 0
model name\t: Some processor
flags\t\t: fpu avx2 avx512f {}
bugs\t\t: none
processor\t: 1
flags\t\t: fpu
"""


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """Lets the processor be one with these flags, in a file as Linux has it."""
    flags_of = hardware._cpu_flags

    def pretend(flags: str) -> None:
        (tmp_path / "cpuinfo").write_text(CPUINFO.format(flags))
        flags_of.cache_clear()
        monkeypatch.setattr(hardware, "_cpu_flags", lambda: flags_of(tmp_path / "cpuinfo"))
        hardware.supports_bf16.cache_clear()

    yield pretend
    flags_of.cache_clear()
    hardware.supports_bf16.cache_clear()


@pytest.mark.parametrize(
    ("flags", "bf16", "int8"),
    [
        ("avx512bw", False, False),
        ("avx512_vnni", False, True),
        ("avx_vnni", False, False),
        ("avx512_vnni avx512_bf16", True, True),
        ("avx512_vnni amx_bf16 amx_int8", True, True),
    ],
)
def test_what_a_processor_computes_goes_by_its_flags(cpu, flags, bf16, int8):
    cpu(flags)
    assert (hardware.supports_bf16("cpu"), hardware.supports_int8()) == (bf16, int8)
    assert not hardware.supports_bf16("mps")


def test_without_onednn_8_bits_are_slow(cpu, monkeypatch):
    cpu("avx512_vnni")
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    assert not hardware.supports_int8()


@pytest.mark.parametrize("text", ["processor: 0\nFeatures: fp asimd\n", ""])
def test_other_processors_have_no_flags(tmp_path, text):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert hardware._cpu_flags(path) == frozenset()


def test_other_systems_have_no_such_file():
    assert hardware._cpu_flags(Path("there/is/none")) == frozenset()
