from __future__ import annotations

import subprocess
import sys

import limbeck.data
import limbeck.data.formats


def test_the_package_needs_nothing_heavy():
    code = (
        "import sys, limbeck.data, limbeck.data.formats\n"
        "print(*{'torch', 'datasets', 'ir_datasets', 'pandas', 'numba', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


def test_public_names_exist_and_say_what_they_are():
    for module in (limbeck.data, limbeck.data.formats):
        for name in module.__all__:
            assert getattr(module, name).__doc__
