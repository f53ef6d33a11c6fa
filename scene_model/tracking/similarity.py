"""Pairwise similarities, each in [0, 1]."""

from __future__ import annotations

import numpy as np

from scene_model.tracking.columns import FloatArray

MEETING_IOU = 0.1
"""Overlap from which two objects count as meeting: what is seen in one's box may be the other then."""
_TINY = float(np.finfo(np.float64).tiny)


def mean_iou(
    a: FloatArray, b: FloatArray, weights_a: FloatArray, weights_b: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """IoU of M and K objects, averaged over the frames in which both are seen.

    Args:
        a: boxes ``[M, F, 4]``.
        b: boxes ``[K, F, 4]``.
        weights_a: ``[M, F]``, 0 where an object is not seen; a frame counts with the product of both weights.
        weights_b: ``[K, F]``.

    Returns:
        ``[M, K]``, and the total weight of these frames, ``[M, K]``; both are 0 where there is no such frame.

    Example:
        >>> a, b = np.full((1, 2, 4), 0.5), np.array([[[0.5, 0.5, 0.5, 0.25], [0.5, 0.5, 0.5, 0.5]]])
        >>> mean_iou(a, b, np.array([[0.5, 0.5]]), np.array([[1.0, 0.5]]))
        (array([[0.66666667]]), array([[0.75]]))
    """
    return weighted_mean(frame_iou(a, b), weights_a, weights_b)


def frame_iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """IoU of boxes ``[M, F, 4]`` and ``[K, F, 4]`` in each frame: ``[F, M, K]``."""
    return iou(np.ascontiguousarray(a.T)[..., None], np.ascontiguousarray(b.T)[:, :, None])


def weighted_mean(values: FloatArray, weights_a: FloatArray, weights_b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Values ``[F, M, K]``, averaged over the frames as `mean_iou` does, and the total weights."""
    total = weights_a @ weights_b.T
    return np.einsum("fmk,mf,kf->mk", values, weights_a, weights_b) / np.maximum(total, _TINY), total


def iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union of (cx, cy, w, h) boxes ``[4, ...]`` that broadcast against each other: ``[...]``."""
    intersection = _common_length(a[::2], b[::2]) * _common_length(a[1::2], b[1::2])
    union = a[2] * a[3] + b[2] * b[3] - intersection
    overlap: FloatArray = intersection / np.maximum(union, _TINY)
    return overlap


def _common_length(a: FloatArray, b: FloatArray) -> FloatArray:
    """Length of the intersection of (centre, length) intervals ``[2, ...]``."""
    (center_a, length_a), (center_b, length_b) = a, b
    end = np.minimum(center_a + length_a / 2, center_b + length_b / 2)
    begin = np.maximum(center_a - length_a / 2, center_b - length_b / 2)
    return np.maximum(end - begin, 0)


def cosine(a: FloatArray, b: FloatArray) -> FloatArray:
    """Cosine of vectors ``[M, D]`` and ``[K, D]``: ``[M, K]``, 0 where it is negative or a vector is zero."""
    return np.maximum(_scaled(a, (a * a).sum(1) ** 0.5) @ _scaled(b, (b * b).sum(1) ** 0.5).T, 0)


def agreement(a: FloatArray, b: FloatArray) -> FloatArray:
    """Bhattacharyya coefficient of distributions ``[M, C]`` and ``[K, C]``, which need not sum to 1: ``[M, K]``.

    Example:
        >>> agreement(np.array([[4.0, 0.0]]), np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])).round(2)
        array([[1.  , 0.71, 0.  ]])
    """
    return np.sqrt(_scaled(a, a.sum(1))) @ np.sqrt(_scaled(b, b.sum(1))).T


def _scaled(rows: FloatArray, lengths: FloatArray) -> FloatArray:
    return rows / np.maximum(lengths, _TINY)[:, None]
