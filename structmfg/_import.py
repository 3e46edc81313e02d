"""Import what a user names on the command line: module:name, or path/to/file.py:name."""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

_named: dict[str, Any] = {}
_files: set[str] = set()  # names of modules that users have named


def import_object(name: str, what: str = "a class of your own") -> Any:
    """Import an attribute of a module; modules in the working folder are found as well.

    Args:
        name: "module:attribute", or "path/to/file.py:attribute".
        what: What the name stands for, for the message.

    Returns:
        The attribute.

    Raises:
        ValueError: The name has another form, there is no such module, file or attribute, or importing it raised an
            error; then the message has the last line of its traceback, and where it was raised.
    """
    place, _, attribute = name.rpartition(":")
    if not (place and attribute):
        raise ValueError(f"{what} is named module:NAME or path/to/file.py:NAME, but was given as {name!r}")
    module = import_module(place)
    if not hasattr(module, attribute):
        if place.endswith(".py"):
            raise ValueError(f"file {place!r} has no {attribute!r}")
        raise ValueError(f"module {place!r} has no {attribute!r}")
    _named[name] = getattr(module, attribute)
    return _named[name]


def import_module(place: str) -> ModuleType:
    """Import a module by its name, or from path/to/file.py; modules in the working folder are found as well.

    Raises:
        ValueError: There is no such module or file, or importing it raised an error.
    """
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else _from_path(place)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        raise ValueError(f"cannot import {place!r}: {type(error).__name__}: {error}{_where(error)}") from error
    _files.add(module.__name__)
    return module


def remember(name: str, value: Any) -> None:
    """Let `named` find an object that the user has handed over under this name."""
    _named[name] = value


def name_of(value: Any) -> str:
    """The name by which the user has named an object, or else module:name; `named` finds it from now on."""
    known = next((name for name, other in _named.items() if other is value), None)
    name = known or f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', type(value).__name__)}"
    remember(name, value)
    return name


def named(name: str, what: str) -> Any:
    """What the user has named in this process, by `import_object` or `remember`.

    A run folder may come from anybody, so a name that it holds is never imported.

    Raises:
        ValueError: The user has not named it.
    """
    if name not in _named:
        raise ValueError(
            f"the {what} {name!r} is no part of the package, and a run folder cannot import it: name it again"
        )
    return _named[name]


def _from_path(module: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return importlib.import_module(module)


def _from_file(path: Path) -> ModuleType:
    """The module in a file, which is run once in a process; it finds other modules in its own folder."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    path = path.resolve(strict=True)
    name = f"{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"  # shadows no module of that name
    if name in sys.modules:
        return sys.modules[name]
    if (folder := str(path.parent)) not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def fault_of_user(error: BaseException) -> str | None:
    """The last line of the user's own code in the traceback of an error, with its message; None if there is none."""
    files = {getattr(module, "__file__", None) for name, module in sys.modules.items() if name in _files}
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if not own:
        return None
    message = str(error).partition("\n")[0]
    return f"{own[-1].filename}, line {own[-1].lineno}, in {own[-1].name}: {type(error).__name__}: {message}"


def _where(error: BaseException) -> str:
    """File and line at which a module's own code raised the error; empty where the module was not found at all."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename and not frame.filename.startswith("<")
    ]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
