"""Batches of windows in, tracks in pixels of the original frames out, of several videos at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scene_model.batch import SceneBatch, SequenceInfo
from scene_model.mot_text import MotTable
from scene_model.placement import letterbox
from scene_model.tracking.config import LinkingConfig
from scene_model.tracking.linker import TrackRows, WindowLinker
from scene_model.tracking.window import Window


@dataclass(frozen=True)
class FinalTracks:
    """The part of a video's tracks that has become final.

    Args:
        sequence: the video.
        end: the frames before this one are final.
        is_last: whether the video ends here, with `end` frames.
        table: the rows that have become final: boxes clipped to the frame, in pixels of the original, existence as
            conf, classes counted from 1.
    """

    sequence: SequenceInfo
    end: int
    is_last: bool
    table: MotTable


class VideoTracker:
    """Follows videos from batch to batch; the windows of a video come in order, in whatever batches.

    Args:
        config: how windows become tracks.
    """

    def __init__(self, config: LinkingConfig) -> None:
        self._config = config
        self._linkers: dict[str, WindowLinker] = {}

    def update(self, batch: SceneBatch, outputs: Mapping[str, Tensor]) -> list[FinalTracks]:
        """What is final with the windows of a batch, one part per window; of windows that are all padding, nothing.

        Args:
            batch: letterboxed windows.
            outputs: what `SceneModel` says of them.
        """
        size = (batch.frames.shape[-2], batch.frames.shape[-1])
        windows = Window.of_outputs(outputs, batch.frame_indices, batch.padding_mask)
        clips = zip(batch.sequences, windows, batch.is_last, strict=True)
        return [self._follow(*clip, size) for clip in clips if len(clip[1].frames)]

    def _follow(self, sequence: SequenceInfo, window: Window, is_last: bool, size: tuple[int, int]) -> FinalTracks:
        linker = self._linkers.setdefault(sequence.name, WindowLinker(self._config))
        rows = linker.update(window)
        if is_last:
            rows = rows.followed_by(linker.finish())
            del self._linkers[sequence.name]
        return FinalTracks(sequence, linker.next_frame, is_last, _in_pixels(rows, sequence, size))


def _in_pixels(rows: TrackRows, sequence: SequenceInfo, size: tuple[int, int]) -> MotTable:
    """Rows as a file has them; boxes that lie outside the frame are left out."""
    placement = letterbox((sequence.height, sequence.width), size)
    boxes = placement.to_original_pixels(torch.from_numpy(rows.boxes)).numpy()
    table = MotTable.of_tracks(rows.frames, rows.track_ids, boxes, rows.scores, (rows.classes + 1).astype(np.float64))
    return table[np.flatnonzero((boxes[:, 2:] > 0).all(1))]
