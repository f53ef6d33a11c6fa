"""What is known of tracks. What a window shows is a table of the same kind: tracks that only that window has seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scene_model.tracking.columns import BoolArray, Columns, FloatArray, IntArray
from scene_model.tracking.motion import Motion


@dataclass
class Looks(Columns):
    """What N objects looked like in some frames.

    Args:
        embeddings: ``[N, D]``, of any length: sums over the frames, weighted by existence.
        weights: ``[N]``, existence scores, summed over the frames in which no other object was over this one.
    """

    embeddings: FloatArray
    weights: FloatArray

    def plus(self, other: Looks, where: BoolArray | None = None) -> Looks:
        """These looks and others; given a mask ``[N]``, the others count for the selected objects only."""
        share = np.ones(len(other)) if where is None else where.astype(np.float64)
        return Looks(self.embeddings + share[:, None] * other.embeddings, self.weights + share * other.weights)


@dataclass
class Tracks(Columns):
    """N tracks on a time axis of F frames. Averages are kept as sums, so that windows add up.

    Args:
        ids: int64 ``[N]``.
        weighted_boxes: ``[N, F, 4]``, boxes times scores, summed over the windows in which the track was found.
        score_sums: ``[N, F]``, existence scores, summed likewise.
        num_windows: ``[N, F]``, number of these windows.
        class_sums: ``[N, C]``, class probabilities, weighted by existence, of the track's whole life.
        looks_before: of N objects, up to when another one was over it last.
        looks_apart: since then.
        apart: bool ``[N]``, whether no other object was over it in the last window that shows it.
        motion: of N objects, from the frames in which they were seen last.
    """

    ids: IntArray
    weighted_boxes: FloatArray
    score_sums: FloatArray
    num_windows: FloatArray
    class_sums: FloatArray
    looks_before: Looks
    looks_apart: Looks
    apart: BoolArray
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

    @property
    def looks(self) -> Looks:
        """Those of a track's whole life."""
        return self.looks_before.plus(self.looks_apart)

    def shift(self, drop: int, add: int) -> None:
        """Moves the time axis on: forgets its first frames and makes room for new ones."""
        for name in ("weighted_boxes", "score_sums", "num_windows"):
            old = getattr(self, name)[:, drop:]
            setattr(self, name, np.concatenate([old, np.zeros((len(old), add, *old.shape[2:]))], axis=1))

    def take_identities(self, owner: IntArray) -> None:
        """Gives each track what is known of who another one, a row of these, was up to their meeting.

        Where it is stays, and what it has looked like since.
        """
        for name in ("ids", "class_sums", "looks_before"):
            setattr(self, name, getattr(self, name)[owner])

    def looks_with(self, seen: Tracks) -> tuple[Looks, Looks]:
        """`looks_before` and `looks_apart` after each was found in a further window, as the same row of `seen`."""
        before = self.looks_before.plus(seen.looks_before).plus(self.looks_apart, where=~seen.apart)
        return before, seen.looks_apart.plus(self.looks_apart, where=seen.apart)

    def continued_by(self, seen: Tracks, frames: IntArray, keep_threshold: float) -> Tracks:
        """The tracks after each was found in a further window, as the same row of `seen`."""
        merged = Tracks(
            self.ids,
            self.weighted_boxes + seen.weighted_boxes,
            self.score_sums + seen.score_sums,
            self.num_windows + seen.num_windows,
            self.class_sums + seen.class_sums,
            *self.looks_with(seen),
            seen.apart,
            self.motion,
        )
        weights = merged.seen_scores(keep_threshold)
        moved = np.flatnonzero(weights.any(1))
        merged.motion[moved] = Motion.of(merged.boxes[moved], weights[moved], frames)
        return merged
