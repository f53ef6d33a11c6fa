"""Weights that a training starts from: those of a backbone, or of a whole earlier run."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from scene_model.errors import UserError
from scene_model.intact_loading import load_intact

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
    """Whether networks are built with their initial weights."""
    return _are_read.get()


def read_tensors(path: str, option: str, key: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Args:
        path: of the file, in torch's present format or the one before.
        option: that named it, for errors.
        key: under which they lie; None: the file holds nothing else.

    Raises:
        UserError: the file cannot be read, or holds no such tensors.
    """
    try:
        is_archive = zipfile.is_zipfile(path)
        content: Any = load_intact(Path(path)) if is_archive else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch.load fails in as many ways as files can be broken
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{option}: {path} is no readable state dict ({reason})") from error
    tensors = content if key is None else content.get(key) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"{option}: {path} does not hold a state dict of tensors" + (f" as {key!r}" if key else ""))
    return tensors


def start_from(model: nn.Module, path: str) -> None:
    """Give a `SceneModel` the weights of an earlier run's checkpoint.

    The backbone must be the same. What else has another name or shape there, such as the scores of other classes or a
    new head, keeps its own start, and a warning says so.

    Raises:
        UserError: the file is no checkpoint, or one of another backbone.
    """
    saved = {name.removeprefix("model."): value for name, value in read_tensors(path, _OPTION, "state_dict").items()}
    own = model.state_dict()
    backbone = {name for name in saved.keys() | own.keys() if name.startswith("backbone.")}
    anew = [name for name in own if not _fits(name, saved, own)]
    wrong = sorted(backbone - own.keys()) + [name for name in anew if name in backbone]
    if wrong:
        raise UserError(
            f"{_OPTION}: {path} is of another backbone: {len(wrong)} of its tensors are missing, unknown or of another "
            f"shape, such as {wrong[0]!r}; set model.backbone as its run did"
        )
    broken = [name for name in own if name not in anew and not saved[name].isfinite().all()]
    if broken:
        raise UserError(f"{_OPTION}: {path} holds numbers that are not finite, such as in {broken[0]!r}")
    if anew:
        rank_zero_warn(
            f"{_OPTION}: {len(anew)} of {len(own)} tensors start anew, since {path} has none of that name and shape, "
            f"such as {anew[0]!r}"
        )
    model.load_state_dict({name: saved[name] for name in own if name not in anew}, strict=False)


def _fits(name: str, saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return name in saved and saved[name].shape == own[name].shape
