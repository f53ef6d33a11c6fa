"""What must be known before arguments can be parsed: the checkpoint, whose options are defaults, and where runs are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scene_model.cli.config_file import read_config


@dataclass(frozen=True)
class EarlyOptions:
    """Options that decide how the others are parsed.

    Args:
        ckpt_path: as given, None where it is not or is null.
        default_root_dir: as given, likewise.
        contents: of the config files.
    """

    ckpt_path: str | None
    default_root_dir: str | None
    contents: Sequence[dict[str, Any]]

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
        return cls(_last(ckpt_paths), _last(roots), contents)


def _nested(content: dict[str, Any], group: str, key: str) -> Any:
    values = content.get(group)
    return values.get(key) if isinstance(values, dict) else None


def _last(values: Sequence[Any]) -> str | None:
    """The last value given; the word null is what the parser takes for none."""
    given = [str(value) for value in values if value is not None]
    return given[-1] if given and given[-1] != "null" else None
