"""Reading checkpoints: what they say about a run, and whether they fit a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from torch import nn

from scene_model.cli.config_file import read_config
from scene_model.errors import UserError
from scene_model.heads import Head
from scene_model.intact_loading import load_intact
from scene_model.network.initial_weights import is_alike


def newest_last(root: Path) -> Path | None:
    """The newest ``checkpoints/last.ckpt`` below a folder, None where there is none."""
    found = root.glob("**/checkpoints/last.ckpt") if root.is_dir() else ()
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint without running code from it.

    Raises:
        UserError: there is no such file, it is damaged, or it was not written by a training of ours. Of a damaged one
            it is said which is the newest checkpoint beside it that is not.
    """
    if not os.path.isfile(path):  # which also takes what can be no path
        inside = next(filter(os.path.isfile, (path / "checkpoints/last.ckpt", path / "last.ckpt")), None)
        hint = f"; in that folder there is {inside}" if inside else ""
        raise UserError(f"--ckpt_path: there is no file {path}{hint}")
    try:
        checkpoint = load_intact(path)
    except Exception as error:  # torch.load fails in as many ways as files can be broken
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"--ckpt_path: {path} is damaged or no checkpoint ({reason.rstrip('.')})"
        raise UserError(message + _way_back(path)) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UserError(f"--ckpt_path: {path} is no checkpoint of a training (it holds no state_dict)")
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        if not isinstance(checkpoint.get(key), Mapping):
            raise UserError(f"--ckpt_path: {path} was not written by this program (it holds no {key})")
    return checkpoint


def _way_back(path: Path) -> str:
    """What to do about a damaged checkpoint; nothing where no other one lies beside it."""
    others = [other for other in path.parent.glob("*.ckpt") if other != path]
    for other in sorted(others, key=lambda other: other.stat().st_mtime, reverse=True):
        try:
            step = load_intact(other)["global_step"]
        except Exception:
            continue
        again = f"to go on from there: cp {other} {path}" if path.name == "last.ckpt" else "it can be used instead"
        return f"; the checkpoint before it is {other} (step {step}), {again}"
    return ""


def saved_options(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a checkpoint was trained with, as the command line names them."""
    groups = {"model": "hyper_parameters", "data": "datamodule_hyper_parameters"}
    return {
        f"{group}.{key}": _as_yaml(value)
        for group, name in groups.items()
        for key, value in checkpoint[name].items()
        if not str(key).startswith("_")
    }


def run_options(folder: Path) -> dict[str, Any]:
    """The options of a run that its checkpoints do not hold: those of the trainer and of the callbacks."""
    path = folder / "config.yaml"
    groups = read_config(str(path)) if path.is_file() else {}
    return {
        f"{group}.{key}": value
        for group, values in groups.items()
        if isinstance(values, dict) and group not in ("model", "data")
        for key, value in values.items()
    }


def _as_yaml(value: Any) -> Any:
    """Options as a YAML file has them; modules that were built in Python keep them as objects."""
    if isinstance(value, list | tuple):
        return [_as_yaml(item) for item in value]
    if not is_dataclass(value) or isinstance(value, type):
        return value
    if isinstance(value, Head):
        return {"class_path": f"{type(value).__module__}.{type(value).__qualname__}", "init_args": asdict(value)}
    return asdict(value)


def check_fit(checkpoint: Mapping[str, Any], path: Path, model: nn.Module, class_names: list[str]) -> None:
    """See that a checkpoint's weights fit the model that the options describe.

    Raises:
        UserError: the classes differ, tensors are missing, unknown or of another shape or kind, or not finite.
    """
    saved_names = checkpoint["hyper_parameters"].get("class_names")
    if saved_names is not None and list(saved_names) != class_names:
        raise UserError(
            f"--ckpt_path: {path} was trained for the classes {list(saved_names)}, but the data has {class_names}; "
            "the checkpoint brings its own data options along, where no --config and no flag names others"
        )
    saved, own = checkpoint["state_dict"], model.state_dict()
    wrong = sorted(saved.keys() ^ own.keys()) or [name for name in own if not is_alike(saved[name], own[name])]
    if wrong:
        raise UserError(
            f"--ckpt_path: {path} does not fit the model: {len(wrong)} tensors are missing, unknown or of another "
            f"shape, such as {wrong[0]!r}; leave out options that change the network, or train anew"
        )
    broken = [name for name, tensor in saved.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(
            f"--ckpt_path: {path} holds numbers that are not finite in {len(broken)} tensors, such as {broken[0]!r}: "
            "its training had gone wrong, take an earlier checkpoint"
        )
