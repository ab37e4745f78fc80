"""`limbeck doctor`: what is installed, on what machine, and what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from limbeck import __version__
from limbeck.backbones import DEFAULT_BACKBONE, locate_backbone
from limbeck.cli.options import AsJson, add_verb
from limbeck.cli.screen import console, show_json, show_table

#: Extras that only gather others.
_GATHERING = ("quickstart", "all", "dev")
_GIB = 2**30
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?P<range>[^;]*)(?:;.*extra == ['\"](?P<extra>[\w-]+)['\"])?")


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, which device there is, where the default backbone is, and what is missing.

    Exits with 0 unless the core itself lacks something.
    """
    found = examine()
    if as_json:
        show_json(found)
    else:
        _show(found)
    if not found["core"]["installed"]:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Everything that `limbeck doctor` shows, as JSON values."""
    extras = {name: _packages(names, name) for name, names in _requirements().items()}
    core = extras.pop("")
    return {
        "limbeck": __version__,
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(terse=True),
            "cores": _cores(),
            "memory_gib": _memory_gib(),
            "disk_free_gib": round(shutil.disk_usage(Path.cwd()).free / _GIB, 1),
        },
        "devices": _devices(),
        "backbone": _backbone(),
        "core": core,
        "extras": extras,
    }


def _requirements() -> dict[str, dict[str, str]]:
    """Package name to wanted range, by extra; the core under the empty name."""
    wanted: dict[str, dict[str, str]] = {"": {}}
    for line in metadata.requires("limbeck") or []:
        match = _REQUIREMENT.match(line)
        if match and (extra := match["extra"] or "") not in _GATHERING:
            wanted.setdefault(extra, {})[match["name"]] = match["range"].strip()
    return wanted


def _packages(wanted: dict[str, str], extra: str) -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for name in wanted:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    missing = [name for name, version in versions.items() if version is None]
    target = f"limbeck[{extra}]" if extra else "limbeck"
    return {
        "installed": not missing,
        "packages": versions,
        "missing": missing,
        "install": f"pip install '{target}'",
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gib() -> float:
    """Of the machine, or of the container where that has less."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        size = min(size, int(text))
    return round(size / _GIB, 1)


def _devices() -> list[dict[str, Any]]:
    """What models can run on, the one that is taken by default first; empty without torch."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch  # noqa: PLC0415 - takes seconds

    from limbeck.hardware import supports_bf16  # noqa: PLC0415

    devices = [
        {
            "device": f"cuda:{number}",
            "name": torch.cuda.get_device_name(number),
            "bf16": supports_bf16("cuda"),
            "memory_gib": round(torch.cuda.get_device_properties(number).total_memory / _GIB, 1),
        }
        for number in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": "Apple GPU", "bf16": supports_bf16("mps")})
    threads = torch.get_num_threads()
    name = f"{threads} thread{'s' * (threads != 1)}"
    cpu = {"device": "cpu", "name": name, "bf16": supports_bf16("cpu")}
    return [*devices, cpu]


def _backbone() -> dict[str, Any]:
    if importlib.util.find_spec("sentence_transformers") is None:
        return {"name": None, "place": None, "local": False}
    place = locate_backbone(DEFAULT_BACKBONE)
    return {"name": DEFAULT_BACKBONE, "place": place, "local": Path(place).is_dir() or _cached(place)}


def _cached(hub_id: str) -> bool:
    """Whether the hub's cache on this machine holds a model."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - comes with the extra `dense`

    return isinstance(try_to_load_from_cache(hub_id, "config.json"), str)


def _show(found: dict[str, Any]) -> None:
    machine, backbone = found["machine"], found["backbone"]
    lines = [
        ["limbeck", f"{found['limbeck']}, Python {machine['python']}, {machine['system']}"],
        [
            "machine",
            f"{machine['cores']} cores, {machine['memory_gib']} GiB memory,"
            f" {machine['disk_free_gib']} GiB free on this disk",
        ],
        *(["device", line] for line in _device_lines(found["devices"])),
        ["backbone", _backbone_line(backbone)],
    ]
    screen = console()
    show_table(screen, [["", ""], *lines], left=2)
    screen.print()
    rows = [["Part", "Packages", "State"]]
    for name, part in [("core", found["core"]), *found["extras"].items()]:
        packages = ", ".join(f"{package} {version or '✗'}" for package, version in part["packages"].items())
        rows.append([name, packages, "ok" if part["installed"] else f"missing: {part['install']}"])
    show_table(screen, rows, left=3)


def _device_lines(devices: list[dict[str, Any]]) -> Iterator[str]:
    for entry in devices:
        memory = f", {entry['memory_gib']} GiB" if "memory_gib" in entry else ""
        bf16 = "bfloat16 in hardware" if entry["bf16"] else "no bfloat16 in hardware: float32"
        yield f"{entry['device']}: {entry['name']}{memory}, {bf16}"
    if not devices:
        yield "unknown without torch: BM25, evaluate and compare work, students and teachers do not"


def _backbone_line(backbone: dict[str, Any]) -> str:
    if backbone["name"] is None:
        return "unknown without sentence-transformers"
    where = "found at" if backbone["local"] else "not on this machine; to be fetched from the hub:"
    return f"{backbone['name']}, {where} {backbone['place']}"


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    add_verb(app, doctor, "limbeck doctor", "limbeck doctor --json")
