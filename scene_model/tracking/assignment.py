"""Which tracklet of a window continues which live track."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from scene_model.tracking.columns import FloatArray, IntArray
from scene_model.tracking.config import LinkingConfig
from scene_model.tracking.motion import motion_similarity
from scene_model.tracking.similarity import agreement, cosine, mean_iou
from scene_model.tracking.tracks import Tracks

_OF_A_RETURN = 0.5  # worth of a prediction beside an observation: two of them must not break a good link


def assign(tracks: Tracks, tracklets: Tracks, shared: slice, config: LinkingConfig) -> tuple[IntArray, IntArray]:
    """The one-to-one assignment of greatest total affinity: rows of the tracks, and of the tracklets they go on as."""
    strength = affinity(tracks, tracklets, shared, config)
    rows, columns = linear_sum_assignment(strength, maximize=True)
    linked = strength[rows, columns] > 0
    return rows[linked], columns[linked]


def affinity(tracks: Tracks, tracklets: Tracks, shared: slice, config: LinkingConfig) -> FloatArray:
    """How much speaks for each pair: ``[M, K]``, weighted mean of the similarities, 0 where a gate is closed.

    Args:
        tracks: M live tracks.
        tracklets: K tracklets, on the same time axis.
        shared: the part of the time axis that earlier windows and that of the tracklets cover.
        config: weights and gates.
    """
    boxes = (side.boxes[:, shared] for side in (tracks, tracklets))
    weights = (side.seen_scores(config.keep_threshold)[:, shared] for side in (tracks, tracklets))
    overlap, common = mean_iou(*boxes, *weights)
    motion = motion_similarity(tracks.motion, tracklets.motion, config.max_distance)
    unseen = tracklets.motion.first - tracks.motion.last[:, None] - 1
    same_class = agreement(tracks.class_sums, tracklets.class_sums)
    meet = common > 0
    weighted = (
        config.position_weight * np.where(meet, overlap, motion)
        + config.embedding_weight * cosine(tracks.looks.embeddings, tracklets.looks.embeddings)
        + config.class_weight * same_class
    )
    mean = weighted / config.total_weight
    may_go_on = (overlap >= config.min_iou) & (mean >= config.min_shared_affinity)
    may_return = (motion > 0) & (unseen <= config.max_age)
    may_return &= (mean >= config.min_affinity) & (same_class >= config.min_agreement)
    return np.where(meet, mean * may_go_on, _OF_A_RETURN * mean * may_return)
