"""The commands: from options to a run folder, a trainer, and what it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from scene_model.cli.checkpoint import check_fit
from scene_model.cli.checkpoint_parsing import CheckpointParsing, runs_root
from scene_model.cli.parser import BriefErrorParser
from scene_model.cli.ranks import check_ranks, ranks_end_together
from scene_model.cli.run_lock import lock_run
from scene_model.cli.run_logs import LogPosition, run_loggers
from scene_model.cli.stop_signals import StopAtBatchEnd
from scene_model.cli.summary import summary
from scene_model.cli.version_folder import open_run_folder
from scene_model.errors import UserError
from scene_model.files import NewFile, file_errors
from scene_model.network.initial_weights import weights_to_follow

_DEFAULTS = {
    "predict": {"return_predictions": False},  # else all outputs of a video would stay in memory
    "test": {"verbose": False},  # callbacks print scores in a table of their own
}


class CheckpointCLI(CheckpointParsing):
    """A command line whose checkpoints bring their options along.

    ``--ckpt_path last`` is the newest ``last.ckpt`` under ``trainer.default_root_dir``. Every command works in a run
    folder of its own, except that ``fit --ckpt_path last`` goes on in the folder of that run, where trainer and
    callbacks are what they were, too. Whatever is wrong with the options is found before a folder is created.

    Args:
        model_class: LightningModule, which calls ``save_hyperparameters``.
        datamodule_class: LightningDataModule, likewise; ``class_names`` and ``check(command)`` are its own checks.
            A model's own are ``check(trainer)``, before training; a callback's ``check(command, folder,
            datamodule)``.
        args: as on the command line; None takes those of this process.
        kwargs: of LightningCLI.
    """

    def __init__(
        self,
        model_class: type[LightningModule],
        datamodule_class: type[LightningDataModule],
        args: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.run_folder: Path | None = None
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # a user's own classes are found as under `python -m`
        super().__init__(
            model_class,
            datamodule_class,
            args=sys.argv[1:] if args is None else list(args),
            parser_class=BriefErrorParser,
            save_config_callback=None,  # the config is saved where the run folder is created
            **kwargs,
        )

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Lightning's, with what ``--ckpt_path`` takes here."""
        super().setup_parser(*args, **kwargs)
        for parser in self._subcommand_parsers.values():
            next(action for action in parser._actions if action.dest == "ckpt_path").help = (
                "Path of a checkpoint; last: the newest last.ckpt below trainer.default_root_dir. The model and data "
                "options that it was trained with hold, where no config file and no flag says otherwise."
            )
        for command, defaults in _DEFAULTS.items():
            if command in self._subcommand_parsers:
                self._subcommand_parsers[command].set_defaults(defaults)

    def _set_seed(self) -> None:
        seed = self._get(self.config, "seed_everything")
        if not 0 <= seed < 2**32:
            raise UserError(f"seed_everything: expected a number from 0 to 2^32 - 1, got {seed}")
        super()._set_seed()

    def before_instantiate_classes(self) -> None:
        """Find sections that hold nothing, as where all lines below a key are commented out."""
        for group, owner in (("model", self._model_class), ("data", self._datamodule_class)):
            for name, kind in get_type_hints(owner.__init__).items():
                if is_dataclass(kind) and self._get(self.config, f"{group}.{name}") is None:
                    raise UserError(f"{group}.{name}: expected keys and values below it, found nothing")

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; weights that a checkpoint will replace are not read."""
        try:
            with weights_to_follow() if self.checkpoint else nullcontext():
                super().instantiate_classes()
        except ValueError as error:
            user_error = _user_error_behind(error)
            if user_error is None:
                raise
            raise user_error from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Check everything that users can get wrong, then create the run folder and the trainer."""
        self._check()
        options = self._get(self.config_init, "trainer")
        if options.fast_dev_run:
            trainer = super().instantiate_trainer(**kwargs)
            self._check_trainer(trainer)
            return trainer
        with open_run_folder(runs_root(options.default_root_dir), self.resumed_folder) as folder:
            if options.logger in (None, True) and not options.barebones:
                kwargs["logger"] = run_loggers(folder, self.resumption.logged)
            trainer = super().instantiate_trainer(default_root_dir=str(folder), **kwargs)
            self._check_parts(trainer, folder)
        for callback in trainer.checkpoint_callbacks:
            if getattr(callback, "dirpath", "") is None:
                callback.dirpath = str(folder / "checkpoints")  # type: ignore[attr-defined]
        self.run_folder = folder
        trainer._signal_connector = StopAtBatchEnd(trainer)
        if self.subcommand == "fit":
            self._prepare_fit(trainer, folder)
        self._save_config(folder / "config.yaml")
        return trainer

    def _prepare_fit(self, trainer: Trainer, folder: Path) -> None:
        """What makes a training one that can be killed, stopped and resumed."""
        if not self.resumed_folder:
            self.lock = lock_run(folder)
        trainer.callbacks.insert(0, LogPosition(self.resumption.logged))  # type: ignore[attr-defined]
        # Lightning takes a finished epoch for one that was begun where max_steps is given, and goes on in it.
        trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]
        self.resumption.say_if_complete(trainer)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Without the always-on checkpoints where they are switched off: Lightning refuses the two together."""
        if config["enable_checkpointing"] is False or config["barebones"]:
            callbacks = [callback for callback in callbacks if not isinstance(callback, Checkpoint)]
        try:
            return super()._instantiate_trainer(config, callbacks)
        except (MisconfigurationException, TypeError, ValueError) as error:
            if "No supported gpu backend" in str(error) or "CUDAAccelerator" in str(error):
                found = f"torch {torch.__version__} finds no GPU here; install a build of it for yours, or use cpu"
                raise UserError(f"trainer.accelerator: {found}") from error
            raise UserError(f"trainer: {' '.join(str(error).split())}") from error

    def _check(self) -> None:
        if hasattr(self.datamodule, "check"):
            self.datamodule.check(self.subcommand)
        if self.checkpoint:
            path = Path(self._get(self.config, "ckpt_path"))
            weights = self._get(self.config, "model.weights")
            if weights and weights != self.checkpoint["hyper_parameters"].get("weights"):
                rank_zero_warn(f"model.weights is not read: the weights are those of {path}")
            check_fit(self.checkpoint, path, self.model, list(self.datamodule.class_names))
            self.checkpoint = None
        elif self.subcommand != "fit":
            rank_zero_warn(
                f"{self.subcommand} without --ckpt_path: the weights are those that a training would start from"
            )

    def _check_trainer(self, trainer: Trainer) -> None:
        check_ranks(trainer)
        if hasattr(self.model, "check"):
            self.model.check(trainer, self.subcommand)

    def _check_parts(self, trainer: Trainer, folder: Path) -> None:
        self._check_trainer(trainer)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "check"):
                callback.check(self.subcommand, folder, self.datamodule)

    def _run_subcommand(self, subcommand: str) -> None:
        with ranks_end_together(self.trainer):
            super()._run_subcommand(subcommand)

    @rank_zero_only
    def _save_config(self, path: Path) -> None:
        """Save all options; that a run has gone on with its own checkpoint is none of them."""
        config = self.config[str(self.subcommand)].clone()
        if self.resumed_folder:
            config.ckpt_path = None
        text = self._parser(self.subcommand).dump(config, skip_none=False)
        with NewFile(path) as new, file_errors(path):  # other processes of the run read the one before
            new.part.write_text(text, encoding="utf-8")
            new.place()

    @rank_zero_only
    def after_fit(self) -> None:
        """Say where everything is, and what to type next."""
        if self.run_folder:
            print(summary(self.run_folder, self.trainer))


def _user_error_behind(error: BaseException) -> UserError | None:
    """What a class said of its arguments, where jsonargparse has tried it as one of several types."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    return cause
