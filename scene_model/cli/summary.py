"""What a training says when it is done."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from scene_model.files import seen_from_here


def summary(folder: Path, trainer: Trainer) -> str:
    """Where checkpoint, configuration and curves of a run are, and the next command to type."""
    callback = trainer.checkpoint_callback
    best, last = (getattr(callback, f"{which}_model_path", "") for which in ("best", "last"))
    lines = ["", f"Done. Everything is in {folder}:"]
    if best:
        lines.append(f"  best checkpoint  {seen_from_here(Path(best))}")
    if last:
        lines.append(f"  last checkpoint  {seen_from_here(Path(last))}")
    lines.append(f"  configuration    {folder / 'config.yaml'}")
    if any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers):
        lines.append(f"  curves           {folder / 'metrics.csv'}, or tensorboard --logdir {folder.parent}")
    if best or last:
        lines.append(f"Next: python main.py validate --ckpt_path {seen_from_here(Path(best or last))}")
    return "\n".join(lines)
