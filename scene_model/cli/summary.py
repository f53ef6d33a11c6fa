"""What a training says when it is done."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger


def summary(folder: Path, trainer: Trainer) -> str:
    """Where checkpoint, configuration and curves of a run are, and the next command to type."""
    callback = trainer.checkpoint_callback
    best, last = (getattr(callback, f"{which}_model_path", "") for which in ("best", "last"))
    lines = ["", f"Done. Everything is in {folder}:"]
    if best:
        lines.append(f"  best checkpoint  {_relative(best)}")
    if last:
        lines.append(f"  last checkpoint  {_relative(last)}")
    lines.append(f"  configuration    {folder / 'config.yaml'}")
    if any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers):
        lines.append(f"  curves           {folder / 'metrics.csv'}, or tensorboard --logdir {folder.parent}")
    if best or last:
        lines.append(f"Next: python main.py validate --ckpt_path {_relative(best or last)}")
    return "\n".join(lines)


def _relative(path: str) -> Path:
    """As seen from here, if it is below."""
    absolute = Path(path).absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
