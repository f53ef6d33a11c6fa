"""Weights that a training starts from: those of a backbone, or of a whole earlier run."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scene_model.errors import UserError
from scene_model.intact_loading import load_intact
from scene_model.rank_zero import rank_zero_warn

_OPTION = "model.weights"
_are_read = ContextVar("_are_read", default=True)


@contextmanager
def weights_to_follow() -> Iterator[None]:
    """Build networks without reading initial weights: those of a checkpoint will replace them."""
    token = _are_read.set(False)
    try:
        yield
    finally:
        _are_read.reset(token)


def are_read() -> bool:
    """Whether networks that are built now read their initial weights."""
    return _are_read.get()


def read_tensors(path: Path, option: str, key: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Args:
        path: of the file, in torch's present format or the one before.
        option: that named it, for errors.
        key: under which they lie; None: the file holds nothing else.

    Raises:
        UserError: the file cannot be read, or holds no such tensors.
    """
    if not os.path.isfile(path):  # which also takes what can be no path
        raise UserError(f"{option}: there is no file {path}")
    try:
        is_archive = zipfile.is_zipfile(path)
        content: Any = load_intact(path) if is_archive else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch.load fails in as many ways as files can be broken
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{option}: {path} is no readable state dict ({reason})") from error
    tensors = content if key is None else content.get(key) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(_is_dense(name, value) for name, value in tensors.items()):
        raise UserError(f"{option}: {path} does not hold a state dict of tensors" + (f" as {key!r}" if key else ""))
    return tensors


def start_from(model: nn.Module, weights: str) -> None:
    """Give a `SceneModel` the weights of an earlier run's checkpoint.

    The backbone must be the same. What else has another name or shape there, such as the scores of more or fewer
    classes, keeps its own start, and a warning says so.

    Raises:
        UserError: the file is no checkpoint, or one of another backbone.
    """
    path = Path(weights).expanduser()
    saved = {name.removeprefix("model."): value for name, value in read_tensors(path, _OPTION, "state_dict").items()}
    own = model.state_dict()
    anew = [name for name, tensor in own.items() if name not in saved or not is_alike(saved[name], tensor)]
    unused = sorted(saved.keys() - own.keys())
    _check_backbone(saved, unused + anew, path)
    taken = {name: saved[name].to(own[name].dtype) for name in own if name not in anew}
    broken = [name for name, tensor in taken.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(f"{_OPTION}: {path} holds numbers that are not finite, such as in {broken[0]!r}")
    if anew or unused:
        parts = ", ".join(sorted({name.split(".")[0] for name in anew + unused}))
        rank_zero_warn(
            f"{_OPTION}: {len(anew)} of {len(own)} tensors start anew, since {path} has none of that name and shape, "
            f"and {len(unused)} of its own are not used ({parts}); options that change the network do not come along"
        )
    model.load_state_dict(taken, strict=False)


def is_alike(saved: Any, own: Tensor) -> bool:
    """Whether what a checkpoint holds under a tensor's name can be copied into it."""
    if not isinstance(saved, Tensor) or saved.layout != own.layout:
        return False
    return saved.shape == own.shape and saved.is_floating_point() == own.is_floating_point()


def _is_dense(name: Any, value: Any) -> bool:
    is_tensor = isinstance(name, str) and isinstance(value, Tensor)
    return is_tensor and value.layout == torch.strided and not value.is_nested and value.device.type == "cpu"


def _check_backbone(saved: Iterable[str], unfit: Iterable[str], path: Path) -> None:
    """See that there is a backbone, and that none of its tensors is among those that do not fit."""
    if not any(map(_is_of_backbone, saved)):
        raise UserError(f"{_OPTION}: {path} was not written by this program (it holds no tensors of a backbone)")
    wrong = [name for name in unfit if _is_of_backbone(name)]
    if wrong:
        raise UserError(
            f"{_OPTION}: {path} is of another backbone: {len(wrong)} of its tensors are missing, unknown or of another "
            f"shape, such as {wrong[0]!r}; set model.backbone as its run did"
        )


def _is_of_backbone(name: str) -> bool:
    return name.startswith("backbone.")
