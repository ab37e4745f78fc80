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
    """A public name of the standard library together with what describes it.

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
        """What the docstring says first, as one line; empty when it opens with nothing readable."""
        return _split_summary(self.docstring)[0]

    def renamed(self, name: str) -> Documented:
        """The same documentation under another qualified name."""
        return replace(self, name=name)

    def text(self, *, with_summary: bool = True) -> str:
        """Signature, docstring and first lines of the body, as the text of a passage.

        Args:
            with_summary: False leaves out the summary, for training: there the summary is the query.
        """
        docstring = self.docstring if with_summary else _split_summary(self.docstring)[1]
        parts = [part for part in (self.signature, docstring, self.body) if part]
        text = "\n".join(parts)[:MAX_TEXT_CHARS].rstrip()
        # Built-ins can consist of a summary alone. The name still says something, and an empty
        # passage would be refused by every store.
        return text or self.name.rsplit(".", 1)[-1]


def _split_summary(docstring: str) -> tuple[str, str]:
    """The summary of a docstring as one line, and the docstring without it."""
    paragraphs = [p for p in docstring.split("\n\n") if p.strip()]
    # C functions of older vintage open with a call: "S.find(sub[, start]) -> int".
    start = 0
    while start < len(paragraphs) - 1 and _is_call(paragraphs[start]):
        start += 1
    if start >= len(paragraphs):
        return "", ""
    lines = paragraphs[start].strip().splitlines()
    while len(lines) > 1 and _is_call(lines[0]):
        lines = lines[1:]
    joined = " ".join(line.strip() for line in lines)
    sentence = re.match(r".{12,}?[.!?](?=\s+[A-Z`(\"']|$)", joined)
    summary = sentence.group(0) if sentence else joined
    if len(summary) > MAX_SUMMARY_CHARS:
        summary = summary[:MAX_SUMMARY_CHARS].rsplit(" ", 1)[0]
    rest = joined[len(summary) :].strip()
    kept = [*paragraphs[:start], *([rest] if rest else []), *paragraphs[start + 1 :]]
    return summary, "\n\n".join(kept)


def _is_call(text: str) -> bool:
    line = text.strip().splitlines()[0]
    return bool(re.match(r"^[\w.\[\]]+\(.*", line)) and (
        "->" in line or line.rstrip().endswith((")", ",", ":"))
    )


def read_source(path: Path, module: str) -> Iterator[Documented]:
    """Every public module, class, function and method of a source file that has a docstring.

    Args:
        path: the file.
        module: the qualified name under which a user imports it.

    Yields:
        Documented names in the order of the file. A file that this Python cannot parse (the standard
        library ships a few such templates) yields nothing.
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
        if _is_public(node.name) and (exported is None or node.name in exported or _is_class(node)):
            yield from _read_definition(node, module, lines)


def exported_names(path: Path) -> frozenset[str] | None:
    """The names in a file's literal `__all__`; None when it has none."""
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
    """Definitions of a block, looking into `if` and `try`, where platforms differ; a name once."""
    seen: set[str] = set()

    def walk(statements: list[ast.stmt]) -> Iterator[Definition]:
        for node in statements:
            if isinstance(node, Definition):
                if node.name not in seen:
                    seen.add(node.name)
                    yield node
            elif isinstance(node, ast.If):
                yield from walk(node.body)
                yield from walk(node.orelse)
            elif isinstance(node, ast.Try):
                yield from walk(node.body)
                for handler in node.handlers:
                    yield from walk(handler.body)
                yield from walk(node.orelse)

    return walk(body)


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
    names: set[str] | None = None
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            value = getattr(node, "value", None)
            if isinstance(value, ast.List | ast.Tuple):
                found = {
                    e.value for e in value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)
                }
                names = (names or set()) | found
            else:
                # Computed in part: what is public cannot be read off, so every name counts.
                return None
    return names


def _is_class(node: Definition) -> bool:
    return isinstance(node, ast.ClassDef)


def _is_public(name: str) -> bool:
    return not name.startswith("_")
