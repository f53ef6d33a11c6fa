"""What is known of tracks. What a window shows is a table of the same kind: tracks that only that window has seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scene_model.tracking.columns import Columns, FloatArray, IntArray
from scene_model.tracking.motion import Motion

_EMBEDDING_MEMORY = 0.7  # share that a track's embedding keeps when a window shows how it looks now


@dataclass
class Tracks(Columns):
    """N tracks on a time axis of F frames. Averages are kept as sums, so that windows add up.

    Args:
        ids: int64 ``[N]``.
        weighted_boxes: ``[N, F, 4]``, boxes times scores, summed over the windows in which the track was found.
        score_sums: ``[N, F]``, existence scores, summed likewise.
        num_windows: ``[N, F]``, number of these windows.
        class_sums: ``[N, C]``, class probabilities, weighted by existence, of the track's whole life.
        embeddings: ``[N, D]``, of any length.
        looks: ``[N]``, existence scores of the frames in which the object was seen with no other one over it.
        motion: of N objects, from the frames in which they were seen last.
    """

    ids: IntArray
    weighted_boxes: FloatArray
    score_sums: FloatArray
    num_windows: FloatArray
    class_sums: FloatArray
    embeddings: FloatArray
    looks: FloatArray
    motion: Motion

    @property
    def scores(self) -> FloatArray:
        """Mean existence scores ``[N, F]``; 0 where no window covers a track."""
        return self.score_sums / np.maximum(self.num_windows, 1)

    def seen_scores(self, keep_threshold: float) -> FloatArray:
        """Mean existence scores ``[N, F]``; 0 where a track is not seen."""
        scores = self.scores
        return np.where(scores >= keep_threshold, scores, 0)

    @property
    def boxes(self) -> FloatArray:
        """Mean boxes ``[N, F, 4]``, weighted by existence."""
        return self.weighted_boxes / np.maximum(self.score_sums, np.finfo(np.float64).tiny)[..., None]

    def shift(self, drop: int, add: int) -> None:
        """Moves the time axis on: forgets its first frames and makes room for new ones."""
        for name in ("weighted_boxes", "score_sums", "num_windows"):
            old = getattr(self, name)[:, drop:]
            setattr(self, name, np.concatenate([old, np.zeros((len(old), add, *old.shape[2:]))], axis=1))

    def take_identities(self, owner: IntArray) -> None:
        """Gives each track what is known of who another one, a row of these, is; where it is stays."""
        for name in ("ids", "class_sums", "embeddings", "looks"):
            setattr(self, name, getattr(self, name)[owner])

    def continued_by(self, seen: Tracks, frames: IntArray, keep_threshold: float) -> Tracks:
        """The tracks after each was found in a further window, as the same row of `seen`.

        A window in which others are over an object all the time makes nothing of its looks forgotten.
        """
        memory = np.where(seen.looks > 0, _EMBEDDING_MEMORY, 1.0)[:, None]
        merged = Tracks(
            self.ids,
            self.weighted_boxes + seen.weighted_boxes,
            self.score_sums + seen.score_sums,
            self.num_windows + seen.num_windows,
            self.class_sums + seen.class_sums,
            memory * self.embeddings + seen.embeddings,
            self.looks + seen.looks,
            self.motion,
        )
        weights = merged.seen_scores(keep_threshold)
        moved = np.flatnonzero(weights.any(1))
        merged.motion[moved] = Motion.of(merged.boxes[moved], weights[moved], frames)
        return merged
