"""Where what users got wrong becomes one sentence and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGTERM

from lightning.pytorch.utilities.exceptions import SIGTERMException

from scene_model.errors import UserError


@contextmanager
def user_errors() -> Iterator[None]:
    """Print a `UserError` and exit with code 2; anything else keeps its traceback.

    Raises:
        SystemExit: with code 2, or as shells have it, 143, after SIGTERM.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)
    except SIGTERMException:
        sys.exit(128 + SIGTERM)


def _sentence(error: UserError) -> str:
    """Without the traceback that a DataLoader's worker puts before it."""
    return str(error).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")[2].strip()
