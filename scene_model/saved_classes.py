"""Which classes the options in a checkpoint may name: a file from elsewhere must not decide what code is imported.

Classes that are imported already are free to be named, others only where the user has named their module. Nothing else
in the options makes their parser import a module or read a file, either, and each has the type of its argument.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from pathlib import PurePath
from pydoc import ErrorDuringImport, locate
from types import NoneType
from typing import Any

from scene_model.errors import UserError
from scene_model.plain_types import alternatives, fits

_PLAIN = (str, int, float, NoneType, list, tuple, dict, Enum, PurePath)


def check_saved(
    options: Mapping[str, Any], owner: Callable[..., Any], prefix: str = "", modules: Collection[str] = ()
) -> None:
    """Sees that options need no code that nobody but their file has named.

    Args:
        options: as a YAML file has them.
        owner: whose arguments they are; its annotations say where objects belong.
        prefix: of the keys, for what is said of them, such as "data.".
        modules: names of the modules that may be imported.

    Raises:
        UserError: an option names a class of another module that is not imported, or one that cannot be imported; it
            is of another type than its argument, or nothing that could be an option.
    """
    hints = _hints(owner)
    for name, value in options.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise UserError(f"{prefix}{name}: no option has such a name")
        _check(value, hints.get(name, Any), f"{prefix}{name}", modules)


def _check(value: Any, hint: Any, key: str, modules: Collection[str]) -> None:
    if not fits(value, hint):
        expected = getattr(hint, "__name__", None) if not typing.get_args(hint) else None
        raise UserError(f"{key}: expected {expected or hint}, found {value!r:.80}")
    objects = [each for each in alternatives(hint) if _is_object(each)]
    if isinstance(value, Mapping) and "class_path" in value:
        owner = _resolve(value["class_path"], key, modules)
        if not isinstance(owner, type) or (objects and not issubclass(owner, tuple(objects))):
            names = " or ".join(each.__name__ for each in objects) or "class"
            raise UserError(f"{key}: expected a {names}, found {value['class_path']}")
        arguments = value.get("init_args") or {}
        if value.keys() - {"class_path", "init_args"} or not isinstance(arguments, Mapping):
            raise UserError(f"{key}: expected class_path and init_args, and keys and values in these")
        check_saved(arguments, owner, f"{key}.", modules)
    elif isinstance(value, Mapping) and objects:
        check_saved(value, objects[0], f"{key}.", modules)
    elif isinstance(value, Mapping | list | tuple):
        inner = [argument for each in alternatives(hint) for argument in typing.get_args(each) if argument is not ...]
        for item in value.values() if isinstance(value, Mapping) else value:
            _check(item, typing.Union[tuple(inner)] if inner else Any, key, modules)  # noqa: UP007
    elif isinstance(value, str) and (_holds_objects(hint) or (hint is Any and "class_path" in value)):
        raise UserError(f"{key}: expected keys and values, found the text {value[:80]!r}")


def _resolve(path: Any, key: str, modules: Collection[str]) -> Any:
    """What a class path names."""
    if not isinstance(path, str):
        raise UserError(f"{key}: expected a class path such as package.Class, found {path!r}")
    found = _imported(path)
    if found is not None:
        return found
    if path.rpartition(".")[0] not in modules:
        raise UserError(
            f"{key} is of class {path[:200]}, whose module is not imported: a checkpoint alone runs no code; if you "
            f"trust it, name the class, with --{key} {path[:200]} or in a --config; in Python import its module, for a "
            "replay name that with --import"
        )
    try:
        found = locate(path)
    except ErrorDuringImport as error:
        raise UserError(f"{key} is of class {path}, which cannot be imported ({error})") from error
    if found is None:
        raise UserError(
            f"{key} is of class {path}, which cannot be imported here; go to the folder that holds its package, or "
            "name that folder in PYTHONPATH"
        )
    return found


def _imported(path: str) -> Any:
    """What a path names in the modules that are imported, without importing any; None where there is none."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:count]))
        if found is not None:
            for part in parts[count:]:
                own = found is sys.modules[__package__]  # which looks its names up when they are asked for
                found = getattr(found, part, None) if own else getattr(found, "__dict__", {}).get(part)
            return found
    return None


def _hints(owner: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of the arguments, those that base classes take included."""
    classes = reversed(owner.__mro__) if isinstance(owner, type) else ()
    hints: dict[str, Any] = {}
    for function in [*(vars(each)["__init__"] for each in classes if "__init__" in vars(each)), owner]:
        try:
            hints |= typing.get_type_hints(function) if not isinstance(function, type) else {}
        except (NameError, TypeError):  # of names that only type checkers import, and of what is written in C
            continue
    return hints


def _is_object(hint: Any) -> bool:
    """Whether a type is a class of objects, which the parser builds."""
    is_class = isinstance(hint, type) and not typing.get_args(hint) and hint not in (Any, object)
    return is_class and not issubclass(hint, _PLAIN)


def _holds_objects(hint: Any) -> bool:
    """Whether such a class stands anywhere in a type."""
    return _is_object(hint) or any(map(_holds_objects, typing.get_args(hint)))
