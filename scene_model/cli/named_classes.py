"""The classes that users name themselves: a checkpoint may name those of the same modules, too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from scene_model.cli.config_file import read_config
from scene_model.errors import UserError
from scene_model.saved_classes import check_saved

_CLASS_PATH = ".class_path"


def named_modules(
    arguments: Sequence[str], contents: Sequence[Mapping[str, Any]], saved: Mapping[str, Any]
) -> set[str]:
    """The modules of the classes that a command names.

    Args:
        arguments: of the command.
        contents: of its config files.
        saved: the options of its checkpoint; where these hold a class, a flag's bare text is one.
    """
    keys = {key for key, value in saved.items() if any(each.endswith(_CLASS_PATH) for each, _ in _texts(value, key))}
    texts = [text for content in contents for text in _texts(content)]
    texts += [text for flag, value in _flags(arguments) for text in _texts(value, flag)]
    paths = [text for key, text in texts if key in keys or key.endswith(_CLASS_PATH)]
    return {path.rpartition(".")[0] for path in paths}


def own_config(checkpoint: Path, root: Path) -> list[dict[str, Any]]:
    """The config of the run that a checkpoint belongs to, where it is a run below the user's folder of runs."""
    config = checkpoint.absolute().parent.parent / "config.yaml"
    return [read_config(str(config))] if config.is_relative_to(root.absolute()) and config.is_file() else []


def check_classes(saved: Mapping[str, Any], owners: Mapping[str, Callable[..., Any]], modules: Collection[str]) -> None:
    """Sees that the options of a checkpoint bring no code along.

    Args:
        saved: the options, by their whole keys.
        owners: the class whose arguments they are, by the first part of the keys.
        modules: those that may be imported.

    Raises:
        UserError: they do, or would.
    """
    for group, owner in owners.items():
        prefix = f"{group}."
        options = {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}
        try:
            check_saved(options, owner, prefix, modules)
        except UserError as error:
            raise UserError(f"--ckpt_path: the checkpoint's {error}") from error


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Flags without their dashes, and their values, which may be YAML."""
    for position, argument in enumerate(arguments):
        key, is_joined, value = argument.partition("=")
        following = arguments[position + 1 : position + 2]
        for text in [value] if is_joined else following:
            try:
                yield key.lstrip("-").rstrip("+"), yaml.safe_load(text)
            except (yaml.YAMLError, ValueError):
                continue


def _texts(content: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts below a key, with keys of their own; the items of a list have that of the list."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(content, list | tuple):
        for item in content:
            yield from _texts(item, key)
    elif isinstance(content, str):
        yield key, content
