"""Where what users got wrong becomes one sentence and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from scene_model.errors import UserError


@contextmanager
def user_errors() -> Iterator[None]:
    """Print a `UserError` and exit with code 2; anything else keeps its traceback.

    Raises:
        SystemExit: with code 2.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
