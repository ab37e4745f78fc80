"""YAML for people: every key once, errors with the line, and settings from the command line on top."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from limbeck.errors import InputError

_BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice, of which YAML would silently take the last.

    As in YAML 1.2, `yes`, `no`, `on` and `off` are words: keys of a prompt, answers of a model, Norwegian.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag != _BOOL or first in "tTfF"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key is a list or a mapping", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key.value}' comes twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        # A value that has the look or the tag of a date or a number and is none, such as 2024-13-45.
        except (ArithmeticError, AttributeError, LookupError, ValueError) as error:
            raise yaml.MarkedYAMLError(
                problem=f"'{str(node.value)[:40]}' is no {node.tag.rpartition(':')[2]}",
                problem_mark=node.start_mark,
            ) from error


def _loaded(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except RecursionError as error:
        raise yaml.YAMLError from error


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        InputError: not UTF-8, not YAML, or a key that comes twice; it names the line.
    """
    try:
        return _loaded(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError("this is not UTF-8", path=path, expected="a YAML file in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it is nested too deeply, or holds a control character"
        raise InputError(
            f"not readable as YAML ({problem})",
            path=path,
            line=None if mark is None else mark.line + 1,
            expected="key: value lines, each key once",
        ) from error


def set_key(content: dict[str, Any], setting: str) -> None:
    """Sets one key of a file's content, in place; sections on the way are made.

    Args:
        content: what the file says.
        setting: `key=value`, with dots between levels, numbers from 0 for the entries of a list, and the
            value as in YAML.

    Raises:
        InputError: the setting cannot be read, or leads through something that has no keys.

    Example:
        >>> content = {"training": {"epochs": 1}}
        >>> set_key(content, "training.epochs=2")
        >>> content
        {'training': {'epochs': 2}}
    """
    key, separator, text = setting.partition("=")
    if not separator or not all(part.strip() for part in key.split(".")):
        raise InputError(
            f"cannot read the setting '{setting}'", expected="key=value, such as training.epochs=2"
        )
    try:
        value = _loaded(text)
    except yaml.YAMLError as error:
        raise InputError(
            f"cannot read the value of the setting '{setting}'",
            expected="a value as in YAML, such as 2, zh, null, [bm25, dense] or {kind: d2llm}",
        ) from error
    set_value(content, key, value)


def set_value(content: dict[str, Any], key: str, value: Any) -> None:
    """Sets one key of a file's content to a value, in place; sections on the way are made.

    Args:
        content: what the file says.
        key: with dots between levels, and numbers from 0 for the entries of a list.
        value: what it says from now on.

    Raises:
        InputError: a level has no name, or the key leads through something that has no keys.

    Example:
        >>> content = {"members": [{"kind": "bm25"}]}
        >>> set_value(content, "members.0.kind", "run")
        >>> content
        {'members': [{'kind': 'run'}]}
    """
    parts = [part.strip() for part in key.split(".")]
    if not all(parts):
        raise InputError(
            f"cannot read the key '{key}'", expected="names with dots between them, such as training.epochs"
        )
    level: Any = content
    for part in parts[:-1]:
        at = _place(level, part, key)
        below = level.get(at) if isinstance(level, dict) else level[at]
        # An empty section is null in YAML.
        level[at] = below = {} if below is None else below
        level = below
    level[_place(level, parts[-1], key)] = value


def _place(level: Any, part: str, key: str) -> str | int:
    if isinstance(level, dict):
        return part
    if isinstance(level, list) and part.isdigit() and int(part) < len(level):
        return int(part)
    raise InputError(
        f"cannot set '{key}': there is no place for '{part}'",
        expected="keys of sections, or the number of an entry of a list, from 0",
    )
