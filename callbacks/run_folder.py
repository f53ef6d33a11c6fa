"""Where a run keeps its files."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger


def run_folder(trainer: Trainer) -> Path:
    """The folder of the run, the same on all ranks; like ``trainer.log_dir``, to be asked for by all of them together.

    Unlike there, the place where W&B and others collect their own files, often the current folder, is none of a run.
    """
    logger, folder = trainer.logger, trainer.default_root_dir
    if isinstance(logger, TensorBoardLogger | CSVLogger):
        folder = logger.log_dir
    return Path(trainer.strategy.broadcast(folder))
