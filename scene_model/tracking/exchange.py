"""Two tracks that met may have exchanged their objects: who is who is asked again once they are seen apart."""

from __future__ import annotations

import numpy as np

from scene_model.tracking.columns import BoolArray, FloatArray, IntArray
from scene_model.tracking.config import LinkingConfig
from scene_model.tracking.similarity import MEETING_IOU, agreement, cosine, iou
from scene_model.tracking.tracks import Tracks


def exchange(tracks: Tracks, seen: Tracks, rows: IntArray, config: LinkingConfig) -> IntArray:
    """Whose identity each track has from now on: int64 ``[M]``, its own nearly always.

    A pair is exchanged if that makes what both have looked like since another object was over them more like what they
    looked like before, by more than `config.exchange_margin` in the sum of the cosines, each times the agreement of the
    classes. Of several such pairs of a track, the best one is. A track that the window does not show, or not alone at
    its end, counts for nothing, and one that was never seen alone before exchanges nothing.

    Args:
        tracks: M live tracks, before a window.
        seen: what the window shows of some of them.
        rows: which ones these are.
        config: the margin, and the threshold from which a track is seen.
    """
    if config.embedding_weight == 0:
        return np.arange(len(tracks))
    likeness = np.zeros((len(tracks), len(tracks)))
    known = tracks.looks
    known[rows], now = tracks[rows].looks_with(seen)
    same = cosine(known.embeddings, now.embeddings) * agreement(tracks.class_sums, seen.class_sums)
    likeness[:, rows] = same * (now.weights > 0)
    own = likeness.diagonal()
    has_looks = known.weights > 0
    gain = np.triu(likeness + likeness.T - own - own[:, None]) * (has_looks & has_looks[:, None])
    pairs = np.argwhere(gain > config.exchange_margin)
    pairs = pairs[_have_met(tracks, pairs, config.keep_threshold)]
    owner = np.arange(len(tracks))
    for first, second in pairs[np.argsort(-gain[tuple(pairs.T)])]:
        if owner[first] == first and owner[second] == second:
            owner[[first, second]] = second, first
    return owner


def _have_met(tracks: Tracks, pairs: IntArray, keep_threshold: float) -> BoolArray:
    """Which of the pairs ``[P, 2]`` overlapped in a frame that is remembered."""
    boxes: FloatArray = tracks.boxes
    seen = tracks.seen_scores(keep_threshold) > 0
    first, second = pairs.T
    overlap = iou(boxes[first].T, boxes[second].T).T * (seen[first] & seen[second])
    met: BoolArray = (overlap >= MEETING_IOU).any(1)
    return met
