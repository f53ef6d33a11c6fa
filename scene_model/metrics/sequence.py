"""One class of one sequence, ready for scoring: who is where, and which boxes overlap by how much.

What the metrics share is found here once, for all frames together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scene_model.metrics.overlap import Pairs, overlapping_pairs
from scene_model.mot_text import FloatArray, IntArray, MotTable


@dataclass(frozen=True)
class Detections:
    """The boxes of all frames of one side, ordered by frame and within a frame as they were given.

    Args:
        frames: int64 ``[N]``, counted from 0, ascending.
        ids: int64 ``[N]``, identities renumbered to 0 ... `num_ids` - 1.
        num_ids: number of identities.
        starts: int64 ``[F + 1]``, frame f holds the rows ``starts[f]:starts[f + 1]``.
    """

    frames: IntArray
    ids: IntArray
    num_ids: int
    starts: IntArray

    def __len__(self) -> int:
        return len(self.frames)

    @cached_property
    def lengths(self) -> IntArray:
        """Number of boxes of each identity, ``[num_ids]``."""
        return np.bincount(self.ids, minlength=self.num_ids)

    @classmethod
    def of(cls, table: MotTable, num_frames: int) -> Detections:
        """The rows of a table, whose frames must ascend.

        Raises:
            ValueError: an identity stands twice in one frame.
        """
        unique = np.unique(table.track_ids)
        ids = np.searchsorted(unique, table.track_ids)
        moments = np.sort(table.frames * len(unique) + ids, kind="stable")
        if (np.diff(moments) == 0).any():
            raise ValueError("an identity stands more than once in a frame")
        starts = np.searchsorted(table.frames, np.arange(num_frames + 1))
        return cls(table.frames, ids, len(unique), starts)


@dataclass(frozen=True)
class TrackedSequence:
    """Ground truth and tracker's output of one sequence and class: what `HOTA`, `CLEAR` and `Identity` are fed.

    Args:
        num_frames: length of the sequence, empty frames included.
        truth: the ground truth.
        tracker: the tracker's output.
        pairs: their overlaps.
    """

    num_frames: int
    truth: Detections
    tracker: Detections
    pairs: Pairs

    @cached_property
    def identity_pairs(self) -> IntArray:
        """The identities of each pair as one number, ``truth id * tracker.num_ids + tracker id``, ``[P]``."""
        return self.truth.ids[self.pairs.truth] * self.tracker.num_ids + self.tracker.ids[self.pairs.tracker]

    def cells(self, frame: int, pairs: Pairs) -> tuple[IntArray, IntArray]:
        """Rows and columns of one frame's pairs in a matrix of its true boxes by its tracker's boxes."""
        return pairs.truth - self.truth.starts[frame], pairs.tracker - self.tracker.starts[frame]

    def matrix(self, frame: int, pairs: Pairs, values: FloatArray) -> FloatArray:
        """Values of one frame's pairs as a matrix of its true boxes by its tracker's boxes, 0 elsewhere."""
        num_rows, num_columns = (np.diff(side.starts[frame : frame + 2])[0] for side in (self.truth, self.tracker))
        matrix = np.zeros((num_rows, num_columns))
        matrix[self.cells(frame, pairs)] = values
        return matrix

    @classmethod
    def of(cls, truth: MotTable, tracker: MotTable, num_frames: int | None = None) -> TrackedSequence:
        """Finds the overlaps of two tables of boxes.

        Args:
            truth: the ground truth that counts (see `apply_rules` for what a benchmark leaves out).
            tracker: the tracker's output.
            num_frames: length of the sequence; None: up to the last frame that holds a box.

        Example:
            >>> import numpy as np
            >>> frames, ids, conf = np.array([0, 1]), np.array([7, 7]), np.ones(2)
            >>> truth = MotTable.of_tracks(frames, ids, np.array([[0.0, 0, 10, 10], [5, 0, 10, 10]]), conf)
            >>> tracker = MotTable.of_tracks(frames, ids, np.array([[0.0, 0, 10, 10], [5, 0, 10, 5]]), conf)
            >>> TrackedSequence.of(truth, tracker).pairs.iou
            array([1. , 0.5])
        """
        truth, tracker = by_frame(truth), by_frame(tracker)
        last_frame = max((table.frames[-1] for table in (truth, tracker) if len(table)), default=-1)
        num_frames = int(last_frame) + 1 if num_frames is None else num_frames
        if last_frame >= num_frames:
            raise ValueError(f"a box stands in frame {last_frame} (from 0) of a sequence of {num_frames} frames")
        return cls(
            num_frames,
            Detections.of(truth, num_frames),
            Detections.of(tracker, num_frames),
            overlapping_pairs(truth, tracker),
        )


def by_frame(table: MotTable) -> MotTable:
    """The table with ascending frames; within a frame the order stays."""
    return table if (np.diff(table.frames) >= 0).all() else table[np.argsort(table.frames, kind="stable")]
