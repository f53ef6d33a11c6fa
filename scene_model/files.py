"""Files that appear whole or not at all, and what is said of them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType

from scene_model.errors import UserError

_SHOWN_CHARACTERS = 16


class NewFile:
    """A file that is written beside its place: a context manager, at the end of which nothing is left beside it.

    Whoever writes it opens `part`, a short hidden name that no other process has, and calls `place` once the file is
    complete and closed. What a killed process leaves is named ``.<beginning of the name>.<16 digits>.part``.

    Args:
        path: its place; the folder is made where it is missing.

    Raises:
        UserError: no file can have this place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f".{path.name[:_SHOWN_CHARACTERS]}.{token_hex(8)}.part")
        with file_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if _is_folder(path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))

    def place(self) -> None:
        """Puts the file in its place, over an older one.

        Raises:
            UserError: the system refuses.
        """
        with file_errors(self.path):
            os.replace(self.part, self.path)

    def discard(self) -> None:
        """Removes what is not in its place."""
        with suppress(OSError):
            self.part.unlink(missing_ok=True)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turns a full disk, missing permissions and the like into one sentence.

    Raises:
        UserError: the system refused to write the file.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def seen_from_here(path: Path) -> Path:
    """Relative to the current folder, if it is below: what is said of a file."""
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def _is_folder(path: Path) -> bool:
    """Whether the place is taken by a folder; also raises where the name is too long for any file."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False
