"""What is compiled is used as long as nothing that it is made of changes, and no longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from limbeck.indexes.fm_index.kernels import compiling

ADD = """
from package.compiling import compiled
from package.constants import STEP

@compiled
def add(value):
    return value + STEP
"""
ASK = "from package.adding import add; print(add(1), sum(add.stats.cache_hits.values()))"


def answer(folder):
    done = subprocess.run([sys.executable, "-c", ASK], cwd=folder, check=True, capture_output=True, text=True)
    return tuple(map(int, done.stdout.split()))


def test_a_constant_of_another_file_is_not_remembered(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "compiling.py").write_text(Path(compiling.__file__).read_text())
    (package / "adding.py").write_text(ADD)
    (package / "constants.py").write_text("STEP = 1\n")
    assert answer(tmp_path) == (2, 0)
    assert answer(tmp_path) == (2, 1)
    (package / "constants.py").write_text("STEP = 10\n")
    assert answer(tmp_path) == (11, 0)
    assert answer(tmp_path) == (11, 1)


def test_the_digest_sees_names_and_content(tmp_path):
    (tmp_path / "a.py").write_text("1")
    one = compiling.digest_of(tmp_path)
    (tmp_path / "a.txt").write_text("no source")
    assert compiling.digest_of(tmp_path) == one
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    other = compiling.digest_of(tmp_path)
    (tmp_path / "b.py").write_text("2")
    assert len({one, other, compiling.digest_of(tmp_path)}) == 3
