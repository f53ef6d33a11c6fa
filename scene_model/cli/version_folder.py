"""The folder of a run, ``<root>/version_N``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from scene_model.errors import UserError

_VARIABLE = "SCENE_MODEL_RUN_FOLDER"


@contextmanager
def open_run_folder(root: Path, resumed: Path | None = None) -> Iterator[Path]:
    """The folder of this run: that of the resumed one, or a new one, removed again if what follows fails.

    The first of several processes that train together claims it; those that it launches read its name from the
    environment. Processes of another launcher know no name and need none, since only the first one writes.

    Args:
        root: folder of all runs.
        resumed: folder of the run that is to go on.

    Raises:
        UserError: the folder cannot be created or written to.
    """
    root_is_new = not root.exists()
    is_new = resumed is None and global_rank() == 0
    folder = claim_run_folder(root) if is_new else resumed or inherited_folder() or root
    os.environ[_VARIABLE] = str(folder)
    try:
        yield folder
    except Exception:
        if is_new:
            folder.rmdir()
        if is_new and root_is_new:
            with suppress(OSError):  # another process may have a folder there by now
                root.rmdir()
        raise


def claim_run_folder(root: Path) -> Path:
    """Create the next free ``version_N`` below `root`; two processes never get the same one.

    Raises:
        UserError: the folder cannot be created.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        versions = (path.name.removeprefix("version_") for path in root.glob("version_*"))
        number = max((int(version) for version in versions if version.isdigit()), default=-1) + 1
        while True:
            folder = root / f"version_{number}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"trainer.default_root_dir: cannot create a run folder in {root} ({reason})") from error


def inherited_folder() -> Path | None:
    """The run folder of the process that launched this one to train with it."""
    inherited = os.environ.get(_VARIABLE) if global_rank() else None
    return Path(inherited) if inherited else None


def global_rank() -> int:
    """Number of this process among all that train together; 0 before any are launched."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]
    return rank
