"""User code by import path, `package.module:function`, and the hash of the source behind it."""

import ast
import difflib
import hashlib
import importlib
import importlib.util
import os
import pkgutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from dpo_core.errors import ConfigError

_RATCHET = {"console", "dpo_core", "flows", "generation", "labeling", "reporting"}
"""Ratchet's own packages, whose versions dpo_core.campaign.identity covers."""


def load_function(path: str) -> Callable[..., Any]:
    """Import `package.module:function`; the current directory is searched too.

    Raises ConfigError when the path has no colon, when the module or the name does not exist or is
    not callable, and when importing the module raises.
    """
    module_name, name = _split(path)
    _find(path, module_name)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(
            f"{path}: importing {module_name} raised {type(error).__name__}: {error}",
            f"Make `python -c 'import {module_name}'` work.",
        ) from error
    function = getattr(module, name, None)
    if function is None:
        raise ConfigError(f"{path}: {module_name} has no {name!r}", _near(name, dir(module)))
    if not callable(function):
        raise ConfigError(f"{path} is a {type(function).__name__}", "Name a function.")
    return function  # type: ignore[no-any-return]


def find_function(path: str) -> None:
    """Raise ConfigError unless the module of `package.module:function` exists and has that name.

    The module is not executed, so it may need libraries that this process must not load.
    """
    module_name, name = _split(path)
    spec = _find(path, module_name)
    if (spec.origin or "").endswith(".py"):
        known = _names(path, Path(spec.origin or "").read_bytes())
        if known is not None and name not in known:
            raise ConfigError(f"{path}: {module_name} has no {name!r}", _near(name, sorted(known)))


def module_file(path: str) -> str:
    """The file of the module of `package.module:function`, absolute, symbolic links resolved.

    The module is not executed. Raises ConfigError when it is not found.
    """
    module_name, _ = _split(path)
    return os.path.realpath(_find(path, module_name).origin or module_name)


def source_hash(path: str) -> str:
    """SHA-256, 64 hex characters, of the source that `package.module:function` runs.

    It covers the function's module and, recursively, the modules it imports from its own top-level
    package or from the folder that contains it. Python's library, installed packages and Ratchet
    are not covered. Nothing is executed, so modules that are loaded without `import`, and files
    that a function reads, are not seen. Raises ConfigError when the module is not found.
    """
    return _hash(_covered(path))


def list_covered_modules(path: str) -> list[str]:
    """The names of the modules that `source_hash` covers."""
    return sorted(_covered(path))


def source_hash_of_package(path: str) -> str:
    """`source_hash` over the modules of the function's own top-level package only."""
    module_name, _ = _split(path)
    _find(path, module_name)
    return _hash(_sources(path, module_name, lambda _: False))


def _covered(path: str) -> dict[str, bytes]:
    module_name, _ = _split(path)
    _find(path, module_name)
    home = _home(module_name)
    return _sources(path, module_name, lambda spec: _is_users(spec, home))


def _hash(sources: Mapping[str, bytes]) -> str:
    hashed = hashlib.sha256()
    for name in sorted(sources):
        # Lengths keep (name, source) sequences from running into one another.
        hashed.update(f"{name} {len(sources[name])}\n".encode() + sources[name])
    return hashed.hexdigest()


def _split(path: str) -> tuple[str, str]:
    module_name, colon, name = path.partition(":")
    parts = [*module_name.split("."), name]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ConfigError(f"{path!r} is not an import path", "Write it as package.module:function.")
    return module_name, name


def _names(path: str, source: bytes) -> set[str] | None:
    """Every name that the source defines, or None when it may define others at run time."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ConfigError(f"{path}: {error}", "Fix the module.") from None
    names = {"__getattr__"} if b"__getattr__" in source else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
    return None if names & {"*", "__getattr__"} else names


def _find(path: str, module_name: str) -> ModuleSpec:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        spec = _spec(module_name)
    except Exception as error:
        raise ConfigError(
            f"{path}: importing the package of {module_name} raised {type(error).__name__}: {error}"
        ) from error
    if spec is None:
        raise ConfigError(f"{path}: there is no module {module_name}", _near_module(module_name))
    return spec


def _spec(module_name: str) -> ModuleSpec | None:
    """The module's spec, or None. Like `find_spec`, it imports the packages above the module."""
    parts = module_name.split(".")
    for end in range(1, len(parts) + 1):
        parent = ".".join(parts[:end])
        spec = importlib.util.find_spec(parent)
        if spec is None or (end < len(parts) and spec.submodule_search_locations is None):
            return None
    return spec


def _near_module(module_name: str) -> str:
    package, _, last = module_name.rpartition(".")
    parent = _spec(package) if package else None
    folders = (parent.submodule_search_locations or []) if parent else [os.getcwd()]
    names = [module.name for module in pkgutil.iter_modules([str(folder) for folder in folders])]
    remedy = _near(last, names)
    return remedy or f"Searched: the current directory {os.getcwd()} and Python's own path."


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, [k for k in known if not k.startswith("__")], n=3)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _sources(path: str, module_name: str, counts: Callable[[ModuleSpec], bool]) -> dict[str, bytes]:
    """Module name → source, of `module_name` and of its imports from its own top-level package or
    for which `counts` is true."""
    package = module_name.partition(".")[0]
    sources: dict[str, bytes] = {}
    pending, seen = [module_name], set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        spec = _find_spec(name)
        if spec is None or not (spec.origin or "").endswith(".py"):
            continue
        if name.partition(".")[0] != package and not counts(spec):
            continue
        sources[name] = Path(spec.origin or "").read_bytes()
        try:
            pending += _imports(sources[name], spec)
        except SyntaxError as error:
            raise ConfigError(f"{path}: {spec.origin}: {error}", "Fix the module.") from None
    return sources


def _find_spec(module_name: str) -> ModuleSpec | None:
    """The module's spec, or None. Unlike `find_spec`, it imports nothing."""
    top, *rest = module_name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module that was not loaded from a file, such as __main__
        return None
    for name in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{name}", spec.submodule_search_locations)
    return spec


def _home(module_name: str) -> Path | None:
    """The folder that contains the module's top-level package; None for an installed package."""
    spec = _find_spec(module_name.partition(".")[0])
    if spec is None:
        return None
    places = spec.submodule_search_locations
    home = Path(next(iter(places)) if places else spec.origin or "").resolve().parent
    return None if _is_library(home) else home


def _is_users(spec: ModuleSpec, home: Path | None) -> bool:
    """Whether a module is the user's own, below the folder of the function's package."""
    if home is None or spec.name.partition(".")[0] in _RATCHET:
        return False
    file = Path(spec.origin or "").resolve()
    return file.is_relative_to(home) and not _is_library(file)


def _is_library(path: Path) -> bool:
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    libraries = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
    return any(path.is_relative_to(Path(library).resolve()) for library in libraries)


def _imports(source: bytes, spec: ModuleSpec) -> Iterator[str]:
    """Names that may be modules: for `from a.b import c` both a.b and a.b.c, and their packages.

    Packages above a module run when it is imported, so their source counts too.
    """
    yield from _with_parents(spec.name)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, spec)
            for alias in node.names:
                yield from _with_parents(f"{base}.{alias.name}")


def _with_parents(module_name: str) -> Iterator[str]:
    parts = module_name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _absolute(node: ast.ImportFrom, spec: ModuleSpec) -> str:
    """The module of a `from` import, leading dots resolved."""
    relative = "." * node.level + (node.module or "")
    return importlib.util.resolve_name(relative, spec.parent)
