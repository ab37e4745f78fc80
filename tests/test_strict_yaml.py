from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.errors import InputError
from limbeck.strict_yaml import read_yaml, set_key, set_value


def test_a_broken_line_is_named(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("data:\n  kind: stdlib\n name: x\n")
    with pytest.raises(InputError, match=r"a\.yaml:3: not readable as YAML") as caught:
        read_yaml(file)
    assert caught.value.line == 3


def test_a_key_that_comes_twice_is_an_error(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("data: {kind: stdlib}\nseed: 1\nname: x\nseed: 2\n")
    with pytest.raises(InputError, match=r"a\.yaml:4: .*'seed' comes twice"):
        read_yaml(file)


def test_yes_and_no_are_words_and_true_and_false_are_not(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("yes: [yes, Yes]\nno: [NO, off]\nlanguage: no\nswap: true\nother: False\n")
    content = {"yes": ["yes", "Yes"], "no": ["NO", "off"], "language": "no", "swap": True, "other": False}
    assert read_yaml(file) == content
    set_key(content, "yes=[on]")
    assert content["yes"] == ["on"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("? [a, b]\n: 1", "a key is a list or a mapping"),
        ("day: 2024-13-45", "'2024-13-45' is no timestamp"),
        ("seed: !!int one", "'one' is no int"),
        ("seed: !!bool perhaps", "'perhaps' is no bool"),
        ("seed: !!timestamp soon", "'soon' is no timestamp"),
    ],
)
def test_what_yaml_cannot_make_a_value_of_is_an_error(tmp_path: Path, line: str, problem: str):
    file = tmp_path / "a.yaml"
    file.write_text(f"name: x\n{line}\n")
    with pytest.raises(InputError, match=rf"a\.yaml:2: .*{problem}"):
        read_yaml(file)


def test_a_value_nested_without_end_is_an_error(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("name: " + "[" * 5000 + "\n")
    with pytest.raises(InputError, match="nested too deeply"):
        read_yaml(file)
    with pytest.raises(InputError, match="cannot read the value"):
        set_key({}, "name=" + "[" * 5000)


def test_bytes_that_are_not_utf8_are_an_error(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_yaml(file)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("a=2", {"a": 2, "b": {"c": 1}, "d": [{"e": 1}, 5]}),
        ("b.c=x", {"a": 1, "b": {"c": "x"}, "d": [{"e": 1}, 5]}),
        ("new.deep.key=null", {"a": 1, "b": {"c": 1}, "d": [{"e": 1}, 5], "new": {"deep": {"key": None}}}),
        ("d.0.e=[1, 2]", {"a": 1, "b": {"c": 1}, "d": [{"e": [1, 2]}, 5]}),
        ("d.1={k: v}", {"a": 1, "b": {"c": 1}, "d": [{"e": 1}, {"k": "v"}]}),
        ("b=a=b", {"a": 1, "b": "a=b", "d": [{"e": 1}, 5]}),
        ("b.c=", {"a": 1, "b": {"c": None}, "d": [{"e": 1}, 5]}),
    ],
)
def test_a_setting_changes_one_key(setting: str, expected: dict[str, object]):
    content = {"a": 1, "b": {"c": 1}, "d": [{"e": 1}, 5]}
    set_key(content, setting)
    assert content == expected


def test_an_empty_section_is_filled():
    content = {"training": None}
    set_key(content, "training.epochs=2")
    assert content == {"training": {"epochs": 2}}


@pytest.mark.parametrize(
    "setting", ["epochs", "=2", "a..b=1", ".=1", "a.b=[", "a.b=1", "d.7=1", "d.x=1", "a=: :"]
)
def test_a_setting_that_cannot_be_read_is_an_error(setting: str):
    content = {"a": 1, "d": [1]}
    with pytest.raises(InputError, match="cannot"):
        set_key(content, setting)
    assert content == {"a": 1, "d": [1]}


def test_a_value_is_set_as_it_is():
    content = {"a": {"b": 1}, "d": [1]}
    set_value(content, "a.b", "a=b")
    set_value(content, "d. 0", None)
    set_value(content, "e.f", {"g.h": [1]})
    assert content == {"a": {"b": "a=b"}, "d": [None], "e": {"f": {"g.h": [1]}}}


@pytest.mark.parametrize("key", ["", "a..b", "a.b.c", "d.1"])
def test_a_key_that_leads_nowhere_is_an_error(key: str):
    content = {"a": {"b": 1}, "d": [1]}
    with pytest.raises(InputError, match="cannot"):
        set_value(content, key, 2)
    assert content == {"a": {"b": 1}, "d": [1]}
