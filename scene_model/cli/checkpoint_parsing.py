"""Parsing with the precedence that users expect: defaults < checkpoint < config files < flags.

Stock Lightning lets a checkpoint beat the command line, and does not restore the data module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from pydoc import locate
from typing import Any

from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info

from scene_model.cli.checkpoint import newest_last, read_checkpoint, run_options, saved_options
from scene_model.cli.early_options import EarlyOptions
from scene_model.cli.named_classes import check_classes, named_modules, own_config
from scene_model.cli.resumption import Resumption
from scene_model.cli.run_lock import RunLock, lock_run
from scene_model.cli.version_folder import inherited_folder
from scene_model.errors import UserError

DEFAULT_ROOT = "runs"


class CheckpointParsing(LightningCLI):
    """A command line that takes the options of the checkpoint it is given, where nothing else says otherwise.

    Attributes:
        checkpoint: as read; None where none is named.
        resumed_folder: of the run that ``fit --ckpt_path last`` goes on with; None in all other cases.
        resumption: how far the run of the checkpoint that ``fit`` goes on from has come.
        lock: on its folder.
    """

    checkpoint: dict[str, Any] | None = None
    resumed_folder: Path | None = None
    resumption = Resumption()
    lock: RunLock | None = None

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse with the options of the checkpoint, if one is named, as defaults."""
        assert isinstance(args, list)
        command = next((argument for argument in args if argument in self.subcommands()), None)
        args = flags_last(args, command) if command else args
        early = EarlyOptions.read(args)
        path = self._resolve(command, early) if command and early.ckpt_path is not None else None
        if command and path:
            self.checkpoint = read_checkpoint(path)
            saved = saved_options(self.checkpoint)
            contents = [*early.contents, *own_config(path, runs_root(early.default_root_dir))]
            owners = {"model": self._model_class, "data": self._datamodule_class}
            check_classes(saved, owners, named_modules(args, contents, saved))
            if self.resumed_folder:
                saved |= run_options(self.resumed_folder)
            if command == "fit":
                self.resumption = Resumption.of(self.checkpoint, same_run=bool(self.resumed_folder))
            self._parse_over_checkpoint(parser, args, command, saved)
        else:
            self.config = parser.parse_args(args)
        self.config[self.config.subcommand].ckpt_path = str(path) if path else None

    def _resolve(self, command: str, early: EarlyOptions) -> Path | None:
        """The checkpoint's file; None where ``fit`` was to go on with the last one and there is none."""
        if early.ckpt_path != "last":
            return Path(str(early.ckpt_path)).expanduser()
        root = runs_root(early.default_root_dir)
        fits = command == "fit"
        path = newest_last(inherited_folder() or root if fits else root)
        if path is None and not fits:
            raise UserError(f"--ckpt_path last: there is no checkpoints/last.ckpt below {root}")
        if path is None:
            rank_zero_info(f"--ckpt_path last: there is no checkpoints/last.ckpt below {root}, so training starts anew")
        elif fits:
            self.resumed_folder = path.parent.parent
            self.lock = lock_run(self.resumed_folder)  # before anything is read that another process could replace
            rank_zero_info(f"--ckpt_path last: going on with {path}")
        else:
            rank_zero_info(f"--ckpt_path last: {path}")
        return path

    def _parse_over_checkpoint(
        self, parser: LightningArgumentParser, args: list[str], command: str, saved: Mapping[str, Any]
    ) -> None:
        """Parse, and parse again without the checkpoint's arguments for classes that have been replaced."""
        subparser = self._subcommand_parsers[command]
        own = {key: subparser.get_default(key) for key in saved if _class_of(saved[key])}
        try:
            subparser.set_defaults(dict(saved))
        except KeyError as error:
            raise UserError(f"--ckpt_path: the checkpoint holds options unknown to this program ({error})") from error
        self.config = parser.parse_args(args)
        chosen = {key: _class_of(self.config[command].get(key)) for key in own}
        replaced = [key for key in own if chosen[key] not in (None, _class_of(saved[key]))]
        if replaced:
            subparser.set_defaults({key: _plain(own[key]) for key in replaced})
            self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Replaces Lightning's, which lets the checkpoint beat the command line."""


def flags_last(arguments: Sequence[str], command: str) -> list[str]:
    """The arguments with the config files directly behind the command, since the parser lets the later one hold.

    Example:
        >>> flags_last(["fit", "--data.batch_size", "2", "--config", "a.yaml", "--config=b.yaml"], "fit")
        ['fit', '--config', 'a.yaml', '--config=b.yaml', '--data.batch_size', '2']
    """
    start = arguments.index(command) + 1
    files: list[str] = []
    flags: list[str] = []
    for previous, argument in pairwise(arguments[start - 1 :]):
        is_path = previous in ("-c", "--config") and not argument.startswith("-")
        names_file = argument == "--config" or argument.startswith(("-c", "--config="))
        (files if is_path or names_file else flags).append(argument)
    return [*arguments[:start], *files, *flags]


def runs_root(default_root_dir: str | Path | None) -> Path:
    """The folder of all runs."""
    return Path(default_root_dir or DEFAULT_ROOT).expanduser()


def _plain(default: Any) -> Any:
    """A default as the parser takes it."""
    return default.as_dict() if hasattr(default, "as_dict") else default


def _class_of(option: Any) -> Any:
    """The class that an option names, if it is one that names a class."""
    path = option.get("class_path") if hasattr(option, "get") else None
    return locate(path) if path else None
