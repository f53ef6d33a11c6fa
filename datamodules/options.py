"""What the options of `SceneDataModule` may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datamodules.source import Source
from scene_model.errors import UserError

if TYPE_CHECKING:
    from datamodules.datamodule import SceneDataModule


def validate(data: SceneDataModule) -> None:
    """Find what is wrong with the options themselves.

    Raises:
        UserError: a value is none that its key can have.
    """
    for key in ("train", "val", "test"):
        source = getattr(data, key)
        require_that(isinstance(source, Source), f"data.{key}: expected a Source, got {source!r}")
    least_values = {"batch_size": 1, "clip_length": 1, "num_workers": 0, "window_length": 1, "window_overlap": 0}
    for name, least in (least_values | {"seed": 0}).items():
        value = getattr(data, name)
        require_that(value >= least, f"data.{name}: expected at least {least}, got {value}")
    overlap, length, clips = data.val_overlap, data.clip_length, data.clips_per_epoch
    require_that(
        0 <= overlap < length, f"data.val_overlap: expected 0 to data.clip_length - 1 = {length - 1}, got {overlap}"
    )
    least, largest = data.temporal_stride
    require_that(1 <= least <= largest, f"data.temporal_stride: expected 1 <= least <= largest, got {[least, largest]}")
    require_that(clips is None or clips >= 1, f"data.clips_per_epoch: expected at least 1, got {clips}")
    size = list(data.image_size)
    require_that(min(size) >= 32, f"data.image_size: expected a height and width of at least 32 pixels, got {size}")
    mean, std = list(data.mean), list(data.std)
    require_that(0 <= min(mean) <= max(mean) <= 1, f"data.mean: expected numbers in [0, 1], got {mean}")
    require_that(0 < min(std) <= max(std) <= 1, f"data.std: expected numbers in (0, 1], got {std}")


def require_that(condition: bool, message: str) -> None:
    """Raise a `UserError` with a message unless a condition holds."""
    if not condition:
        raise UserError(message)
