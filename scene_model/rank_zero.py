"""Warnings of one process of a training, in programs with and without Lightning."""

from __future__ import annotations

import warnings
from functools import cache

from lightning_utilities.core.rank_zero import rank_zero_only


def rank_zero_warn(message: str) -> None:
    """Warn unless Lightning says that this is another rank than 0; its own function fails where nobody named a rank."""
    if not getattr(rank_zero_only, "rank", None):
        warnings.warn(message, stacklevel=3)


@cache
def rank_zero_warn_once(message: str) -> None:
    """Warn as `rank_zero_warn` does, the first time only."""
    rank_zero_warn(message)
