"""What `predict` runs on: videos of any kind as streams of frames."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from datamodules.image_files import read_upright, scaled_to
from scene_model.batch import SequenceInfo
from scene_model.errors import UserError

DEFAULT_FPS = 30.0
"""Frames per second where nothing is said of them."""


class Footage(ABC):
    """One video, to be read from its beginning to its end; it holds no open file, so that workers can be given it.

    Args:
        path: where it is, for what is said to the user.
        info: its name and rate, the size of its first frame, and about how many frames it has.
    """

    def __init__(self, path: Path, info: SequenceInfo) -> None:
        self.path, self.info = path, info

    @abstractmethod
    def read(self) -> Iterator[Tensor | None]:
        """The frames, uint8 ``[3, h, w]`` of any size, RGB; None stands for one that cannot be read."""

    def frames(self) -> Iterator[Tensor | None]:
        """What `read` gives, all of one size: frames of another size than the first are scaled.

        At the end, one warning says which frames were scaled, and one which could not be read.
        """
        height, width = self.info.height, self.info.width
        unreadable, scaled = _Tally(), _Tally()
        for number, frame in enumerate(self.read(), start=1):
            if frame is None:
                unreadable.add(number)
            elif frame.shape[1:] != (height, width):
                scaled.add(number)
                frame = scaled_to(frame, (height, width))
            yield frame
        if unreadable.count:
            warnings.warn(f"{self.path}: cannot read {unreadable}: left out", stacklevel=2)
        if scaled.count:
            warnings.warn(f"{self.path}: scaled {scaled} to the size of the first, {width}x{height}", stacklevel=2)


@dataclass
class _Tally:
    """How many frames, and the number of the first."""

    count: int = 0
    first: int = 0

    def add(self, number: int) -> None:
        self.first = self.first or number
        self.count += 1

    def __str__(self) -> str:
        return f"frame {self.first}" if self.count == 1 else f"{self.count} frames (the first is frame {self.first})"


class ImageFolder(Footage):
    """Images as the frames of a video, turned upright where their EXIF data say so.

    Args:
        path: their folder.
        files: their names ``[F]``, in the order of the frames; an array, so that workers share it.
        info: of the video.
    """

    def __init__(self, path: Path, files: NDArray[np.str_], info: SequenceInfo) -> None:
        super().__init__(path, info)
        self.files = files

    @classmethod
    def open(cls, path: Path, files: NDArray[np.str_], name: str, fps: float = DEFAULT_FPS) -> ImageFolder:
        """Finds the first image that can be read, which gives the size.

        Raises:
            UserError: there is none; the sentence says what is wrong with the first.
        """
        errors = []
        for file in files:
            try:
                height, width = read_upright(path / str(file)).shape[1:]
            except UserError as error:
                errors.append(error)
            else:
                return cls(path, files, SequenceInfo(name, len(files), height, width, fps))
        raise errors[0]

    def read(self) -> Iterator[Tensor | None]:
        """See `Footage.read`."""
        for file in self.files:
            try:
                yield read_upright(self.path / str(file))
            except UserError:
                yield None
