"""Readers and writers in several processes and threads, and processes killed at any instant."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import traceback

import numpy as np
import pytest

from limbeck.indexes.fm_index import IdentifierIndex
from tests.indexes.fm_index.brute_index import continuations, located

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that share what is compiled")

KILLS = 12
BATCH = 5
PREFIXES = [(1,), (2, 3), (1, 1), (0, 2, 1)]


def passage(number):
    """What the passage with this number always contains."""
    return tuple(np.random.default_rng(number).integers(0, 4, 30 + number % 7).tolist())


def check(index):
    """Whatever is live, every answer agrees with it; changes are seen in whole batches."""
    numbers = index.numbers.tolist()
    assert len(numbers) % BATCH == 0
    live = {number: passage(number) for number in numbers}
    assert [tuple(one.tolist()) for one in index.extract(numbers)] == list(live.values())
    found = index.find(PREFIXES)
    followed, places, counts = index.continuations(found), index.locate(found), index.counts(found)
    for row, prefix in enumerate(PREFIXES):
        expected = located(live, prefix)
        span = slice(places.offsets[row], places.offsets[row + 1])
        assert (
            list(zip(places.passages[span].tolist(), places.positions[span].tolist(), strict=True))
            == expected
        )
        assert counts[row] == len(expected)
        span = slice(followed.offsets[row], followed.offsets[row + 1])
        pairs = zip(followed.tokens[span].tolist(), followed.counts[span].tolist(), strict=True)
        assert dict(pairs) == continuations(live, prefix)
    # How many changes outrun their kill is left to chance, and with it how often the identifier occurs.
    scores = index.aggregate([PREFIXES[1]], [1.0], [0, 1], max_occurrences=10**6, k=1000, threads=1)
    assert sorted(scores.passages.tolist()) == sorted({number for number, _ in located(live, PREFIXES[1])})


def forked(work):
    """Run `work` in another process; its id. The process ends with 0 if nothing went wrong."""
    process = os.fork()
    if process:
        return process
    try:
        work()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(process):
    """The exit status, once the process has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed_within(work, longest_s, generator):
    """Run `work` in another process and kill it at a random instant; whether it had not ended."""
    process = forked(work)
    time.sleep(generator.random() * longest_s)
    os.kill(process, signal.SIGKILL)
    return ended(process) == -signal.SIGKILL


def filled(folder, count=60, parts=4):
    index = IdentifierIndex.build(folder, [passage(number) for number in range(count)])
    for part in range(parts - 1):
        start = count * (part + 1)
        index.add(passage(number) for number in range(start, start + count))
    check(index)
    return index


def test_readers_in_a_thread_and_in_processes_while_one_writes(tmp_path):
    index = filled(tmp_path / "index")
    stop = tmp_path / "stop"
    failures = []

    def read():
        reader = IdentifierIndex.open(index.folder)
        kept = reader.snapshot()
        rounds = 0
        while not stop.exists() or not rounds:
            check(reader)
            check(kept)  # its files are unlinked by now, or will be
            check(IdentifierIndex.open(index.folder))
            reader.refresh()
            rounds += 1

    def read_in_thread():
        try:
            read()
        except BaseException:  # noqa: BLE001
            failures.append(traceback.format_exc())

    processes = [forked(read) for _ in range(2)]
    thread = threading.Thread(target=read_in_thread)
    thread.start()
    try:
        for turn in range(6):
            following = index._snapshot.manifest.next_number
            index.add(passage(number) for number in range(following, following + 2 * BATCH))
            index.delete(index.numbers[turn : turn + BATCH])
            merging = index.merge_in_background(everything=True)
            index.delete(index.numbers[-BATCH:])
            assert merging.result(60)
            index.refresh()
            check(index)
    finally:
        stop.touch()
        thread.join()
        statuses = [ended(process) for process in processes]
    assert not failures, failures[0]
    assert statuses == [0, 0]


def test_a_kill_during_a_build_leaves_nothing_or_all(tmp_path):
    generator = random.Random(1)
    passages = [passage(number) for number in range(200)]
    started = time.monotonic()
    IdentifierIndex.build(tmp_path / "first", passages, part_tokens=2000)
    taken = time.monotonic() - started
    interrupted = 0
    for turn in range(KILLS):
        folder = tmp_path / f"index-{turn}"
        interrupted += killed_within(
            lambda folder=folder: IdentifierIndex.build(folder, passages, part_tokens=2000), taken, generator
        )
        if folder.exists():
            index = IdentifierIndex.open(folder, verify=True)
            assert index.passage_count == len(passages)
        else:
            IdentifierIndex.build(folder, passages, part_tokens=2000)
            assert not list(tmp_path.glob(f".{folder.name}.*"))
    assert interrupted, "no kill came in time"


@pytest.mark.parametrize("change", ["add", "delete", "merge"])
def test_a_kill_during_a_change_leaves_the_state_before_or_after(tmp_path, change):
    generator = random.Random(len(change))
    index = filled(tmp_path / "index")
    work = {
        "add": lambda: IdentifierIndex.open(index.folder).add(
            passage(number) for number in range(following, following + 10 * BATCH)
        ),
        "delete": lambda: IdentifierIndex.open(index.folder).delete(before[:BATCH]),
        "merge": lambda: IdentifierIndex.open(index.folder).merge(),
    }[change]
    taken_s, interrupted = None, 0
    for _ in range(KILLS):
        index.refresh()
        before, following = index.numbers.tolist(), index._snapshot.manifest.next_number
        after = {
            "add": before + list(range(following, following + 10 * BATCH)),
            "delete": before[BATCH:],
            "merge": before,
        }[change]
        if taken_s is None:  # once undisturbed, to know how long it takes
            started = time.monotonic()
            assert ended(forked(work)) == 0
            taken_s = time.monotonic() - started
        else:
            interrupted += killed_within(work, taken_s, generator)
        found = IdentifierIndex.open(index.folder, verify=True)
        assert found.numbers.tolist() in (before, after)
        check(found)
        if change == "merge":  # so that there is something to merge next time
            following = found._snapshot.manifest.next_number
            found.add(passage(number) for number in range(following, following + BATCH))
            found.delete(found.numbers[:BATCH])
    assert interrupted, "no kill came in time"
    final = IdentifierIndex.open(index.folder)
    final.merge()
    check(final)
    assert (
        len([path for path in index.folder.iterdir() if not path.name.startswith(".")])
        == 1 + final.part_count
    )


def test_a_killed_writer_does_not_keep_the_others_out(tmp_path):
    index = filled(tmp_path / "index", count=10, parts=1)
    holding = tmp_path / "holding"

    def hold():
        def passages():
            yield passage(0)
            holding.touch()
            time.sleep(60)

        index.add(passages())

    process = forked(hold)
    while not holding.exists():
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    ended(process)
    assert len(index.add([passage(number) for number in range(10, 15)])) == BATCH
    check(index)
