"""One training at a time in a run's folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TextIO

from scene_model.cli.version_folder import global_rank
from scene_model.errors import UserError
from scene_model.files import file_errors

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


def lock_run(folder: Path) -> RunLock | None:
    """The lock of a run's folder, which holds while it is kept; the first of several processes has it for all.

    Raises:
        UserError: see `RunLock`.
    """
    return None if global_rank() else RunLock(folder)


class RunLock:
    """Keeps other processes from training in a folder, for as long as this one lives.

    The lock is the system's, on a file that says who holds it: it ends with its process, however that ends, so a file
    that is left behind locks nothing. The processes that a holder forks, such as a DataLoader's, hold nothing.
    Where the system knows no such locks, there is none.

    Args:
        folder: of the run.

    Raises:
        UserError: another process trains there, or no file can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        try:
            self._file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise UserError(f"{folder}: cannot be written to ({error.strerror})") from error
        try:
            if fcntl is not None:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(self._file)
            self._file.close()
            raise UserError(
                f"{folder} is in use: {holder or 'another process'} trains there; wait for its end, "
                "or leave out --ckpt_path last to start another run"
            ) from None
        except OSError:  # a file system without locks
            pass
        with file_errors(self.path):
            self._file.truncate(0)
            print(f"process {os.getpid()} on {socket.gethostname()}", file=self._file, flush=True)


def _read(file: TextIO) -> str:
    file.seek(0)
    return file.read().strip()
