"""Reads the documented names of one Python source file through `ast`, without importing it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

BODY_LINES = 8
MAX_TEXT_CHARS = 1500
MAX_SUMMARY_CHARS = 200

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Documented:
    """A public name of the standard library and what its source says about it.

    Attributes:
        name: the qualified name, such as `pathlib.Path.glob`.
        signature: how it is called or declared, on one line; empty for a module.
        docstring: cleaned docstring, indentation removed.
        body: the first lines of its source after the docstring; empty for built-ins.
    """

    name: str
    signature: str
    docstring: str
    body: str = ""

    @property
    def summary(self) -> str:
        """The docstring's first sentence, or first paragraph if that is shorter, as one line.

        Never longer than 200 characters. A call with which it opens (`S.find(sub) -> int`) is passed over.
        """
        return _split_summary(self.docstring)[0]

    def renamed(self, name: str) -> Documented:
        """The same documentation under another qualified name."""
        return replace(self, name=name)

    def text(self, *, with_summary: bool = True) -> str:
        """Signature, docstring and first lines of the body, as the text of a passage.

        Args:
            with_summary: False leaves out the summary, for training, where it is the query.

        Returns:
            At most 1,500 characters; the bare name where nothing else is left.
        """
        docstring = self.docstring if with_summary else _split_summary(self.docstring)[1]
        parts = [part for part in (self.signature, docstring, self.body) if part]
        text = "\n".join(parts)[:MAX_TEXT_CHARS].rstrip()
        # Built-ins can consist of a summary alone. The name still says something, and an empty
        # passage would be refused by every store.
        return text or self.name.rsplit(".", 1)[-1]


def _split_summary(docstring: str) -> tuple[str, str]:
    """The summary of a docstring as one line, and the docstring without it."""
    paragraphs = [p for p in re.split(r"\n\s*\n", docstring) if p.strip()]
    # C functions of older vintage open with a call: "S.find(sub[, start]) -> int".
    start = 0
    while start < len(paragraphs) - 1 and _is_call(paragraphs[start]):
        start += 1
    if not paragraphs:
        return "", ""
    lines = paragraphs[start].strip().splitlines()
    calls = 0
    while calls < len(lines) - 1 and _is_call(lines[calls]):
        calls += 1
    joined = " ".join(line.strip() for line in lines[calls:])
    sentence = re.match(r".{12,}?[.!?](?=\s+[A-Z`(\"']|$)", joined)
    summary = sentence.group(0) if sentence else joined
    if len(summary) > MAX_SUMMARY_CHARS:
        summary = summary[:MAX_SUMMARY_CHARS].rsplit(" ", 1)[0]
    rest = "\n".join([*lines[:calls], joined[len(summary) :].strip()]).strip()
    kept = [*paragraphs[:start], rest, *paragraphs[start + 1 :]]
    return summary, "\n\n".join(part for part in kept if part)


def _is_call(text: str) -> bool:
    line = text.strip().splitlines()[0]
    return bool(re.match(r"^[\w.\[\]]+\(.*", line)) and (
        "->" in line or line.rstrip().endswith((")", ",", ":"))
    )


def read_source(path: Path, module: str) -> Iterator[Documented]:
    """Every public module, class, function and method of a source file that has a docstring.

    Where the file has an `__all__` that can be read off, functions that are not in it are not public.

    Args:
        path: the file.
        module: the qualified name under which a user imports it.

    Yields:
        Documented names in the order of the file. A file that this Python cannot parse (the standard
        library ships a few such templates) yields nothing.

    Example:
        >>> found = {entry.name: entry for entry in read_source(Path(inspect.__file__), "inspect")}
        >>> found["inspect.getdoc"].summary
        'Get the documentation string for an object.'
    """
    try:
        tree = ast.parse(source := path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    lines = source.splitlines()
    if docstring := ast.get_docstring(tree):
        yield Documented(module, "", docstring)
    exported = _literal_all(tree)
    for node in _definitions(tree.body):
        # Classes count though not exported: users meet the objects that public functions return.
        if _is_public(node.name) and (
            exported is None or node.name in exported or isinstance(node, ast.ClassDef)
        ):
            yield from _read_definition(node, module, lines)


def exported_names(path: Path) -> frozenset[str] | None:
    """The names in a file's `__all__`; None when it has none, or one that is computed."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return None
    names = _literal_all(tree)
    return None if names is None else frozenset(names)


def _read_definition(node: Definition, prefix: str, lines: list[str]) -> Iterator[Documented]:
    name = f"{prefix}.{node.name}"
    if docstring := ast.get_docstring(node) or _constructor_docstring(node):
        yield Documented(name, _signature(node), docstring, _first_body_lines(node, lines))
    if isinstance(node, ast.ClassDef):
        for child in _definitions(node.body):
            if _is_public(child.name):
                yield from _read_definition(child, name, lines)


def _constructor_docstring(node: Definition) -> str | None:
    """What `__init__` says, for a class that says nothing itself (`ThreadPoolExecutor` up to 3.12)."""
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.FunctionDef) and child.name == "__init__":
                return ast.get_docstring(child)
    return None


def _definitions(body: list[ast.stmt]) -> Iterator[Definition]:
    """Definitions of a block; of a name that is defined several times, for several platforms, the first."""
    seen: set[str] = set()
    for node in _statements(body):
        if isinstance(node, Definition) and node.name not in seen:
            seen.add(node.name)
            yield node


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a block, those inside its `if` and `try` included, where platforms differ."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            handled = [statement for handler in node.handlers for statement in handler.body]
            yield from _statements([*node.body, *handled, *node.orelse])


def _signature(node: Definition) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    keyword = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{keyword} {node.name}({ast.unparse(node.args)}){returns}"


def _first_body_lines(node: Definition, lines: list[str]) -> str:
    if isinstance(node, ast.ClassDef) or len(node.body) < 2:
        return ""
    first = node.body[1].lineno - 1
    last = min(first + BODY_LINES, node.end_lineno or first)
    return inspect.cleandoc("\n".join(lines[first:last]))


def _literal_all(tree: ast.Module) -> set[str] | None:
    """The names of `__all__`; None when there is none, or when a part of it is computed.

    What is computed cannot be read off without running it, so every public name has to count.
    """
    names: set[str] | None = None
    for node in _statements(tree.body):
        value = _added_to_all(node)
        if value is None:
            continue
        try:
            added = ast.literal_eval(value)
        except ValueError:
            return None
        names = (names or set()) | ({added} if isinstance(added, str) else set(added))
    return names


def _added_to_all(node: ast.stmt) -> ast.expr | None:
    """What a statement puts into `__all__`: `__all__ = …`, `__all__ += …`, `__all__.extend(…)`, `append`."""
    if isinstance(node, ast.Assign) and any(_is_all(target) for target in node.targets):
        return node.value
    if isinstance(node, ast.AugAssign | ast.AnnAssign) and _is_all(node.target):
        return node.value
    if isinstance(node, ast.Expr) and isinstance(call := node.value, ast.Call) and len(call.args) == 1:
        method = call.func
        if (
            isinstance(method, ast.Attribute)
            and _is_all(method.value)
            and method.attr in {"append", "extend"}
        ):
            return call.args[0]
    return None


def _is_all(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "__all__"


def _is_public(name: str) -> bool:
    return not name.startswith("_")
