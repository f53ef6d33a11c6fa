"""Train the head first and the backbone later, right under distributed training too."""

from __future__ import annotations

from dataclasses import dataclass

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from scene_model.errors import UserError


@dataclass
class _Frozen:
    """What a freeze has switched off, so that exactly this is switched on again."""

    parameters: list[nn.Parameter]
    norms: list[_NormBase]

    @classmethod
    def freeze(cls, module: nn.Module) -> _Frozen:
        frozen = cls(
            parameters=[parameter for parameter in module.parameters() if parameter.requires_grad],
            norms=[norm for norm in module.modules() if isinstance(norm, _NormBase) and norm.training],
        )
        for parameter in frozen.parameters:
            parameter.requires_grad_(False)
        frozen.hold_statistics()
        return frozen

    def hold_statistics(self) -> None:
        for norm in self.norms:
            norm.eval()

    def thaw(self) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        for norm in self.norms:
            norm.train()


class BackboneUnfreeze(Callback):
    """Freezes a part of the model, until an epoch or for good.

    Frozen means: no gradients, and batch norm layers in eval mode, so that their running statistics stay. The optimizer
    is left alone; give it all parameters from the start (the ones without a gradient are not moved, by weight decay
    neither). What is frozen follows from the epoch alone, so a resumed run needs no state. What was not trainable
    before stays so.

    ``DistributedDataParallel`` decides when it wraps the model which gradients to average, so with every change the
    model is wrapped anew; plain ``strategy: ddp`` suffices, without a search for unused parameters.

    Args:
        epoch: First epoch, counted from 0, in which the backbone trains; null: no such epoch.
        freeze: Whether to freeze at all; null: exactly if ``epoch`` is set. True without an epoch freezes for good.
        module: Dotted path of the backbone in the LightningModule.
    """

    def __init__(self, epoch: int | None = None, freeze: bool | None = None, module: str = "backbone") -> None:
        self.epoch = epoch
        self.freeze = freeze
        self.module = module
        self._frozen: _Frozen | None = None

    def is_frozen(self, epoch: int) -> bool:
        """Whether the backbone is frozen in an epoch."""
        freeze = self.epoch is not None if self.freeze is None else self.freeze
        return freeze and (self.epoch is None or epoch < self.epoch)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finds wrong settings before any work starts."""
        if stage != "fit":
            return
        if self.freeze is False and self.epoch is not None:
            rank_zero_warn(
                f"{self.module} trains from the start: freeze is false, so epoch {self.epoch} has no effect."
            )
        elif self.is_frozen(epoch=0):
            self._find(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Covers runs resumed within an epoch, for which Lightning calls no ``on_train_epoch_start``."""
        self._update(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freezes or unfreezes, as the epoch says."""
        self._update(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Undoes a ``train()`` that was called on the whole model, say after a validation."""
        if self._frozen:
            self._frozen.hold_statistics()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves the model as it was found."""
        self._thaw()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves the model as it was found."""
        self._thaw()

    def _update(self, trainer: Trainer, pl_module: LightningModule) -> None:
        frozen = self.is_frozen(trainer.current_epoch)
        if frozen == (self._frozen is not None):
            return
        if frozen:
            self._frozen = _Frozen.freeze(self._find(pl_module))
        else:
            self._thaw()
        self._rewrap(trainer)

    def _thaw(self) -> None:
        if self._frozen:
            self._frozen.thaw()
            self._frozen = None

    def _rewrap(self, trainer: Trainer) -> None:
        strategy = trainer.strategy
        if isinstance(strategy, DDPStrategy) and isinstance(strategy.model, DistributedDataParallel):
            strategy.model = strategy.model.module
            strategy.configure_ddp()

    def _find(self, pl_module: LightningModule) -> nn.Module:
        try:
            return pl_module.get_submodule(self.module)
        except AttributeError:
            names = ", ".join(name for name, _ in pl_module.named_children()) or "none"
            raise UserError(
                f"BackboneUnfreeze: module: {self.module!r} is no part of {type(pl_module).__name__}; parts: {names}."
            ) from None
