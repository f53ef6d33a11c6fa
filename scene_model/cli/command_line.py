"""LightningCLI with the precedence that users expect: defaults < checkpoint < config files < flags.

Stock Lightning lets a checkpoint beat the command line, and does not restore the data module.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from scene_model.cli.checkpoint import check_fit, newest_last, read_checkpoint
from scene_model.cli.run_folder import claim_run_folder, global_rank, run_loggers
from scene_model.errors import UserError

DEFAULT_ROOT = "runs"


class CheckpointCLI(LightningCLI):
    """A command line whose checkpoints bring their options along.

    ``--ckpt_path last`` is the newest ``last.ckpt`` under ``trainer.default_root_dir``. Every command works in a run
    folder of its own, except that ``fit --ckpt_path last`` goes on in the folder of that run.
    """

    checkpoint: dict[str, Any] | None = None
    run_folder: Path | None = None
    resumes = False

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse with the options of the checkpoint, if one is named, as defaults."""
        arguments = [str(argument) for argument in args] if isinstance(args, list) else sys.argv[1:]
        early = _early_options(arguments)
        path = self._resolve(early) if early["ckpt_path"] else None
        if path is not None:
            self.checkpoint = read_checkpoint(path)
            self._parse_over_checkpoint(parser, args, early["subcommand"], self.checkpoint)
        else:
            super().parse_arguments(parser, args)
        if early["ckpt_path"]:
            self.config[self.config.subcommand].ckpt_path = str(path) if path else None

    def _resolve(self, early: Mapping[str, Any]) -> Path | None:
        """The checkpoint's file; None where ``fit`` was to go on with the last one and there is none."""
        if early["ckpt_path"] != "last":
            return Path(early["ckpt_path"])
        root = Path(early["default_root_dir"] or DEFAULT_ROOT)
        path = newest_last(root)
        if path is None and early["subcommand"] != "fit":
            raise UserError(f"--ckpt_path last: there is no checkpoints/last.ckpt below {root}")
        if path is None:
            rank_zero_info(f"--ckpt_path last: there is no checkpoints/last.ckpt below {root}, so training starts anew")
        elif early["subcommand"] == "fit":
            self.resumes, self.run_folder = True, path.parent.parent
            rank_zero_info(f"--ckpt_path last: going on with {path}")
        return path

    def _parse_over_checkpoint(
        self, parser: LightningArgumentParser, args: ArgsType, subcommand: str, checkpoint: Mapping[str, Any]
    ) -> None:
        """Parse, and parse again without the checkpoint's arguments for classes that have been replaced."""
        defaults = _as_defaults("model", checkpoint["hyper_parameters"])
        defaults |= _as_defaults("data", checkpoint["datamodule_hyper_parameters"])
        subparser = self._subcommand_parsers[subcommand]
        own = {key: subparser.get_default(key) for key in defaults if _class_path(defaults[key])}
        subparser.set_defaults(defaults)
        super().parse_arguments(parser, args)
        parsed = self.config[subcommand]
        replaced = {
            key: own[key] for key in own if _class_path(parsed.get(key)) not in (None, _class_path(defaults[key]))
        }
        if replaced:
            subparser.set_defaults(replaced)
            super().parse_arguments(parser, args)

    def _parse_ckpt_path(self) -> None:
        """Replaces Lightning's, which lets the checkpoint beat the command line."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Check everything that users can get wrong, then create the run folder and the trainer."""
        self._check()
        options = self._get(self.config_init, "trainer")
        if options.get("logger") in (None, True) and not options.get("fast_dev_run"):
            root = Path(options.get("default_root_dir") or DEFAULT_ROOT)
            self.run_folder = self._shared_run_folder(root)
            kwargs["logger"] = run_loggers(self.run_folder)
        return super().instantiate_trainer(**kwargs)

    def _shared_run_folder(self, root: Path) -> Path:
        """The folder that the first process has claimed; launched processes read its name from the environment."""
        if self.run_folder is None:
            inherited = os.environ.get("SCENE_MODEL_RUN_FOLDER") if global_rank() else None
            self.run_folder = Path(inherited) if inherited else claim_run_folder(root)
        os.environ["SCENE_MODEL_RUN_FOLDER"] = str(self.run_folder)
        return self.run_folder

    def _check(self) -> None:
        if hasattr(self.datamodule, "check"):
            self.datamodule.check(self.subcommand)
        if self.checkpoint is not None:
            path = Path(self._get(self.config, "ckpt_path"))
            check_fit(self.checkpoint, path, self.model, list(self.datamodule.class_names))
            self.checkpoint = None

    @rank_zero_only
    def after_fit(self) -> None:
        """Say where everything is, and what to type next."""
        callback = self.trainer.checkpoint_callback
        best = getattr(callback, "best_model_path", "") or getattr(callback, "last_model_path", "")
        if self.run_folder is None or not best:
            return
        print(
            f"\nDone. Everything is in {self.run_folder}:\n"
            f"  best checkpoint  {best}\n"
            f"  configuration    {self.run_folder / 'config.yaml'}\n"
            f"  curves           tensorboard --logdir {self.run_folder.parent}\n"
            f"Next: python main.py validate --ckpt_path {best}"
        )


def _early_options(arguments: Sequence[str]) -> dict[str, Any]:
    """What must be known before the real parsing: command, checkpoint and root folder, flags before config files."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("subcommand", nargs="?")
    parser.add_argument("--ckpt_path")
    parser.add_argument("--trainer.default_root_dir", dest="default_root_dir")
    parser.add_argument("--config", action="append", default=[])
    options = vars(parser.parse_known_args(list(arguments))[0])
    for path in options.pop("config"):
        content = _read_yaml(path)
        trainer = content.get("trainer")
        for key, value in (
            ("ckpt_path", content.get("ckpt_path")),
            ("default_root_dir", trainer.get("default_root_dir") if isinstance(trainer, dict) else None),
        ):
            if options[key] is None:
                options[key] = value
    return options


def _read_yaml(path: str) -> dict[str, Any]:
    """A config file's content, empty where the real parser will find fault with it."""
    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _as_defaults(prefix: str, saved: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{key}": value for key, value in saved.items() if not key.startswith("_")}


def _class_path(value: Any) -> str | None:
    """The class that an option names, if it is one that names a class."""
    return value.get("class_path") if hasattr(value, "get") else None
