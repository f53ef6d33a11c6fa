"""Where frames and annotations come from: the one interface that clip sampling, transforms and evaluation know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from scene_model.batch import TargetFrame


@dataclass(frozen=True)
class SequenceInfo:
    """What is known of a sequence without reading its frames.

    Args:
        name: unique within the source, safe as a file name.
        num_frames: number of frames, at least 1.
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        fps: frames per second.
    """

    name: str
    num_frames: int
    height: int
    width: int
    fps: float


class Source(ABC):
    """Sequences of frames with annotations, from one format.

    Constructing a source must be cheap and read no files: a checkpoint restores its training sources on machines that
    do not have them. Reading begins with `sequences`, which also validates what a user can get wrong.
    """

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the labels; known without reading any file."""

    @abstractmethod
    def sequences(self) -> list[SequenceInfo]:
        """The sequences, in a stable order.

        Raises:
            UserError: the data is missing or malformed; the sentence names file, line and what was expected.
        """

    @abstractmethod
    def frame(self, sequence: int, index: int) -> Tensor:
        """Frame `index` (0-based) of sequence number `sequence`: uint8 ``[3, H, W]``, RGB."""

    @abstractmethod
    def targets(self, sequence: int, index: int) -> TargetFrame:
        """The annotated objects of that frame; empty where the source has no annotations."""
