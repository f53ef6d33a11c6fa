"""HOTA: higher order tracking accuracy.

Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021,
https://arxiv.org/abs/2009.07736. Numbers are those of TrackEval.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from scene_model.metrics.assignment import BoolArray, match_pairs
from scene_model.metrics.overlap import EPS
from scene_model.metrics.sequence import TrackedSequence
from scene_model.mot_text import FloatArray, IntArray

ALPHAS = np.arange(0.05, 0.99, 0.05)
_THRESHOLDS = ALPHAS - EPS
_FLOOR = 1e-10


def hota_sums(sequence: TrackedSequence) -> dict[str, FloatArray]:
    """What HOTA adds up over sequences and classes, each at the 19 thresholds of localisation at once.

    Returns:
        float64 ``[19]`` each: HOTA_TP, HOTA_FN, HOTA_FP, and the sums over the true positives of AssA, AssRe, AssPr and
        of the similarity, as AssA_sum, AssRe_sum, AssPr_sum and LocA_sum.

    Example:
        A perfect track that changes its name half way:

        >>> from scene_model.mot_text import MotTable
        >>> frames, boxes, ones = np.arange(4), np.tile([0.0, 0.0, 10.0, 10.0], (4, 1)), np.ones(4)
        >>> truth = MotTable.of_tracks(frames, np.array([1, 1, 1, 1]), boxes, ones)
        >>> tracker = MotTable.of_tracks(frames, np.array([1, 1, 2, 2]), boxes, ones)
        >>> fields = hota_fields(hota_sums(TrackedSequence.of(truth, tracker)))
        >>> fields["DetA"], fields["AssA"], fields["AssPr"]
        (1.0, 0.5, 1.0)
    """
    matched = np.flatnonzero(_match(sequence))
    pairs = sequence.pairs[matched]
    num_reached = np.searchsorted(_THRESHOLDS, pairs.iou, side="right")
    true_positives = _at_least(np.bincount(num_reached, minlength=len(ALPHAS) + 1))
    sums = {
        "HOTA_TP": true_positives,
        "HOTA_FN": len(sequence.truth) - true_positives,
        "HOTA_FP": len(sequence.tracker) - true_positives,
        "LocA_sum": _at_least(np.bincount(num_reached, weights=pairs.iou, minlength=len(ALPHAS) + 1)),
    }
    return sums | _association_sums(sequence, sequence.identity_pairs[matched], num_reached)


def hota_curves(sums: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """The fields at each of the 19 thresholds, float64 ``[19]`` each, from (added) sums."""
    tp, fn, fp = sums["HOTA_TP"], sums["HOTA_FN"], sums["HOTA_FP"]
    at_least_one = np.maximum(tp, 1)
    curves = {name: sums[f"{name}_sum"] / at_least_one for name in ("AssA", "AssRe", "AssPr")}
    curves |= {"HOTA_TP": tp, "HOTA_FN": fn, "HOTA_FP": fp}
    curves["LocA"] = np.maximum(sums["LocA_sum"], _FLOOR) / np.maximum(tp, _FLOOR)
    curves["DetRe"] = tp / np.maximum(tp + fn, 1)
    curves["DetPr"] = tp / np.maximum(tp + fp, 1)
    curves["DetA"] = tp / np.maximum(tp + fn + fp, 1)
    curves["HOTA"] = np.sqrt(curves["DetA"] * curves["AssA"])
    curves["OWTA"] = np.sqrt(curves["DetRe"] * curves["AssA"])
    return curves


def hota_fields(sums: dict[str, FloatArray]) -> dict[str, float]:
    """TrackEval's fields: means over the 19 thresholds, and those marked (0) at the lowest one."""
    curves = hota_curves(sums)
    order = (
        "HOTA",
        "DetA",
        "AssA",
        "DetRe",
        "DetPr",
        "AssRe",
        "AssPr",
        "LocA",
        "OWTA",
        "HOTA_TP",
        "HOTA_FN",
        "HOTA_FP",
    )
    fields = {name: float(curves[name].mean()) for name in order}
    fields["HOTA(0)"], fields["LocA(0)"] = float(curves["HOTA"][0]), float(curves["LocA"][0])
    fields["HOTALocA(0)"] = fields["HOTA(0)"] * fields["LocA(0)"]
    return fields


def _match(sequence: TrackedSequence) -> BoolArray:
    """Mask of the matched pairs: in each frame the greatest sum of similarities times alignment of identities."""
    pairs = sequence.pairs
    weights = _weights(sequence, _added_up(pairs.truth, pairs.iou))

    @cache
    def exact_weights() -> FloatArray:
        return _weights(sequence, _truth_totals_as_numpy_adds(sequence))

    return match_pairs(
        sequence,
        pairs,
        lambda some, state: (weights[some], weights[some]),
        decisive=pairs.iou >= _THRESHOLDS[0],
        exact_weights=lambda some: exact_weights()[some],
    )


def _weights(sequence: TrackedSequence, truth_totals: FloatArray) -> FloatArray:
    """Similarity of each pair times the Jaccard index of its identities over the whole sequence, on soft matches.

    Args:
        sequence: ground truth and tracker's output.
        truth_totals: sum of the similarities of each true box.
    """
    pairs, truth, tracker = sequence.pairs, sequence.truth, sequence.tracker
    total = _added_up(pairs.tracker, pairs.iou)[pairs.tracker] + truth_totals[pairs.truth] - pairs.iou
    soft_match = np.where(total > EPS, pairs.iou / total, 0.0)
    matches = _added_up(sequence.identity_pairs, soft_match)[sequence.identity_pairs]
    lengths = truth.lengths[truth.ids[pairs.truth]] + tracker.lengths[tracker.ids[pairs.tracker]]
    weights: FloatArray = matches / (lengths - matches) * pairs.iou
    return weights


def _truth_totals_as_numpy_adds(sequence: TrackedSequence) -> FloatArray:
    """Sum of the similarities of each true box, to the last bit as NumPy adds up the rows of a dense matrix.

    Where two of a tracker's identities share all their boxes, rounding decides between them, so TrackEval's scores hang
    on the order of its additions: from left to right in rows of less than 8 numbers, but not in longer ones.
    """
    pairs, truth = sequence.pairs, sequence.truth
    totals = _added_up(pairs.truth, pairs.iou, len(truth))
    in_long_row = (np.diff(sequence.tracker.starts) >= 8)[truth.frames]
    order_matters = in_long_row & (np.bincount(pairs.truth, minlength=len(truth)) > 2)
    pair_starts = np.searchsorted(pairs.truth, truth.starts)
    for frame in np.unique(truth.frames[order_matters]):
        inside = pairs[np.arange(pair_starts[frame], pair_starts[frame + 1])]
        rows = sequence.matrix(frame, inside, inside.iou).sum(axis=1)
        totals[truth.starts[frame] : truth.starts[frame + 1]] = rows
    return totals


def _added_up(groups: IntArray, values: FloatArray, num_groups: int = 0) -> FloatArray:
    return np.bincount(groups, weights=values, minlength=num_groups).astype(np.float64, copy=False)


def _association_sums(
    sequence: TrackedSequence, identity_pairs: IntArray, num_reached: IntArray
) -> dict[str, FloatArray]:
    """Sums over the true positives of how well their two identities agree over the whole sequence."""
    unique, index = np.unique(identity_pairs, return_inverse=True)
    levels = len(ALPHAS) + 1
    counts = np.bincount(index * levels + num_reached, minlength=len(unique) * levels).reshape(-1, levels)
    matches = _at_least(counts)
    truth_ids, tracker_ids = np.divmod(unique, max(sequence.tracker.num_ids, 1))
    truth_length = sequence.truth.lengths[truth_ids][:, None]
    tracker_length = sequence.tracker.lengths[tracker_ids][:, None]
    union = np.maximum(truth_length + tracker_length - matches, 1)
    return {
        "AssA_sum": (matches * matches / union).sum(axis=0),
        "AssRe_sum": (matches * matches / truth_length).sum(axis=0),
        "AssPr_sum": (matches * matches / tracker_length).sum(axis=0),
    }


def _at_least(histogram: FloatArray | IntArray) -> FloatArray:
    """From sums at exactly 0 ... 19 reached thresholds to sums at each threshold, along the last axis."""
    return np.ascontiguousarray(np.cumsum(histogram[..., :0:-1], axis=-1, dtype=np.float64)[..., ::-1])
