"""Exponential moving average of the weights."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from scene_model.errors import UserError


class EMA(WeightAveraging):
    """Validates with an exponential moving average of the weights, and ends up with it.

    A checkpoint's ``state_dict`` is the average, so whatever loads it gets the average without knowing of it; the raw
    weights lie beside it, and a resumed run goes on from both. That holds for every checkpoint saved during or after
    ``fit``, also while validation has the two exchanged.

    The decay grows as ``decay * (1 - exp(-step / warmup_steps))``: the average forgets the random start quickly and is
    of use from the first epochs on. Floating-point buffers are averaged like weights, all others are copied.

    Args:
        decay: Share of the average that an optimizer step keeps, once warmed up; null: no averaging.
        warmup_steps: Time constant of the decay's growth, in optimizer steps; 0: the decay is constant.
    """

    def __init__(self, decay: float | None = 0.999, warmup_steps: int = 2000) -> None:
        if decay is not None and not 0 <= decay <= 1:
            raise UserError(f"EMA: decay: expected a number from 0 to 1, got {decay}")
        if warmup_steps < 0:
            raise UserError(f"EMA: warmup_steps: expected at least 0, got {warmup_steps}")
        super().__init__()
        self.decay = decay
        self.warmup_steps = warmup_steps
        self._swapped = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Makes the copy of the model that holds the average."""
        if self.decay is not None:
            self._swapped = False
            self._device = trainer.strategy.root_device  # the model moves there only after this hook
            super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Updates the average where an optimizer step was taken; the first update copies the weights."""
        if self._average_model is None or self.decay is None or trainer.global_step == self._latest_update_step:
            return
        ramp = 1 - math.exp(-trainer.global_step / self.warmup_steps) if self.warmup_steps else 1.0
        first = self._latest_update_step == 0
        _move_towards(self._average_model.module, pl_module, 1.0 if first else 1 - self.decay * ramp)
        self._latest_update_step = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the average in the model and keeps the raw weights for checkpoints still to come."""
        if self._average_model is not None:
            self._swap_models(pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average into the model."""
        if self._is_averaging(trainer):
            self._swap_models(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the raw weights back."""
        if self._is_averaging(trainer):
            self._swap_models(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Nothing, where there is no averaging."""
        return {} if self.decay is None else super().state_dict()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Stores the average as the ``state_dict``, whichever of the two the model holds at the moment."""
        if not self._is_averaging(trainer):
            return
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._swapped:
            raw, average = checkpoint["state_dict"], checkpoint["current_model_state"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = average, raw

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restores average and raw weights to go on with; outside ``fit`` the average is already in the model."""
        if self._is_averaging(trainer):
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _is_averaging(self, trainer: Trainer) -> bool:
        return self._average_model is not None and trainer.state.fn == TrainerFn.FITTING

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped


@torch.no_grad()
def _move_towards(average: nn.Module, model: nn.Module, weight: float) -> None:
    """Moves every tensor of one module towards its counterpart in the other, in a few launches for all of them."""
    pairs = zip(_tensors(average), _tensors(model), strict=True)
    lerped: tuple[list[Tensor], list[Tensor]] = ([], [])
    copied: tuple[list[Tensor], list[Tensor]] = ([], [])
    for old, new in pairs:
        olds, news = lerped if old.is_floating_point() or old.is_complex() else copied
        olds.append(old)
        news.append(new)
    if lerped[0]:
        torch._foreach_lerp_(*lerped, weight=weight)
    if copied[0]:
        torch._foreach_copy_(*copied)


def _tensors(module: nn.Module) -> chain[Tensor]:
    return chain(module.parameters(), module.buffers())
