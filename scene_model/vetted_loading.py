"""Checkpoints in Python: nothing is imported because a file says so."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.cloud_io import _load

from scene_model.saved_classes import check_saved


class VettedLoading:
    """A mixin before Lightning's modules, whose checkpoints are read without importing what only they name."""

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Lightning's; classes that the options name must be imported before.

        Raises:
            UserError: one is not.
        """
        key = cls.CHECKPOINT_HYPER_PARAMS_KEY  # type: ignore[attr-defined]
        options = _read(checkpoint_path).get(key) or {}
        saved = {name: value for name, value in options.items() if not name.startswith("_") and name not in kwargs}
        check_saved(saved, cls)
        return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)  # type: ignore[misc]


def _read(place: Any) -> Mapping[str, Any]:
    """A checkpoint of any place that Lightning reads from; an open file is at its beginning again."""
    if isinstance(place, str | PathLike) and Path(place).is_file():
        return torch.load(place, map_location="cpu", weights_only=True, mmap=True)
    checkpoint = _load(place, map_location="cpu", weights_only=True)
    if hasattr(place, "seek"):
        place.seek(0)
    return checkpoint
