"""The queries of a window that hold an object each."""

from __future__ import annotations

import numpy as np

from scene_model.tracking.columns import BoolArray, FloatArray, IntArray
from scene_model.tracking.config import LinkingConfig
from scene_model.tracking.motion import Motion
from scene_model.tracking.similarity import MEETING_IOU, agreement, frame_iou, weighted_mean
from scene_model.tracking.tracks import Looks, Tracks
from scene_model.tracking.window import Window

_TRUST_OF_OVERLAPPED = 0.01


def find_tracklets(window: Window, frames: IntArray, config: LinkingConfig) -> Tracks:
    """Queries that are seen in a frame or more, strongest first and without duplicates; their ids are all 0.

    Args:
        window: what the network says; at least one frame.
        frames: int64 ``[F]``, the time axis, which the window ends.
        config: thresholds.
    """
    boxes, scores, usable = _usable(window)
    weights = np.where(scores >= config.keep_threshold, scores, 0)
    queries = _strongest_first(boxes, weights)
    boxes, scores, weights = boxes[queries], scores[queries], weights[queries]
    class_sums = _weighted_sums(weights, window.class_probs[:, queries])
    overlap = frame_iou(boxes, boxes)
    kept = _without_duplicates(overlap, weights, class_sums, config.duplicate_iou)
    queries, class_sums = queries[kept], class_sums[kept]
    boxes, scores, weights = boxes[kept], scores[kept], weights[kept]
    is_alone = _is_alone(overlap[:, kept][:, :, kept], weights)
    since_overlapped = _since_overlapped(is_alone)
    embeddings = window.embeddings[:, queries]
    num_before = len(frames) - len(window.frames)
    return Tracks(
        ids=np.zeros(len(queries), dtype=np.int64),
        weighted_boxes=_after_nothing(boxes * scores[..., None], num_before),
        score_sums=_after_nothing(scores, num_before),
        num_windows=_after_nothing(usable[queries], num_before),
        class_sums=class_sums,
        looks_before=_looks(weights * ~since_overlapped, is_alone, embeddings),
        looks_apart=_looks(weights * since_overlapped, is_alone, embeddings),
        apart=since_overlapped[:, 0],
        motion=Motion.of(boxes, weights, window.frames),
    )


def _is_alone(overlap: FloatArray, weights: FloatArray) -> BoolArray:
    """Where an object does not overlap another, both of which are seen: ``[K, T]``, from the IoU ``[T, K, K]``."""
    seen = weights.T > 0
    others = overlap * (seen[:, None] & seen[:, :, None])
    others[:, np.arange(len(weights)), np.arange(len(weights))] = 0
    alone: BoolArray = others.max(2, initial=0).T < MEETING_IOU
    return alone


def _since_overlapped(is_alone: BoolArray) -> BoolArray:
    """The frames ``[K, T]`` from which on an object stays alone."""
    since: BoolArray = np.logical_and.accumulate(is_alone[:, ::-1], axis=1)[:, ::-1]
    return since


def _looks(weights: FloatArray, is_alone: BoolArray, embeddings: FloatArray) -> Looks:
    """Looks in frames of weights ``[K, T]``; where objects overlap, next to nothing counts: it may be the other one."""
    trust = np.where(is_alone, 1, _TRUST_OF_OVERLAPPED)
    return Looks(_weighted_sums(weights * trust, embeddings), (weights * is_alone).sum(1))


def _usable(window: Window) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Boxes ``[Q, T, 4]``, scores ``[Q, T]``, and 1 where they can be those of an object; where not, all are 0."""
    boxes, scores = np.swapaxes(window.boxes, 0, 1).astype(np.float64), window.scores.T.astype(np.float64)
    usable = np.isfinite(scores) & np.isfinite(boxes).all(-1) & (boxes[..., 2:] > 0).all(-1)
    return np.where(usable[..., None], boxes, 0), np.where(usable, scores, 0), usable.astype(np.float64)


def _strongest_first(boxes: FloatArray, weights: FloatArray) -> IntArray:
    """The queries that are seen, by total weight and then by where they are: not by their order."""
    queries = np.flatnonzero(weights.any(1))
    places = np.einsum("kt,ktx->xk", weights[queries], boxes[queries])
    return queries[np.lexsort((*places, -weights[queries].sum(1)))]


def _weighted_sums(weights: FloatArray, values: FloatArray) -> FloatArray:
    """Sums over the frames of weights ``[K, T]`` times values ``[T, K, X]``, not finite ones left out: ``[K, X]``."""
    sums = np.einsum("kt,tkx->kx", weights, values)
    if not np.isfinite(sums).all():
        sums = np.einsum("kt,tkx->kx", weights, np.where(np.isfinite(values), values, 0))
    return sums


def _after_nothing(values: FloatArray, num_before: int) -> FloatArray:
    """Values ``[K, T, ...]`` after that many frames of zeros."""
    return np.concatenate([np.zeros((len(values), num_before, *values.shape[2:])), values], axis=1)


def _without_duplicates(
    overlap: FloatArray, weights: FloatArray, class_sums: FloatArray, threshold: float
) -> BoolArray:
    """Mask of the queries that no kept stronger one stands for: greedy suppression of whole windows.

    A query stands for another as far as their boxes overlap, in the mean of all frames in which the other is seen.
    """
    mean, shared = weighted_mean(overlap, (weights > 0).astype(np.float64), weights)
    likeness = mean * shared / weights.sum(1) * agreement(class_sums, class_sums)
    stands_for = np.triu(likeness >= threshold, k=1)
    kept = np.ones(len(weights), dtype=bool)
    while True:
        unexplained = ~stands_for[kept].any(0)
        if (unexplained == kept).all():
            return kept
        kept = unexplained
