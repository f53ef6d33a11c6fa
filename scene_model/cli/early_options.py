"""What must be known before arguments can be parsed: the checkpoint, whose options are defaults, and where runs are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scene_model.errors import UserError


@dataclass(frozen=True)
class EarlyOptions:
    """Options that decide how the others are parsed.

    Args:
        ckpt_path: as given, None where it is not or is null.
        default_root_dir: as given, likewise.
    """

    ckpt_path: str | None
    default_root_dir: str | None

    @classmethod
    def read(cls, arguments: Sequence[str]) -> EarlyOptions:
        """From flags, then config files, the last of them first.

        Raises:
            UserError: a config file is missing or malformed.
        """
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("-c", "--config", nargs="?", action="append", default=[])
        parser.add_argument("--ckpt_path", nargs="?")
        parser.add_argument("--trainer.default_root_dir", dest="default_root_dir", nargs="?")
        flags, _ = parser.parse_known_args(arguments)
        contents = [read_config(path) for path in flags.config if path and "://" not in path]
        ckpt_paths = [content.get("ckpt_path") for content in contents] + [flags.ckpt_path]
        roots = [_nested(content, "trainer", "default_root_dir") for content in contents] + [flags.default_root_dir]
        return cls(_last(ckpt_paths), _last(roots))


def read_config(path: str) -> dict[str, Any]:
    """The keys and values of a config file.

    Raises:
        UserError: it is missing, unreadable, malformed, or holds something else than keys and values.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"--config: there is no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"--config: cannot read {path} ({reason})") from error
    except yaml.YAMLError as error:
        raise UserError(f"--config: {path} is no valid YAML ({_where(error)})") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise UserError(f"--config: expected keys such as `model:` and `data:` in {path}, found {found}")
    return content


def _where(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).splitlines()[0]


def _nested(content: dict[str, Any], group: str, key: str) -> Any:
    values = content.get(group)
    return values.get(key) if isinstance(values, dict) else None


def _last(values: Sequence[Any]) -> str | None:
    """The last value given; the word null is what the parser takes for none."""
    given = [str(value) for value in values if value is not None]
    return given[-1] if given and given[-1] != "null" else None
