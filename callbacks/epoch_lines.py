"""How far a training is, where no bar can be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter

import rich
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

NAMES = ("train/total", "val/total", "val/idf1", "val/clip_idf1", "mot/HOTA", "mot/IDF1")


class EpochLines(Callback):
    """Prints a line per epoch in ``fit``, where the console is a file or a pipe and Lightning's rich bar draws nothing.

    It looks like this: ``epoch 3/10, step 440: train/total 4.21, val/total 4.4, val/clip_idf1 0.529, 0.41 s/step``.
    A validation within an epoch has a line of its own. A line tells what is new since the last one; where that is
    nothing, there is no line. The time is that of training, data included, validation left out.

    The lines are printed where the progress bar is enabled, by the first process; not under ``fast_dev_run``.

    What it needs: metrics logged by the LightningModule. What a module logs in its own ``on_train_epoch_end`` comes
    after the line.

    Args:
        names: Metrics to print, in this order; those that are not logged are left out; []: no lines.
    """

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        self.names = names
        self._told: dict[str, Tensor] = {}
        self._clock: _StepClock | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins anew; an exception may have left something."""
        self._told = {}
        self._clock = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins, where lines are wanted: after the sanity check, and not in ``validate``."""
        if trainer.progress_bar_callback is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._clock = _StepClock(trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures time."""
        if self._clock is not None:
            self._clock.go()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures no time."""
        if self._clock is not None:
            self._clock.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints a line within an epoch; a validation after the last batch is left to the epoch's end."""
        if self._clock is None:
            return
        if not trainer.is_last_batch:
            self._tell(trainer, self._clock)
        self._clock.go()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the epoch's line."""
        if self._clock is not None:
            self._clock.pause()
            self._tell(trainer, self._clock)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends."""
        self._clock = None

    def _tell(self, trainer: Trainer, clock: _StepClock) -> None:
        logged = trainer.callback_metrics  # on all ranks, which Lightning may have to reduce them together
        if not trainer.is_global_zero or _draws_bars():
            return
        metrics = {name: logged[name] for name in self.names if name in logged}
        # Lightning keeps the values of earlier epochs: the very same tensors
        new = {name: value for name, value in metrics.items() if value is not self._told.get(name)}
        if new:
            self._told |= new
            print(_line(trainer, new, clock.seconds_per_step(trainer.global_step)), flush=True)


class _StepClock:
    """Measures the time of optimizer steps.

    Args:
        step: at which it begins.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._seconds = 0.0
        self._start: float | None = None

    def go(self) -> None:
        self._start = perf_counter()

    def pause(self) -> None:
        if self._start is not None:
            self._seconds += perf_counter() - self._start
            self._start = None

    def seconds_per_step(self, step: int) -> float | None:
        """Of the steps since it was last asked; None if there were none."""
        seconds, steps = self._seconds, step - self._step
        self._seconds, self._step = 0.0, step
        return seconds / steps if steps else None


def _draws_bars() -> bool:
    console = rich.get_console()
    return console.is_interactive or console.is_jupyter


def _line(trainer: Trainer, metrics: Mapping[str, Tensor], seconds_per_step: float | None) -> str:
    num_epochs = f"/{trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
    parts = [f"{name} {float(value):.4g}" for name, value in metrics.items()]
    if seconds_per_step is not None:
        parts.append(f"{seconds_per_step:.3g} s/step")
    return f"epoch {trainer.current_epoch + 1}{num_epochs}, step {trainer.global_step}: {', '.join(parts)}"
