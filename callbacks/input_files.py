"""Files that a run reads, over which it must not write."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from scene_model.errors import UserError


class InputFiles:
    """Knows the files that a run reads, by whatever name or link.

    Args:
        paths: of files and folders.
    """

    def __init__(self, paths: Iterable[str | Path] = ()) -> None:
        self._identities = {_identity(path) for path in paths} - {None}

    def check_folder(self, folder: Path, suffixes: Collection[str]) -> None:
        """Makes sure that files of certain kinds can be written to a folder, whatever their names.

        Args:
            folder: that may be missing.
            suffixes: of the files to be written, in lower case.

        Raises:
            UserError: there is an input of these kinds in the folder.
        """
        with suppress(OSError):  # of a folder that cannot be listed, the names are checked as they come up
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in suffixes:
                    self.check(path)

    def check(self, path: Path) -> None:
        """Makes sure that a file may be written.

        Raises:
            UserError: it is an input.
        """
        identity = _identity(path)
        if identity is not None and identity in self._identities:
            raise UserError(f"tracks.output_dir: {path} is read and would be written over, expected another folder")


def _identity(path: str | Path) -> tuple[int, int] | None:
    """What two names of one file have in common."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
