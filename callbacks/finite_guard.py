"""Stops a training whose numbers have gone wrong, before they reach the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from callbacks.run_folder import run_folder
from scene_model.bad_step import where, write_bad_step
from scene_model.batch import SceneBatch
from scene_model.errors import NonFiniteError, UserError
from scene_model.files import seen_from_here


class FiniteGuard(Callback):
    """Stops ``fit`` at the first loss or gradient that is NaN or infinite, and keeps what it takes to find out why.

    Such a step changes no weights. The sentence of the `NonFiniteError` names the loss terms or the parameter, and the
    frames of the batch. That batch and the weights are written to ``bad_step_<step>.pt`` in the run's folder, for
    ``python -m scene_model.replay``. Where processes train together, all of them stop.

    A healthy step never waits for the device. On the CPU a step is checked before the optimizer takes it. Elsewhere the
    result stays on the device: it has a fused optimizer leave the weights as they are, and it is read where the next
    step's backward pass begins, or before a validation, a checkpoint or the end. Only with optimizers that are not
    fused, each step waits.

    Gradients are left to the loss scaling where there is one (``16-mixed``).

    What it needs: batches of type ``SceneBatch``, and a ``training_step`` that logs the loss terms on each step.

    Args:
        gradients: Check the gradients too, which reads each of them once more; false: the loss only.
    """

    def __init__(self, gradients: bool = True) -> None:
        self.gradients = gradients
        self._folder = Path()
        self._batch: SceneBatch | None = None
        self._loss: Tensor | None = None
        self._unread: _Check | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settles the folder, for which Lightning needs all ranks together."""
        self._folder = run_folder(trainer)
        self._batch = self._unread = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: SceneBatch, batch_idx: int
    ) -> None:
        """Remembers the batch."""
        self._batch = batch

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Reads the result of the step before: whatever it waits for has been waited for."""
        self._read(trainer, pl_module)
        self._loss = loss.detach()

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the loss and the gradients."""
        assert self._loss is not None
        assert self._batch is not None
        with_gradients = self.gradients and trainer.scaler is None
        named = {name: p.grad for name, p in pl_module.named_parameters() if with_gradients and p.grad is not None}
        terms = trainer._results.metrics(on_step=True)["callback"] if trainer._results else {}
        self._unread = _Check.of(self._loss, terms, named, self._batch, trainer)
        if not _can_wait(self._loss, trainer):
            self._read(trainer, pl_module)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Has a fused optimizer leave the weights as they are, if the step is bad."""
        if self._unread is not None and trainer.scaler is None:
            optimizer.found_inf = self._unread.is_bad  # type: ignore[attr-defined]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads the result of the last step."""
        self._read(trainer, pl_module)

    on_train_end = on_validation_start

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Likewise."""
        self._read(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keeps the batch in which the model itself has found bad numbers, under ``model.debug``."""
        if isinstance(exception, NonFiniteError) and trainer.training and self._batch is not None:
            kept = self._keep(trainer, pl_module, self._batch, trainer.global_step + 1)
            exception.args = (f"{exception} in {where(self._batch)}. {kept}",)

    def _read(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check, self._unread = self._unread, None
        if check is None or not check.was_bad():
            return
        self._batch = None  # is told of here
        bad_loss = check.bad_terms()
        someone_had_bad_loss = any(_of_all_processes(bool(bad_loss)))
        sentence = None
        if bad_loss or not someone_had_bad_loss:  # of bad gradients that add up, nobody knows whose they were
            what = f"the loss is NaN or infinite in {', '.join(bad_loss)}" if bad_loss else check.bad_gradients()
            kept = self._keep(trainer, pl_module, check.batch, check.step)
            sentence = f"step {check.step}: {what}, for {where(check.batch)}. {kept}"
        raise NonFiniteError("\n".join(filter(None, _of_all_processes(sentence))))

    def _keep(self, trainer: Trainer, pl_module: LightningModule, batch: SceneBatch, step: int) -> str:
        """Write the file; returns what to say of it."""
        rank = f"_rank{trainer.global_rank}" if trainer.world_size > 1 else ""
        path = self._folder / f"bad_step_{step}{rank}.pt"
        try:
            write_bad_step(path, pl_module, batch, str(trainer.precision))
        except (UserError, RuntimeError) as error:
            return f"The step could not be saved: {error}"
        command = f"python -m scene_model.replay {seen_from_here(path)}"
        return f"No weights were changed by this step. To find the first bad module: {command}"


@dataclass(frozen=True)
class _Check:
    """A step, and what its numbers look like.

    Args:
        batch: of the step.
        step: its number, counted from 1.
        loss: of the step.
        terms: what was logged in the step.
        parameters: names of those that have a gradient.
        norms: ``[P]``, of their gradients.
        is_bad: float scalar, 1 where the loss or a gradient is NaN or infinite, on any process.
        copied: that number on the host, and when it is there.
    """

    batch: SceneBatch
    step: int
    loss: Tensor
    terms: dict[str, Tensor]
    parameters: list[str]
    norms: Tensor
    is_bad: Tensor
    copied: _HostCopy

    @classmethod
    def of(
        cls, loss: Tensor, terms: dict[str, Tensor], gradients: dict[str, Tensor], batch: SceneBatch, trainer: Trainer
    ) -> _Check:
        norms = torch.stack(torch._foreach_norm(list(gradients.values()))) if gradients else loss.new_zeros(0)
        is_bad = (~(loss.isfinite() & norms.isfinite().all())).float()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(is_bad, torch.distributed.ReduceOp.MAX)  # Lightning's waits for all processes
        return cls(batch, trainer.global_step + 1, loss, terms, list(gradients), norms, is_bad, _HostCopy(is_bad))

    def was_bad(self) -> bool:
        """Waits for the device where that is still at work on this step."""
        return self.copied.read() > 0

    def bad_terms(self) -> list[str]:
        """Names of bad terms; of the sums of others only where these are fine."""
        bad = [name for name, value in self.terms.items() if not value.isfinite().all()]
        sums = ("total", "loss")
        if not bad and not self.loss.isfinite():
            return ["its total"]
        return [name for name in bad if not name.endswith(sums)] or bad

    def bad_gradients(self) -> str:
        """Names the first of them."""
        bad = [name for name, norm in zip(self.parameters, self.norms.tolist(), strict=True) if not math.isfinite(norm)]
        others = f" (and those of {len(bad) - 1} more parameters)" if len(bad) > 1 else ""
        return f"the gradient of {bad[0]}{others} is NaN or infinite"


class _HostCopy:
    """A number on its way from the device to the host."""

    def __init__(self, value: Tensor) -> None:
        self._value, self._event = value, None
        if value.is_cuda:
            self._value = torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def read(self) -> float:
        if self._event is not None:
            self._event.synchronize()
        return float(self._value)


def _can_wait(loss: Tensor, trainer: Trainer) -> bool:
    """Whether a bad step would leave the weights alone without being read, and reading it would cost time."""
    fused = all(group.get("fused") for optimizer in trainer.optimizers for group in optimizer.param_groups)
    return loss.device.type != "cpu" and (fused or trainer.scaler is not None)


def _of_all_processes(value: Any) -> list[Any]:
    """What all processes say, in their order."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
