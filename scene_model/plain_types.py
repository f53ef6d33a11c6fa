"""Whether values that come from files are what annotations ask for."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import PurePath
from types import UnionType
from typing import Any, Literal


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union, else the type itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value has a type, as far as that is seen without looking into it.

    Files hold lists for tuples, texts for paths and the members of enumerations, keys and values for objects.

    >>> fits([1, 2], tuple[int, int] | None), fits("1", int), fits(1, float), fits(True, int)
    (True, False, True, False)
    """
    return any(_fits_one(value, each) for each in alternatives(hint))


def _fits_one(value: Any, hint: Any) -> bool:
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is Literal:
        return value in arguments
    if kind in (Any, object) or not isinstance(kind, type):
        return True
    if isinstance(value, bool) or kind in (str, bool):
        return isinstance(value, kind) and kind in (bool, str)
    if kind is float:
        return isinstance(value, int | float)
    if isinstance(value, str):
        return issubclass(kind, Enum | PurePath)
    if isinstance(value, list | tuple) and issubclass(kind, Iterable):
        return kind is not tuple or not arguments or Ellipsis in arguments or len(arguments) == len(value)
    is_object = kind is not int and not issubclass(kind, Iterable)
    return isinstance(value, kind) or (isinstance(value, Mapping) and is_object)
