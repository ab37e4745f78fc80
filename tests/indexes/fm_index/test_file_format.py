"""Files that are not what was written: refused, and never a crash."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.indexes.fm_index import file_format
from limbeck.indexes.fm_index.file_format import Checksum, checksum, note_path
from limbeck.indexes.fm_index.part import Part
from limbeck.indexes.fm_index.ragged import Ragged

REPOSITORY = Path(__file__).resolve().parents[3]
WORDS = [[3, 1, 4, 1, 5], [9, 2, 6], [], [3, 1, 4, 2**32 - 1]]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "part"
    Part.build(path, WORDS)
    return path


def test_opens_again(path):
    part = Part.open(path, verify=True)
    assert part.counts(part.find(Ragged.from_rows([[3, 1, 4], [1], [7]]))).tolist() == [2, 3, 0]
    assert part.size_bytes == path.stat().st_size


def test_every_byte_matters(path):
    sound = path.read_bytes()
    for place in range(0, len(sound), 7):
        changed = bytearray(sound)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(InputError, match="part"):
            Part(path)
    path.write_bytes(sound)
    Part(path)


def test_every_length_but_the_right_one_is_refused(path):
    sound = path.read_bytes()
    for length in [*range(0, len(sound), 97), len(sound) - 1]:
        path.write_bytes(sound[:length])
        with pytest.raises(InputError, match=str(path)):
            Part(path)
    path.write_bytes(sound + b"\0")
    with pytest.raises(InputError, match="bytes in place of"):
        Part(path)


def test_foreign_files_are_refused(tmp_path):
    foreign = tmp_path / "foreign"
    for content in (b"", b"PAR1" * 2000, bytes(100_000)):
        foreign.write_bytes(content)
        with pytest.raises(InputError, match="not a part"):
            Part(foreign)
    with pytest.raises(InputError, match="folder"):
        Part(tmp_path)
    with pytest.raises(InputError, match="cannot be opened"):
        Part(tmp_path / "absent")


def test_another_version_is_named(path):
    content = bytearray(path.read_bytes())
    content[8] = 99
    path.write_bytes(content)
    with pytest.raises(InputError, match="version 99"):
        Part(path)


def test_soundness_is_noted_and_forgotten_with_a_change(path):
    assert note_path(path).exists()
    note_path(path).unlink()
    Part(path)
    assert note_path(path).exists()
    moved = path.with_name("moved")
    shutil.copy(path, moved)
    content = bytearray(moved.read_bytes())
    content[-70] ^= 1
    moved.write_bytes(content)
    shutil.copy(note_path(path), note_path(moved))
    with pytest.raises(InputError, match="damaged"):
        Part(moved)


def test_verify_finds_what_left_no_trace(path):
    part = Part(path)
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(-70, os.SEEK_END)
        old = file.read(1)
        file.seek(-70, os.SEEK_END)
        file.write(bytes([old[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(InputError, match="does not match its checksum"):
        part.verify()
    with pytest.raises(InputError, match="does not match its checksum"):
        Part(path, verify=True)


def test_checksum_does_not_depend_on_the_pieces():
    data = np.random.default_rng(0).bytes(1000)
    for cut in (0, 1, 63, 64, 65, 500, 1000):
        pieces = Checksum()
        pieces.update(data[:cut])
        pieces.update(data[cut:])
        assert pieces.value() == checksum(data)
    assert checksum(b"") != checksum(b"\0") != checksum(b"\0\0")


FUZZ = """
import sys
from pathlib import Path
import numpy as np
from limbeck.errors import InputError
from limbeck.indexes.fm_index import file_format
from limbeck.indexes.fm_index.part import Part
from limbeck.indexes.fm_index.ragged import Ragged

path, generator = Path(sys.argv[1]), np.random.default_rng(int(sys.argv[2]))
sound = path.read_bytes()
file_format.SectionFile.verify = lambda self: None  # as if the check had been passed
for trial in range(int(sys.argv[3])):
    content = bytearray(sound)
    for _ in range(generator.integers(1, 200)):
        place = generator.integers(file_format._HEADER_BYTES, len(content))
        content[place] = generator.choice([0, 255, generator.integers(256)])
    path.write_bytes(content)
    try:
        part = Part(path)
    except InputError:
        continue
    total = part.token_count
    lows = generator.integers(0, total, 50)
    bounds = np.stack([lows, np.minimum(lows + generator.integers(0, total, 50), total)], axis=1)
    bounds[0] = 0, total
    depths = generator.integers(0, 12, 50)
    depths[0] = 0
    dead = np.unique(generator.integers(0, total, 40)).astype(np.uint32)
    scores = generator.standard_normal((50, 500), dtype=np.float32)
    for gone in (dead, dead[:0]):
        part.continuations(bounds, depths, gone)
        part.extend(bounds, depths, generator.integers(0, 500, 50))
        tokens, best, intervals = part.top_k(scores, bounds, depths, 5, gone)
        part.continuations(intervals, np.repeat(depths + 1, 5), gone)
        part.counts(intervals, gone)
        part.passage_counts(bounds, gone)
        part.locate(bounds, gone)
    part.find(Ragged(np.arange(0, 61, 3), generator.integers(0, 500, 60).astype(np.uint32)))
    part.extract(np.arange(part.passage_count))
    part.ranks_of_passages([0])
    part.ranks_of_passages(np.arange(part.passage_count))
"""


def run(script, *arguments):
    return [sys.executable, "-c", script, *map(str, arguments)]


@pytest.mark.parametrize("seed", range(2))
def test_even_unchecked_content_is_never_a_crash(tmp_path, seed):
    generator = np.random.default_rng(seed)
    path = tmp_path / "part"
    tokens = (generator.random((300, 40)) ** 3 * 400).astype(np.uint32)
    tokens[::3, :8] = tokens[0, :8]
    Part.build(path, list(tokens))
    fuzz = subprocess.run(
        run(FUZZ, path, seed, 150), cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False
    )
    assert fuzz.returncode == 0, fuzz.stderr


BUILD = """
import sys
import numpy as np
from limbeck.indexes.fm_index.part import Part
passages = list((np.random.default_rng(0).random((3000, 100)) ** 3 * 5000).astype(np.uint32))
while True:
    print(Part.build(sys.argv[1], passages).token_count, flush=True)
"""


def test_a_kill_while_building_leaves_a_whole_part(path):
    """The old one or the new one; what the killed process left behind is cleared by the next build."""
    generator = np.random.default_rng(0)
    for _ in range(8):
        process = subprocess.Popen(run(BUILD, path), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()  # compiled and in the middle of the next
        time.sleep(generator.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert Part(path, verify=True).token_count == 300_000
    Part.build(path, WORDS)
    assert Part(path, verify=True).token_count == 12
    assert sorted(file.name for file in path.parent.iterdir()) == [file_format.note_path(path).name, "part"]
