"""Learning rates in the log."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor


class LRMonitor(LearningRateMonitor):
    """Lightning's ``LearningRateMonitor``, silent where that one raises: without a logger."""

    def on_train_start(self, trainer: Trainer, *args: object, **kwargs: object) -> None:
        """Finds the names to log under."""
        if trainer.loggers:
            super().on_train_start(trainer, *args, **kwargs)

    def on_train_batch_start(self, trainer: Trainer, *args: object, **kwargs: object) -> None:
        """Logs the rates of the step."""
        if trainer.loggers:
            super().on_train_batch_start(trainer, *args, **kwargs)

    def on_train_epoch_start(self, trainer: Trainer, *args: object, **kwargs: object) -> None:
        """Logs the rates of the epoch."""
        if trainer.loggers:
            super().on_train_epoch_start(trainer, *args, **kwargs)
