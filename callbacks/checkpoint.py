"""The checkpoints that a run needs: its best, its last, and the one before that."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from callbacks.checkpoint_io import DurableCheckpointIO, is_local, place
from scene_model.errors import UserError

PREVIOUS = "previous.ckpt"


class BestAndLast(ModelCheckpoint):
    """Keeps ``best.ckpt``, ``last.ckpt`` and ``previous.ckpt`` in the ``checkpoints`` of the run's folder.

    ``last.ckpt`` is written at the end of every epoch, whether the score has improved or not, after every validation
    within an epoch, and on SIGTERM; ``best.ckpt`` after a validation with a better score. Gradients that are being
    accumulated during a validation are in neither. Each file is written hidden beside its place and renamed once it is
    on the disk, so that it is never missing or cut short; what was ``last.ckpt`` by then becomes ``previous.ckpt``.
    Where it cannot be written, say on a full disk, training ends and the old one stays. A run resumed in its folder,
    which may have been moved, remembers its best score.

    Args:
        monitor: Logged validation metric that says which checkpoint is best; where it is absent, only the last
            checkpoint is kept.
        mode: Whether the metric should be large (max) or small (min).
        every_n_train_steps: Writes ``last.ckpt`` within an epoch too, every so many optimizer steps.
        dirpath: Folder of the files; null: ``checkpoints`` in the first logger's folder, without a logger in
            ``trainer.default_root_dir``.
    """

    def __init__(
        self,
        monitor: str = "val/clip_idf1",
        mode: Literal["max", "min"] = "max",
        every_n_train_steps: int | None = None,
        dirpath: str | None = None,
    ) -> None:
        if every_n_train_steps is not None and every_n_train_steps < 1:
            raise UserError(f"BestAndLast: every_n_train_steps: expected at least 1, got {every_n_train_steps}")
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode=mode,
            save_last=True,
            auto_insert_metric_name=False,
            every_n_train_steps=every_n_train_steps,
            enable_version_counter=False,
        )
        self._has_new_score = False

    @property
    def state_key(self) -> str:
        """Depends on what the best score means only, so that a resumed run may save at other times."""
        return self._generate_state_key(monitor=self.monitor, mode=self.mode)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settles the folder."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = DurableCheckpointIO()
        if is_local(str(self.dirpath)):
            self.dirpath = os.path.realpath(os.path.expanduser(str(self.dirpath)))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warns of checkpoints that are not this run's; which run it is was not known at setup."""
        known = trainer.ckpt_path or self._last_checkpoint_saved or trainer.fast_dev_run  # type: ignore[attr-defined]
        if not known and self._find_last_checkpoints(trainer):
            rank_zero_warn(f"The checkpoints in {self.dirpath} are of another run and will be overwritten.")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Saves every ``every_n_train_steps``, but where a validation or the epoch's end follows, only after that.

        A run resumed from a checkpoint in between would leave that validation out.
        """
        interval = self._every_n_train_steps
        is_due = interval and trainer.global_step % interval == 0 and not trainer.fit_loop._should_accumulate()
        if is_due and not (trainer.is_last_batch or _validates_next(trainer)):
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves after a validation within an epoch; one after its last batch is left to the epoch's end."""
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        self._has_new_score = fitting and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves at the end of every epoch."""
        self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Has nothing to add to the last epoch's end."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves on SIGTERM, which Lightning raises between batches; other exceptions may come in mid-step."""
        if isinstance(exception, SIGTERMException):
            if trainer.validating:
                _validate_again(trainer)
            self._save(trainer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remembers the best score if the checkpoint that reached it lies in the folder."""
        best, score = self.format_checkpoint_name({}), state_dict["best_model_score"]
        if score is not None and self._fs.exists(best):
            self.best_model_path = self.kth_best_model_path = best
            self.best_model_score = self.kth_value = score
            self.best_k_models = {best: score}

    def _save(self, trainer: Trainer) -> None:
        if self._should_skip_saving_checkpoint(trainer) and not self._has_new_score:
            return
        metrics = self._monitor_candidates(trainer)
        if self._has_new_score:
            self._save_topk_checkpoint(trainer, metrics)
            self._has_new_score = False
        self._save_last_checkpoint(trainer, metrics)

    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        if self.monitor in monitor_candidates:
            super()._save_topk_checkpoint(trainer, monitor_candidates)
        else:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "none"
            rank_zero_warn(f"No best checkpoint: {self.monitor!r} was not logged (metrics logged: {logged}).")

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        if not is_local(filepath):
            super()._save_checkpoint(trainer, filepath)
            return
        path = Path(filepath)
        partial = path.with_name(f".{path.name}.part")  # one process writes here, and again over what a kill has left
        try:
            trainer.save_checkpoint(partial, self.save_weights_only)
            if trainer.is_global_zero:
                place(partial, path, path.with_name(PREVIOUS) if path.stem == self.CHECKPOINT_NAME_LAST else None)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise UserError(
                f"{path}: cannot be written ({error.strerror or error}), so training ends here; "
                "--ckpt_path last goes on from the last checkpoint that could"
            ) from error
        trainer.strategy.barrier("renamed")  # a process that ends earlier would take the others down
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)
        self._last_global_step_saved = trainer.global_step
        self._last_checkpoint_saved = filepath


def _validates_next(trainer: Trainer) -> bool:
    """Whether a validation follows the batch that is about to end."""
    loop = trainer.fit_loop
    return loop._data_fetcher is not None and loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def _validate_again(trainer: Trainer) -> None:
    """Has a run resumed from what is saved now repeat the validation that was cut off, all of it."""
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.reset()
    progress.increment_ready()
    progress.increment_started()
