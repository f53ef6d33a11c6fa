"""Where what users got wrong becomes one sentence and exit code 2."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGTERM
from typing import NoReturn

import torch.distributed
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from scene_model.errors import NonFiniteError, UserError

_GRACE = 15.0  # seconds


@contextmanager
def user_errors() -> Iterator[None]:
    """Print a `UserError` and exit with code 2, a `NonFiniteError` with 3; anything else keeps its traceback.

    Raises:
        SystemExit: with code 2 or 3, or as shells have it, 143, after SIGTERM.
    """
    try:
        yield
    except UserError as error:
        fail(_sentence(error), waits=not _training_together())
    except NonFiniteError as error:
        fail(str(error), code=3, waits=True)
    except SIGTERMException:
        sys.exit(128 + SIGTERM)


def fail(sentence: str, code: int = 2, waits: bool = False) -> NoReturn:
    """Print a sentence on what is wrong, and exit.

    Args:
        sentence: what is wrong.
        code: to exit with.
        waits: what is wrong is likely to be found by all processes of a run: all but the first one give it the time to
            say so, and their launcher the time to end them.

    Raises:
        SystemExit: always.
    """
    if waits and rank_zero_only.rank:  # type: ignore[attr-defined]
        time.sleep(_GRACE)
    print(f"error: {_on_one_line(sentence)}", file=sys.stderr)
    sys.exit(code)


def _on_one_line(sentence: str) -> str:
    """What is quoted of a file may hold line ends, and codes that terminals obey: these are spelt out."""
    spelt = (letter if letter.isprintable() else repr(letter)[1:-1] for letter in sentence.strip().replace("\n", " "))
    return "".join(spelt)


def _training_together() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _sentence(error: UserError) -> str:
    """Without the traceback that a DataLoader's worker puts before it."""
    return str(error).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")[2].strip()
