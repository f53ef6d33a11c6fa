"""Trains a foreign module on two processes; every rank writes its weights. Run by test_backbone_unfreeze.py."""

import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks import BackboneUnfreeze


class Regressor(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        inputs, labels = batch
        return nn.functional.mse_loss(self.head(self.backbone(inputs)), labels)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)


class Forgetful(BackboneUnfreeze):
    """Does not wrap the model anew at one of the two changes."""

    forgets = ""

    def _rewrap(self, trainer):
        change = "freeze" if self._frozen else "unfreeze"
        if change != self.forgets:
            super()._rewrap(trainer)


class Record(Callback):
    """Keeps the weights before the training and after every epoch; statistics of live batch norms differ by rank."""

    def __init__(self):
        self.epochs = []

    def _record(self, module):
        self.epochs.append({name: value.detach().clone() for name, value in module.named_parameters()})

    def on_train_start(self, trainer, pl_module):
        self._record(pl_module)

    def on_train_epoch_end(self, trainer, pl_module):
        self._record(pl_module)


def main(folder, forgets):
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(32, 4, generator=generator), torch.randn(32, 1, generator=generator))
    Forgetful.forgets = forgets
    record = Record()
    trainer = Trainer(
        strategy="ddp",
        accelerator="cpu",
        devices=2,
        max_epochs=3,
        callbacks=[Forgetful(epoch=1), record],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Regressor(), DataLoader(data, batch_size=4))
    torch.save(record.epochs, Path(folder) / f"rank{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
