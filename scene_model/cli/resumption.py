"""What a checkpoint says of the run that goes on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from scene_model.cli.run_logs import KEY
from scene_model.errors import UserError


@dataclass(frozen=True)
class Resumption:
    """How far a run has come; the default is a new run.

    Args:
        epochs: completed ones.
        steps: completed optimizer steps.
        logged: where its logs were, see `LogPosition`; empty for checkpoints that do not say, and for new logs.
    """

    epochs: int = 0
    steps: int = 0
    logged: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any], same_run: bool) -> Resumption:
        """Read from a checkpoint, whose logs go on where it is of the same run.

        Raises:
            UserError: it holds weights only.
        """
        if "loops" not in checkpoint:
            raise UserError("--ckpt_path: expected the checkpoint of a training to go on with, got one of weights only")
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        return cls(epochs, checkpoint["global_step"], checkpoint.get(KEY, {}) if same_run else {})

    def say_if_complete(self, trainer: Trainer) -> None:
        """Say why nothing will be trained, where that is so."""
        if 0 < (trainer.max_epochs or 0) <= self.epochs:
            rank_zero_info(f"This run is complete, with {self.epochs} epochs; a larger --trainer.max_epochs goes on.")
        elif 0 < trainer.max_steps <= self.steps:
            rank_zero_info(f"This run is complete, with {self.steps} steps; a larger --trainer.max_steps goes on.")
