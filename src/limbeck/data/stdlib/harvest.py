"""Finds the documented public names of the standard library that runs this program.

Source files are read through `ast`, built-in and extension modules through `inspect`. A name that a
package exports from a submodule is listed where a user would import it from: `asyncio.gather` and not
`asyncio.tasks.gather`.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from limbeck.data.stdlib.source import Documented, exported_names, read_source

#: Not for users of the library: tests, an editor, frozen tools for Python 2 and for packaging (gone in
#: 3.12), one module a codec, jokes that act on import.
EXCLUDED = frozenset(
    {"antigravity", "distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "this"}
    | {"turtledemo"}
)

#: Modules that are public under another name, or twins of one that is.
RENAMED = {"genericpath": "os.path", "posixpath": "os.path", "_collections_abc": "collections.abc"}
SKIPPED_TWINS = frozenset(
    {"nt", "ntpath", "nturl2path", "opcode", "posix", "sre_compile", "sre_constants", "sre_parse"}
)

#: Where an object lies in memory, in the text of a default value; another one in each process.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_MODULE_ARGUMENT = re.compile(r"^\(\$module(, /)?(, )?")


def harvest() -> list[Documented]:
    """Every documented public module, class, function and method, sorted by qualified name.

    Returns:
        About 7,000 entries with distinct names; which ones depends on the Python version and the platform.

    Example:
        >>> names = {entry.name for entry in harvest()}
        >>> {"itertools.groupby", "asyncio.gather", "pathlib.Path.glob"} <= names
        True
    """
    found: dict[str, Documented] = {}
    for entry in _from_source():
        found.setdefault(entry.name, entry)
    for entry in _from_runtime():
        found.setdefault(entry.name, entry)
    return [found[name] for name in sorted(found)]


def _from_source() -> Iterator[Documented]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.glob("*.py")):
        if (module := _public_module(path.stem)) is not None:
            yield from read_source(path, module)
    for init in sorted(root.glob("*/__init__.py")):
        if init.parent.name in sys.stdlib_module_names and _public_module(init.parent.name) is not None:
            yield from _from_package(init.parent, init.parent.name)


def _from_package(folder: Path, package: str) -> Iterator[Documented]:
    yield from read_source(folder / "__init__.py", package)
    exported = _runtime_exports(package) | (exported_names(folder / "__init__.py") or frozenset())
    for path in sorted(folder.glob("*.py")):
        if path.stem.startswith(("__", "windows_")):
            continue
        module = f"{package}.{path.stem}"
        for entry in read_source(path, module):
            # The part after the submodule: "gather", or "Task.cancel".
            local = entry.name[len(module) + 1 :]
            if local.split(".")[0] in exported:
                yield entry.renamed(f"{package}.{local}")
            elif not path.stem.startswith("_"):
                yield entry
    for init in sorted(folder.glob("*/__init__.py")):
        if not init.parent.name.startswith("_") and init.parent.name not in {"test", "tests"}:
            yield from _from_package(init.parent, f"{package}.{init.parent.name}")


def _runtime_exports(package: str) -> frozenset[str]:
    """Public names of an imported package that are not its submodules."""
    module = _import(package)
    if module is None:
        return frozenset()
    members = {n: v for n, v in vars(module).items() if not n.startswith("_") and not inspect.ismodule(v)}
    return frozenset(members)


def _from_runtime() -> Iterator[Documented]:
    # Built-ins first: what other modules pass on of them (`io.open`) is then known.
    seen: set[int] = set()
    for name in ["builtins", *sorted(sys.stdlib_module_names - {"builtins"}), "os.path"]:
        public = _public_module(name) if name != "os.path" else name
        module = None if public is None else _import(name)
        if module is not None and public is not None:
            yield from _from_module(module, public, seen)


def _from_module(module: ModuleType, name: str, seen: set[int]) -> Iterator[Documented]:
    if (docstring := _docstring(module)) is not None:
        yield Documented(name, "", docstring)
    members = _public_members(module)
    for attribute, value in sorted(members.items()):
        alias = _is_alias(attribute, value, members)
        if id(value) in seen or alias or _defined_elsewhere(value, module.__name__):
            continue
        seen.add(id(value))
        yield from _from_object(value, f"{name}.{attribute}")


def _public_members(module: ModuleType) -> dict[str, object]:
    """Routines and classes of a module that are for its users."""
    exported = getattr(module, "__all__", None)
    members: dict[str, object] = {}
    for attribute in dir(module):
        value = inspect.getattr_static(module, attribute, None)
        if attribute.startswith("_") or not (inspect.isroutine(value) or inspect.isclass(value)):
            continue
        # `hashlib` leaves `scrypt` out of its `__all__`, because a build may lack it.
        accelerated = getattr(value, "__module__", None) == f"_{module.__name__}"
        if exported is None or attribute in exported or accelerated:
            members[attribute] = value
    return members


def _is_alias(attribute: str, value: object, members: Mapping[str, object]) -> bool:
    """Whether a module has the same thing under its own name too: `array.ArrayType` is `array.array`."""
    name = getattr(value, "__name__", attribute)
    return name != attribute and name in members


def _defined_elsewhere(value: object, module: str) -> bool:
    """Whether an object belongs to another public module that lists it itself."""
    owner = getattr(value, "__module__", None) or module
    if inspect.ismethod(value) or module == "builtins":
        # `secrets.choice` is a method of a generator that the module made.
        return False
    # `os` passes on what `posix` defines, and users know it as `os`.
    return owner != module and not owner.startswith((f"{module}.", "_")) and owner not in {"posix", "nt"}


def _from_object(value: object, name: str) -> Iterator[Documented]:
    if (docstring := _docstring(value)) is not None:
        yield Documented(name, _signature(value, name), docstring)
    if inspect.isclass(value):
        for attribute, member in sorted(_own_members(value).items()):
            if attribute.startswith("_") or not (inspect.isroutine(member) or isinstance(member, property)):
                continue
            if (docstring := _docstring(member)) is not None:
                yield Documented(f"{name}.{attribute}", _signature(member, attribute), docstring)


def _own_members(value: type) -> dict[str, object]:
    """Members of a class and of its bases in private modules: `socket.socket.connect` lives in `_socket`."""
    members: dict[str, object] = {}
    for base in value.__mro__:
        if base is value or base.__module__.startswith("_"):
            members = {**vars(base), **members}
    return members


def _docstring(value: object) -> str | None:
    docstring = getattr(value, "__doc__", None)
    return inspect.cleandoc(docstring) if isinstance(docstring, str) and docstring.strip() else None


def _signature(value: object, name: str) -> str:
    short = name.rsplit(".", 1)[-1]
    target = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if isinstance(value, property):
        return f"{short} (property)"
    keyword = "class" if inspect.isclass(value) else "def"
    if inspect.isfunction(target):
        return f"{keyword} {short}{_ADDRESS.sub('', str(inspect.signature(target)))}"
    # Many C functions carry no signature; their docstring then opens with one. `$` marks what the function
    # is bound to, and a module is nothing that a user would pass.
    written = " ".join((getattr(target, "__text_signature__", None) or "").split())
    return f"{keyword} {short}{_MODULE_ARGUMENT.sub('(', written).replace('$', '')}"


def _public_module(name: str) -> str | None:
    """Under which name a top-level module is public; None when it is not."""
    if name in RENAMED:
        return RENAMED[name]
    if (
        name.startswith("_")
        or name in EXCLUDED
        or name in SKIPPED_TWINS
        or name not in sys.stdlib_module_names
    ):
        return None
    return name


def _import(name: str) -> ModuleType | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except (ImportError, AttributeError, OSError):
            # Modules of another platform, and those whose C library this Python was built without.
            return None
