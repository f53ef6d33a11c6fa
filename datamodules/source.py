"""Where frames and annotations come from: the one interface that clip sampling, transforms and evaluation know."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from torch import Tensor

from scene_model.batch import SequenceInfo, SequenceTruth, TargetFrame
from scene_model.mot_rules import class_rules
from scene_model.mot_text import MotTable


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

    def origin(self, sequence: int) -> tuple[str, range] | None:
        """What the frames of a sequence are taken from, and which of its frames they are, counted from 0.

        It tells where training and validation share frames. None, where a format does not say, is never shared.
        """
        return None

    def truth(self, sequence: int) -> SequenceTruth | None:
        """All annotations of a sequence, as they are scored: those of `targets`, unless a format knows better.

        None says that the sequence is not annotated, and so not scored.
        """
        info = self.sequences()[sequence]
        frames = [self.targets(sequence, index) for index in range(info.num_frames)]
        boxes = np.concatenate([frame.boxes.double().numpy() for frame in frames])
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
        table = MotTable(
            frames=np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]),
            track_ids=np.concatenate([frame.track_ids.numpy() for frame in frames]),
            boxes=corners * [info.width, info.height, info.width, info.height],
            conf=np.concatenate([~frame.ignore.numpy() for frame in frames]).astype(np.float64),
            classes=np.concatenate([frame.labels.numpy() for frame in frames]) + 1.0,
            visibility=np.ones(len(boxes)),
        )
        return SequenceTruth(table, class_rules("DanceTrack", self.class_names, self.class_names))
