"""How a checkpoint gets to the disk."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes a local file straight to its place, and returns when it is on the disk.

    Lightning collects it in memory, writes it to the system's temporary folder and moves it: two copies more, and what
    a power cut leaves of it is not said.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: the system refused, for example since the disk is full.
        """
        if storage_options is not None or not is_local(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch's own on top of the system's
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
            file.flush()
            os.fsync(file.fileno())


def is_local(path: str | Path) -> bool:
    """Whether a path is one of this machine's file system, no address."""
    return "://" not in str(path)


def place(part: Path, path: Path, previous: Path | None = None) -> None:
    """Put a complete file in the place of an older one, which is kept under the name `previous`.

    At no moment is there no file at `path`. Where the file system knows no hard links, the older file is not kept.

    Raises:
        OSError: the system refused.
    """
    if previous is not None and path.is_file():
        _keep(path, previous)
    os.replace(part, path)
    _sync_folder(path.parent)


def _keep(path: Path, previous: Path) -> None:
    link = path.with_name(f".{previous.name}.part")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:
        return
    os.replace(link, previous)


def _sync_folder(folder: Path) -> None:
    """Have the system write down which names a folder holds; some systems and file systems cannot be asked."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
