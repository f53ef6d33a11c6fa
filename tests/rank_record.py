"""What each rank of a training holds, kept in files; run by test_cli_ddp_training.py as a callback of `main.py fit`."""

import os
from pathlib import Path

import torch
from lightning.pytorch import Callback

from scene_model import TargetFrame


class RankRecord(Callback):
    """Keeps clips, gradients and weights of each rank; can take all objects away from one of them."""

    def __init__(self, folder: str, without_objects: int = -1):
        self.folder, self.without_objects = Path(folder), without_objects
        self.record = {"pid": os.getpid(), "objects": [], "clips": [], "gradients": []}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank == self.without_objects:
            batch.targets = [[TargetFrame.empty() for _ in clip] for clip in batch.targets]
        self.record["objects"].append(sum(len(frame) for clip in batch.targets for frame in clip))
        self.record["clips"].append(len(batch))
        if len(self.record["clips"]) == 1:
            partial = self.folder / f"rank{trainer.global_rank}.part"
            partial.write_text(str(os.getpid()))
            partial.rename(self.folder / f"training{trainer.global_rank}")

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        gradients = {name: p.grad.clone() for name, p in pl_module.named_parameters() if p.grad is not None}
        self.record["gradients"].append(gradients)

    def on_train_end(self, trainer, pl_module):
        averages = {f"average.{name}": value for name, value in trainer.lightning_module.state_dict().items()}
        raw = {f"raw.{name}": value for name, value in self._raw(trainer).items()}
        self.record["weights"] = {name: value.clone() for name, value in (averages | raw).items()}
        torch.save(self.record, self.folder / f"rank{trainer.global_rank}.pt")

    def _raw(self, trainer):
        """The weights beside those that the EMA has left in the module."""
        (ema,) = [callback for callback in trainer.callbacks if type(callback).__name__ == "EMA"]
        return ema._average_model.module.state_dict() if ema._average_model is not None else {}
