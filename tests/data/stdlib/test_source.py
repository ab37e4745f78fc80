"""Reading a source file through `ast`, and what of a docstring is its summary."""

from __future__ import annotations

import textwrap

import pytest

from limbeck.data.stdlib.source import Documented, exported_names, read_source

MODULE = '''
"""Tools for kettles.

More about them.
"""
import functools

def boil(water, *, degrees: float = 100.0) -> "Steam":
    """Boils water. Takes a while."""
    heat(water)

    # a comment inside
    return water.steam


async def pour(*cups, **rest):
    """Pours into cups."""


@functools.cache
def steep(leaves, minutes=3): "Steeps leaves."


def _private():
    """Not for users."""


def silent():
    return 1


class Kettle(Vessel, metaclass=Meta):
    """A vessel with a spout."""

    size = 1

    def __init__(self, size):
        """Makes one of a size."""

    @property
    def full(self):
        """Whether it is full."""
        return True

    @classmethod
    async def whistle(cls):
        """Whistles."""

    def _hidden(self):
        """Hidden."""

    class Lid:
        """Closes a kettle."""

        def lift(self):
            """Lifts the lid."""


class Pot:
    def __init__(self, size):
        """Makes a pot of a size."""


class _Secret:
    """Private."""

    def method(self):
        """Public in name only."""


if True:
    def drain():
        """Drains on one platform."""
else:
    def drain():
        """Drains on another."""

try:
    from fast import stir
except ImportError:
    def stir():
        """Stirs slowly."""
else:
    def whisk():
        """Whisks."""
'''


def read(tmp_path, source, module="kettles"):
    path = tmp_path / "module.py"
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return {entry.name: entry for entry in read_source(path, module)}


@pytest.fixture
def found(tmp_path):
    return read(tmp_path, MODULE)


def test_public_names_with_a_docstring_are_found(found):
    assert list(found) == [
        "kettles",
        "kettles.boil",
        "kettles.pour",
        "kettles.steep",
        "kettles.Kettle",
        "kettles.Kettle.full",
        "kettles.Kettle.whistle",
        "kettles.Kettle.Lid",
        "kettles.Kettle.Lid.lift",
        "kettles.Pot",
        "kettles.drain",
        "kettles.stir",
        "kettles.whisk",
    ]


def test_signatures_are_one_line(found):
    assert found["kettles"].signature == ""
    assert found["kettles.boil"].signature == "def boil(water, *, degrees: float=100.0) -> 'Steam'"
    assert found["kettles.pour"].signature == "async def pour(*cups, **rest)"
    assert found["kettles.Kettle"].signature == "class Kettle(Vessel)"
    assert found["kettles.Kettle.whistle"].signature == "async def whistle(cls)"
    assert found["kettles.Pot"].signature == "class Pot"


def test_the_body_is_what_follows_the_docstring(found):
    assert found["kettles.boil"].body == "heat(water)\n\n# a comment inside\nreturn water.steam"
    assert found["kettles.steep"].body == ""
    assert found["kettles.Kettle"].body == ""
    assert found["kettles.Kettle.full"].body == "return True"


def test_a_body_is_cut_after_eight_lines(tmp_path):
    lines = "\n".join(f"    step({number})" for number in range(20))
    entry = read(tmp_path, f'def long():\n    """Is long."""\n{lines}\n')["kettles.long"]
    assert entry.body.splitlines() == [f"step({number})" for number in range(8)]


def test_a_class_without_docstring_has_its_constructors(found):
    assert found["kettles.Pot"].docstring == "Makes a pot of a size."
    assert found["kettles.Kettle"].docstring == "A vessel with a spout."


def test_the_first_of_several_platforms_counts(found):
    assert found["kettles.drain"].docstring == "Drains on one platform."


EXPORTS = '''
def one():
    """One."""

def two():
    """Two."""

class Three:
    """Three."""
'''


@pytest.mark.parametrize(
    ("statement", "exported", "functions"),
    [
        ("", None, {"one", "two"}),
        ("__all__ = ['one']", {"one"}, {"one"}),
        ("__all__: list[str] = ['one']", {"one"}, {"one"}),
        ("__all__ = ('one',)\n__all__ += ['two']", {"one", "two"}, {"one", "two"}),
        ("__all__ = ['one']\n__all__.extend(['two'])", {"one", "two"}, {"one", "two"}),
        ("__all__ = ['one']\nif True:\n    __all__.append('two')", {"one", "two"}, {"one", "two"}),
        ("__all__ = ['one']\n__all__.extend(names_of(posix))", None, {"one", "two"}),
        ("__all__ = other.__all__", None, {"one", "two"}),
        ("__all__ = ['one'] + rest", None, {"one", "two"}),
        ("__all__ = []", set(), set()),
    ],
)
def test_all_says_which_functions_are_public(tmp_path, statement, exported, functions):
    found = read(tmp_path, EXPORTS + statement)
    assert exported_names(tmp_path / "module.py") == exported
    assert set(found) == {f"kettles.{name}" for name in functions} | {"kettles.Three"}


def test_what_is_no_python_yields_nothing(tmp_path):
    assert read(tmp_path, "def broken(:\n") == {}
    path = tmp_path / "module.py"
    path.write_bytes(b'"""caf\xe9"""')
    assert list(read_source(path, "kettles")) == []
    assert exported_names(path) is None


SUMMARIES = [
    ("Boils water.", "Boils water.", ""),
    ("Boils the water. Takes a while.", "Boils the water.", "Takes a while."),
    ("Boils water.\n\nTakes a while.", "Boils water.", "Takes a while."),
    ("Boils water.\n   \nTakes a while.", "Boils water.", "Takes a while."),
    (
        "Boils water that is\n    in a kettle, slowly.\nThen stops.",
        "Boils water that is in a kettle, slowly.",
        "Then stops.",
    ),
    ("Return water\n\nDetails.", "Return water", "Details."),
    # Neither an abbreviation nor a number ends a sentence.
    (
        "Boil water, e.g. tea water, to 99.5 degrees. Done.",
        "Boil water, e.g. tea water, to 99.5 degrees.",
        "Done.",
    ),
    (
        "S.find(sub[, start]) -> int\n\nReturn the lowest index.\n\nElse -1.",
        "Return the lowest index.",
        "S.find(sub[, start]) -> int\n\nElse -1.",
    ),
    (
        "S.find(sub) -> int\nReturn the lowest index. Else -1.",
        "Return the lowest index.",
        "S.find(sub) -> int\nElse -1.",
    ),
    (
        "max(iterable)\nmax(a, b)\n\nWith one argument, the biggest.",
        "With one argument, the biggest.",
        "max(iterable)\nmax(a, b)",
    ),
    ("dict() -> new empty dictionary", "dict() -> new empty dictionary", ""),
]


@pytest.mark.parametrize(("docstring", "summary", "rest"), SUMMARIES)
def test_the_summary_is_the_first_sentence_on_one_line(docstring, summary, rest):
    entry = Documented("kettles.boil", "def boil(water)", docstring, "return 1")
    assert entry.summary == summary
    assert entry.text() == f"def boil(water)\n{docstring}\nreturn 1"
    assert entry.text(with_summary=False) == "\n".join(filter(None, ["def boil(water)", rest, "return 1"]))


def test_a_long_summary_ends_at_a_word_and_the_rest_stays():
    words = [f"word{number}" for number in range(60)]
    entry = Documented("a.b", "", " ".join(words))
    assert len(entry.summary) <= 200
    assert entry.summary.split() + entry.text(with_summary=False).split() == words


def test_a_passage_is_never_empty_and_never_long():
    assert Documented("builtins.dict", "", "Makes a dictionary.").text(with_summary=False) == "dict"
    assert len(Documented("a.b", "", "word " * 1000).text()) <= 1500


def test_renaming_keeps_the_rest():
    entry = Documented("asyncio.tasks.gather", "def gather()", "Gathers.", "pass")
    assert entry.renamed("asyncio.gather") == Documented("asyncio.gather", "def gather()", "Gathers.", "pass")
