"""Places of the program where a training can be told to kill itself by SIGKILL, at the n-th time that it comes there.

step: before a training step; validation: before a step of a validation; write: when half of a checkpoint is written;
rename: when a checkpoint is complete, before it is put in its place; renamed: when it is there, before anything else.
"""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch

import main as program


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before(owner: Any, name: str, times: int, counts: Callable[..., bool] = lambda *args: True) -> None:
    """Have the n-th of the calls that count kill the process; the others do what they did."""
    whole, left = getattr(owner, name), iter(range(times - 1, -1, -1))

    @wraps(whole)
    def dying(*args: Any, **options: Any) -> Any:
        if counts(*args) and next(left) == 0:
            die()
        return whole(*args, **options)

    setattr(owner, name, dying)


def die_half_written(times: int) -> None:
    whole, left = torch.save, iter(range(times - 1, -1, -1))

    def dying(content: Any, file: Any) -> None:
        if next(left):
            return whole(content, file)
        buffer = io.BytesIO()
        whole(content, buffer)
        file.write(buffer.getvalue()[: buffer.tell() // 2])
        file.flush()
        die()

    torch.save = dying


def is_last(_: Any, path: Any) -> bool:
    return Path(path).name == "last.ckpt"


def die_renamed(times: int) -> None:
    whole, left = os.replace, iter(range(times - 1, -1, -1))

    def dying(part: Any, path: Any) -> None:
        whole(part, path)
        if is_last(part, path) and next(left) == 0:
            die()

    os.replace = dying


PLACES: dict[str, Callable[[int], None]] = {
    "step": lambda times: die_before(program.SceneModelLightningModule, "training_step", times),
    "validation": lambda times: die_before(program.SceneModelLightningModule, "validation_step", times),
    "write": die_half_written,
    "rename": lambda times: die_before(os, "replace", times, is_last),
    "renamed": die_renamed,
}
