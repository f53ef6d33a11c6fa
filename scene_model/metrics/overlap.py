"""Which boxes of a sequence overlap, and by how much: sparse, for all frames at once.

A pair of boxes that do not overlap can neither be matched nor change any sum of any metric, so only those that do are
ever listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scene_model.mot_text import FloatArray, IntArray, MotTable

EPS = float(np.finfo(np.float64).eps)

_Side = tuple[FloatArray, FloatArray]  # corners [4, N] and interval on the line [2, N], both ordered by its beginning


@dataclass(frozen=True)
class Pairs:
    """Pairs of a true box and a tracker's box of the same frame that overlap, ordered by true and then tracker's box.

    Args:
        truth: int64 ``[P]``, rows of the ground truth.
        tracker: int64 ``[P]``, rows of the tracker's boxes.
        iou: float64 ``[P]``, intersection over union, greater than 0.
    """

    truth: IntArray
    tracker: IntArray
    iou: FloatArray

    def __len__(self) -> int:
        return len(self.iou)

    def __getitem__(self, keep: NDArray[np.bool_] | IntArray) -> Pairs:
        """The pairs selected by a mask or by indices."""
        return Pairs(self.truth[keep], self.tracker[keep], self.iou[keep])


def overlapping_pairs(truth: MotTable, tracker: MotTable) -> Pairs:
    """All pairs of boxes of the same frame with positive areas and a positive intersection, and their IoU.

    Frames are laid out one after another on a line. Of two intervals that overlap there, one begins inside the other:
    binary searches over all boxes at once find the candidates, which are then measured on the original coordinates.

    Args:
        truth: the ground truth, ordered by frame.
        tracker: the tracker's boxes, ordered by frame.
    """
    if not len(truth) or not len(tracker):
        return Pairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    a, b = _corners(truth), _corners(tracker)
    line_a, line_b = _on_one_line(truth, tracker, a, b)
    order_a, order_b = (np.argsort(line[0], kind="stable") for line in (line_a, line_b))
    side_a, side_b = (a.take(order_a, 1), line_a.take(order_a, 1)), (b.take(order_b, 1), line_b.take(order_b, 1))
    outer_a, inner_b = _begin_within(side_a, side_b, side="left")
    outer_b, inner_a = _begin_within(side_b, side_a, side="right")
    rows_a = order_a[np.concatenate([outer_a, inner_a])]
    rows_b = order_b[np.concatenate([inner_b, outer_b])]
    rows_a, rows_b = np.divmod(np.sort(rows_a * len(tracker) + rows_b, kind="stable"), len(tracker))
    pairs = Pairs(rows_a, rows_b, _iou(a, b, rows_a, rows_b))
    return pairs if (pairs.iou > 0).all() else pairs[pairs.iou > 0]


def _corners(table: MotTable) -> FloatArray:
    """Left, top, right, bottom: ``[4, N]``."""
    corners: FloatArray = table.boxes.T.copy()
    corners[2:] += corners[:2]
    return corners


def _on_one_line(truth: MotTable, tracker: MotTable, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Begin and end of every box, ``[2, N]``, on a line that keeps frames apart; ends have a margin for rounding."""
    left, right = min(a[0].min(), b[0].min()), max(a[2].max(), b[2].max())
    pitch = 2 * (right - left) + 1
    margin = 8 * EPS * (1 + max(truth.frames[-1], tracker.frames[-1])) * pitch
    on_line_a, on_line_b = (
        corners[[0, 2]] - left + table.frames * pitch for corners, table in ((a, truth), (b, tracker))
    )
    on_line_a[1] += margin
    on_line_b[1] += margin
    return on_line_a, on_line_b


def _begin_within(outer: _Side, inner: _Side, side: Literal["left", "right"]) -> tuple[IntArray, IntArray]:
    """Indices of pairs where the inner box begins within the outer one on the line and the two meet vertically.

    What begins exactly with the outer box belongs to it for side "left" and not for side "right".
    """
    (outer_corners, outer_line), (inner_corners, inner_line) = outer, inner
    first = np.searchsorted(inner_line[0], outer_line[0], side=side)
    counts = np.maximum(np.searchsorted(inner_line[0], outer_line[1]) - first, 0)
    outers = np.repeat(np.arange(len(first)), counts)
    inners = np.arange(len(outers)) + (first + counts - np.cumsum(counts))[outers]
    meet = outer_corners[1][outers] < inner_corners[3][inners]
    meet &= inner_corners[1][inners] < outer_corners[3][outers]
    found = np.flatnonzero(meet)
    return outers[found], inners[found]


def _iou(a: FloatArray, b: FloatArray, rows_a: IntArray, rows_b: IntArray) -> FloatArray:
    """Intersection over union of pairs out of corners ``[4, N]``; 0 where an area is not positive, as TrackEval has it.

    Hundreds of thousands of pairs are common: what is computed before pairing, or in place, saves most of the time.
    """
    area_a, area_b = _areas(a).take(rows_a), _areas(b).take(rows_b)
    intersection = _shared_side(a[0::2], b[0::2], rows_a, rows_b)
    intersection *= _shared_side(a[1::2], b[1::2], rows_a, rows_b)
    union = area_a + area_b
    union -= intersection
    valid = (area_a > EPS) & (area_b > EPS) & (union > EPS)
    iou: FloatArray = np.divide(intersection, union, out=np.zeros(len(union)), where=valid)
    return iou


def _areas(corners: FloatArray) -> FloatArray:
    areas: FloatArray = (corners[2] - corners[0]) * (corners[3] - corners[1])
    return areas


def _shared_side(a: FloatArray, b: FloatArray, rows_a: IntArray, rows_b: IntArray) -> FloatArray:
    """How far the intervals ``[2, N]`` of each pair overlap."""
    side = np.minimum(a[1].take(rows_a), b[1].take(rows_b))
    side -= np.maximum(a[0].take(rows_a), b[0].take(rows_b))
    return np.maximum(side, 0, out=side)
