"""Identity scores: how much of the tracks lies under one lasting, best one-to-one mapping of identities.

Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", ECCV Workshops 2016,
https://arxiv.org/abs/1609.01775. Numbers are those of TrackEval.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from scene_model.metrics.sequence import TrackedSequence
from scene_model.mot_text import FloatArray


def identity_sums(sequence: TrackedSequence, threshold: float = 0.5) -> dict[str, FloatArray]:
    """What the identity scores add up over sequences and classes: IDTP, IDFN and IDFP, float64 scalars.

    Args:
        sequence: ground truth and tracker's output.
        threshold: least similarity at which a pair of boxes counts for its identities.

    Example:
        A track whose name changes after three of four frames:

        >>> from scene_model.mot_text import MotTable
        >>> frames, boxes, ones = np.arange(4), np.tile([0.0, 0.0, 10.0, 10.0], (4, 1)), np.ones(4)
        >>> truth = MotTable.of_tracks(frames, np.array([1, 1, 1, 1]), boxes, ones)
        >>> tracker = MotTable.of_tracks(frames, np.array([1, 1, 1, 2]), boxes, ones)
        >>> identity_fields(identity_sums(TrackedSequence.of(truth, tracker)))["IDF1"]
        0.75
    """
    shape = (sequence.truth.num_ids, sequence.tracker.num_ids)
    counted = sequence.identity_pairs[sequence.pairs.iou >= threshold]
    matches = np.bincount(counted, minlength=shape[0] * shape[1]).reshape(shape)
    true_positives = matches[linear_sum_assignment(matches, maximize=True)].sum()
    sums = {
        "IDTP": true_positives,
        "IDFN": len(sequence.truth) - true_positives,
        "IDFP": len(sequence.tracker) - true_positives,
    }
    return {name: np.asarray(value, np.float64) for name, value in sums.items()}


def identity_fields(sums: dict[str, FloatArray]) -> dict[str, float]:
    """TrackEval's fields from (added) sums."""
    tp, fn, fp = (float(sums[name]) for name in ("IDTP", "IDFN", "IDFP"))
    return {
        "IDF1": tp / max(1.0, tp + 0.5 * fp + 0.5 * fn),
        "IDR": tp / max(1.0, tp + fn),
        "IDP": tp / max(1.0, tp + fp),
        "IDTP": tp,
        "IDFN": fn,
        "IDFP": fp,
    }
