"""Config files: YAML that is checked for what the parser behind it takes in silence, or takes forever."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from scene_model.errors import UserError

_MAX_BYTES = 2**20
_MAX_VALUES, _MAX_DEPTH = 100_000, 100


class _Loader(yaml.SafeLoader):
    """Refuses keys that stand twice, of which PyYAML takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_config(path: str) -> dict[str, Any]:
    """The keys and values of a config file.

    Raises:
        UserError: it is missing, unreadable, malformed, or holds something else than keys and values, or keys that
            stand twice, or more than a configuration can need.
    """
    content = _parse(_read(path), path)
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise UserError(f"--config: expected keys such as `model:` and `data:` in {path}, found {found}")
    for key in content:
        if not isinstance(key, str):
            raise UserError(f"--config: expected keys such as `model:` and `data:` in {path}, found {key!r}")
    return content


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UserError(f"--config: there is no file {path}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"--config: cannot read {path} ({getattr(error, 'strerror', None) or error})") from error
    if len(text) > _MAX_BYTES:
        raise UserError(f"--config: {path} is no configuration, it has more than {_MAX_BYTES} bytes")
    return text


def _parse(text: bytes, path: str) -> Any:
    try:
        content = yaml.load(text.decode("utf-8-sig"), _Loader)
    except UnicodeDecodeError as error:
        raise UserError(f"--config: cannot read {path} (it is no text)") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"--config: {path} is no valid YAML ({_where(error)})") from error
    except RecursionError as error:
        raise UserError(f"--config: {path} is nested too deeply") from error
    if _is_endless(content):
        raise UserError(
            f"--config: {path} is no configuration: its aliases make it too large, or it is nested too deeply"
        )
    return content


def _is_endless(content: Any) -> bool:
    """Whether there are too many values, or too many within each other, each alias counted as what it stands for."""
    pending, count = [(content, 0)], 0
    while pending:
        value, depth = pending.pop()
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        count += 1
        if depth > _MAX_DEPTH or count > _MAX_VALUES:
            return True
        pending.extend((each, depth + 1) for each in inner)
    return False


def _where(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).splitlines()[0]
