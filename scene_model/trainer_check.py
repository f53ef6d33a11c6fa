"""What the trainer's options must not be for a SceneModel."""

from __future__ import annotations

import lightning.pytorch as pl
import torch

from scene_model.errors import UserError

_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # boxes and scores are of float32 in all of them


def check_precision(trainer: pl.Trainer) -> None:
    """Refuse weights of half or double precision.

    Raises:
        UserError: as said.
    """
    if trainer.precision not in _PRECISIONS:
        raise UserError(f"trainer.precision: expected {', '.join(_PRECISIONS)}, got {trainer.precision}")


def check_training(trainer: pl.Trainer, has_schedule: bool) -> None:
    """Find what no training can go on with.

    Args:
        trainer: of the training.
        has_schedule: the learning rate follows a cosine.

    Raises:
        UserError: the cosine has no end, or a GPU is asked for results that it cannot repeat to the bit.
    """
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    is_strict = torch.are_deterministic_algorithms_enabled() and not only_warns
    if is_strict and trainer.strategy.root_device.type == "cuda":
        raise UserError(
            "trainer.deterministic: on a GPU torch has no deterministic gradient of grid_sample, in attention; "
            "warn makes all else deterministic"
        )
    if has_schedule and (trainer.max_epochs or 0) < 1:
        raise UserError(
            "model.scheduler: the cosine needs a trainer.max_epochs, as in config/base.yaml; null goes without"
        )
