"""What of the running interpreter's standard library is found, and under which names."""

from __future__ import annotations

import pytest

KNOWN = [
    "itertools.groupby",  # built in
    "collections.Counter.most_common",
    "pathlib.Path.glob",
    "asyncio.gather",  # passed on from asyncio.tasks
    "os.path.join",  # posixpath
    "os.makedirs",  # in an __all__ that is computed in part
    "os.getcwd",  # posix
    "builtins.sorted",
    "builtins.dict.fromkeys",
    "builtins.str.removeprefix",
    "hashlib.scrypt",  # not in __all__
    "socket.socket.connect",  # of a base class in a private module
    "secrets.choice",  # a method of an object of the module
    "json",
    "functools.lru_cache",
    "multiprocessing.Pool.map",
    "concurrent.futures.ThreadPoolExecutor",  # only its constructor has a docstring
]


@pytest.mark.parametrize("name", KNOWN)
def test_known_names_are_found(entries, name):
    assert name in entries


def test_there_are_thousands_each_with_a_docstring(entries):
    assert len(entries) > 5000
    assert all(entry.docstring.strip() and entry.summary for entry in entries.values())


def test_names_are_in_order(entries):
    assert list(entries) == sorted(entries)


def test_nothing_private_is_found(entries):
    assert not [name for name in entries if any(part.startswith("_") for part in name.split("."))]


@pytest.mark.parametrize(
    "module", ["test", "idlelib", "lib2to3", "antigravity", "this", "posixpath", "ntpath", "encodings"]
)
def test_modules_that_are_not_for_users_are_left_out(entries, module):
    assert not [name for name in entries if name.split(".")[0] == module]


@pytest.mark.parametrize(
    "name", ["asyncio.tasks.gather", "array.ArrayType", "io.open", "os.path.genericpath"]
)
def test_a_thing_is_listed_under_one_name(entries, name):
    assert name not in entries


def test_sources_give_signature_and_body_and_built_ins_what_they_say(entries):
    assert entries["os.makedirs"].signature.startswith("def makedirs(name, mode")
    assert entries["os.makedirs"].body
    assert entries["builtins.sorted"].signature == "def sorted(iterable, /, *, key=None, reverse=False)"
    assert entries["builtins.sorted"].body == ""
    assert entries["itertools.groupby"].signature.startswith("class groupby")


def test_signatures_are_one_line_without_modules_and_addresses(entries):
    strange = ("\n", "(module, /", "$module", "$self", " at 0x")
    assert not [name for name, entry in entries.items() if any(part in entry.signature for part in strange)]
