"""Motion at constant velocity: straight lines fitted to what was seen, and how well two of them go together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scene_model.tracking.columns import Columns, ComplexArray, FloatArray, IntArray

_SHRINKAGE = 0.5  # frames squared: two neighbouring boxes, whose difference is mostly noise, give half their velocity


@dataclass
class Motion(Columns):
    """Straight motion of N objects. Points of the plane are complex numbers, x + iy.

    Args:
        first: int64 ``[N]``, the first frame that the line was fitted to.
        last: int64 ``[N]``, the last one.
        time: ``[N]``, mean frame.
        center: complex ``[N]``, centre of the box at that time.
        velocity: complex ``[N]``, change of the centre per frame.
        size: ``[N, 2]``, mean (w, h).
    """

    first: IntArray
    last: IntArray
    time: FloatArray
    center: ComplexArray
    velocity: ComplexArray
    size: FloatArray

    @classmethod
    def of(cls, boxes: FloatArray, weights: FloatArray, frames: IntArray) -> Motion:
        """Weighted least squares, drawn towards standing still where few frames speak for a velocity.

        Args:
            boxes: ``[N, F, 4]``.
            weights: ``[N, F]``, 0 where an object is not seen; each is seen once at least.
            frames: int64 ``[F]``.
        """
        seen, shares = weights > 0, weights / weights.sum(1, keepdims=True)
        first, last = frames[seen.argmax(1)], frames[len(frames) - 1 - seen[:, ::-1].argmax(1)]
        time, mean = shares @ frames, np.einsum("nf,nfx->nx", shares, boxes)
        elapsed = frames - time[:, None]
        lever = weights * elapsed
        change = np.einsum("nf,nfx->nx", lever, boxes[..., :2])
        velocity = change / ((lever * elapsed).sum(1) + _SHRINKAGE)[:, None]
        return cls(first, last, time, _points(mean[:, :2]), _points(velocity), mean[:, 2:])

    def centers_at(self, frames: IntArray) -> ComplexArray:
        """Centres at some frames ``[..., 1]`` or ``[..., N]``: ``[..., N]``."""
        return self.center + self.velocity * (frames - self.time)


def motion_similarity(earlier: Motion, later: Motion, max_distance: float) -> FloatArray:
    """How well M objects that were seen before go on as K objects that are seen now: ``[M, K]`` in [0, 1].

    The later object is sought where the earlier one's motion leads, and the earlier one where the later one must have
    come from. The mean of both distances, in sizes of the box, may grow with the square root of the time in between.

    Args:
        earlier: M objects.
        later: K objects.
        max_distance: greatest distance after one frame; the similarity falls to 0 there.
    """
    forward = earlier.centers_at(later.first[:, None]).T - later.centers_at(later.first)
    backward = earlier.centers_at(earlier.last)[:, None] - later.centers_at(earlier.last[:, None])
    distance = (np.abs(forward) + np.abs(backward)) / 2
    elapsed = np.maximum(np.abs(later.first - earlier.last[:, None]), 1)
    (width, height), (other_width, other_height) = earlier.size.T[..., None], later.size.T
    area, other_area = width * height, other_width * other_height
    common = np.minimum(width, other_width) * np.minimum(height, other_height)
    reach = max_distance * np.sqrt(elapsed * np.sqrt(area * other_area))
    nearness = np.maximum(reach - distance, 0) / np.maximum(reach, np.finfo(np.float64).tiny)
    similarity: FloatArray = nearness * common / (area + other_area - common)
    return similarity


def _points(vectors: FloatArray) -> ComplexArray:
    points: ComplexArray = vectors[:, 0] + 1j * vectors[:, 1]
    return points
