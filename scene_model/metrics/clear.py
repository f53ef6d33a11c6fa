"""CLEAR MOT: accuracy, precision, and what happens to each object on its way.

Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics", EURASIP JIVP 2008,
https://doi.org/10.1155/2008/246309. Numbers are those of TrackEval.
"""

from __future__ import annotations

import math

import numpy as np

from scene_model.metrics.assignment import MATCHED, OPEN, BoolArray, StateArray, match_pairs
from scene_model.metrics.overlap import EPS, Pairs
from scene_model.metrics.sequence import TrackedSequence
from scene_model.mot_text import FloatArray, IntArray

CLEAR_COUNTS = ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag", "CLR_Frames")

# A pair that goes on from the frame before is preferred to any that does not.
_BONUS = 1000.0


def clear_sums(sequence: TrackedSequence, threshold: float = 0.5) -> dict[str, FloatArray]:
    """What CLEAR adds up over sequences and classes: `CLEAR_COUNTS` and MOTP_sum, float64 scalars.

    Args:
        sequence: ground truth and tracker's output.
        threshold: least similarity of a match, greater than 0.

    Example:
        A track that is lost in the second of four frames and found under another name:

        >>> from scene_model.mot_text import MotTable
        >>> frames, boxes, ones = np.arange(4), np.tile([0.0, 0.0, 10.0, 10.0], (4, 1)), np.ones(4)
        >>> truth = MotTable.of_tracks(frames, np.array([1, 1, 1, 1]), boxes, ones)
        >>> tracker = MotTable.of_tracks(frames, np.array([5, 5, 6, 6]), boxes + [[0], [9], [0], [0]], ones)
        >>> fields = clear_fields(clear_sums(TrackedSequence.of(truth, tracker)))
        >>> fields["CLR_TP"], fields["CLR_FP"], fields["IDSW"], fields["Frag"], fields["MOTA"]
        (3.0, 1.0, 1.0, 1.0, 0.25)
    """
    truth, tracker = sequence.truth, sequence.tracker
    if not len(truth) or not len(tracker):
        counts = {"CLR_FN": len(truth), "CLR_FP": len(tracker), "ML": truth.num_ids}
        return {name: np.asarray(counts.get(name, 0), np.float64) for name in (*CLEAR_COUNTS, "MOTP_sum")}
    near = np.flatnonzero(sequence.pairs.iou >= threshold - EPS)
    steps = _steps(sequence)[truth.frames[sequence.pairs.truth[near]]]
    matched = np.flatnonzero(_match(sequence, near, steps))
    pairs = sequence.pairs[near[matched]]
    sums = {
        "CLR_TP": len(pairs),
        "CLR_FN": len(truth) - len(pairs),
        "CLR_FP": len(tracker) - len(pairs),
        "CLR_Frames": sequence.num_frames,
        "MOTP_sum": pairs.iou.sum(),
    }
    sums |= _coverage(sequence, pairs) | _events(sequence, pairs, steps[matched])
    return {name: np.asarray(value, np.float64) for name, value in sums.items()}


def clear_fields(sums: dict[str, FloatArray]) -> dict[str, float]:
    """TrackEval's fields from (added) sums."""
    counts = {name: float(sums[name]) for name in CLEAR_COUNTS}
    tp, fn, fp, switches = (counts[name] for name in ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW"))
    similarity = float(sums["MOTP_sum"])
    num_truth = max(1.0, tp + fn)
    num_tracks = max(1.0, counts["MT"] + counts["PT"] + counts["ML"])
    return counts | {
        "MOTA": (tp - fp - switches) / num_truth,
        "MOTP": similarity / max(1.0, tp),
        "MODA": (tp - fp) / num_truth,
        "MOTAL": (tp - fp - (math.log10(switches) if switches else 0.0)) / num_truth,
        "sMOTA": (similarity - fp - switches) / num_truth,
        "CLR_Re": tp / num_truth,
        "CLR_Pr": tp / max(1.0, tp + fp),
        "CLR_F1": tp / max(1.0, tp + 0.5 * fn + 0.5 * fp),
        "MTR": counts["MT"] / num_tracks,
        "PTR": counts["PT"] / num_tracks,
        "MLR": counts["ML"] / num_tracks,
        "FP_per_frame": fp / max(1.0, counts["CLR_Frames"]),
        "MOTP_sum": similarity,
    }


def clear_fields_of_one(sums: dict[str, FloatArray]) -> dict[str, float]:
    """TrackEval's fields of a single sequence: without truth or without predictions all ratios are 0, but MLR is 1."""
    fields = clear_fields(sums)
    if not fields["CLR_Frames"]:
        fields |= {name: 0.0 for name in fields if name not in CLEAR_COUNTS} | {"MLR": 1.0}
    return fields


def _steps(sequence: TrackedSequence) -> IntArray:
    """Numbers of the frames that hold both truth and predictions, ``[F]``: the others interrupt nothing."""
    both = (np.diff(sequence.truth.starts) > 0) & (np.diff(sequence.tracker.starts) > 0)
    return np.cumsum(both)


def _match(sequence: TrackedSequence, near: IntArray, steps: IntArray) -> BoolArray:
    """Mask of the matched pairs among the near ones: matches that go on first, then the greatest sum of similarity."""
    pairs = sequence.pairs[near]
    previous = _previous_pairs(sequence.identity_pairs[near], steps)

    def bounds(some: IntArray, state: StateArray) -> tuple[FloatArray, FloatArray]:
        before = state[previous[some]]
        low = _BONUS * (before == MATCHED) + pairs.iou[some]
        return low, low + _BONUS * (before == OPEN)

    return match_pairs(sequence, pairs, bounds)


def _previous_pairs(identity_pairs: IntArray, steps: IntArray) -> IntArray:
    """For each pair of boxes the index of the pair of the same identities one step before, -1 where there is none.

    Example:
        >>> _previous_pairs(np.array([7, 7, 9, 7, 9]), np.array([1, 2, 2, 4, 3]))
        array([-1,  0, -1, -1,  2])
    """
    previous = np.full(len(steps), -1)
    moments = identity_pairs * (steps.max(initial=0) + 2) + steps
    order = np.argsort(moments)
    follows = np.flatnonzero(np.diff(moments[order]) == 1)
    previous[order[follows + 1]] = order[follows]
    return previous


def _coverage(sequence: TrackedSequence, matched: Pairs) -> dict[str, int]:
    """How many objects are mostly tracked, partly tracked and mostly lost."""
    truth = sequence.truth
    ratio = np.bincount(truth.ids[matched.truth], minlength=truth.num_ids) / truth.lengths
    mostly, partly_or_more = int((ratio > 0.8).sum()), int((ratio >= 0.2).sum())
    return {"MT": mostly, "PT": partly_or_more - mostly, "ML": truth.num_ids - partly_or_more}


def _events(sequence: TrackedSequence, matched: Pairs, steps: IntArray) -> dict[str, int]:
    """How often an object comes back under another identity, and how often after it was lost."""
    objects, identities = sequence.truth.ids[matched.truth], sequence.tracker.ids[matched.tracker]
    order = np.lexsort((steps, objects))
    same_object = np.diff(objects[order]) == 0
    switched = np.diff(identities[order]) != 0
    interrupted = np.diff(steps[order]) > 1
    return {
        "IDSW": int((same_object & switched).sum()),
        "Frag": int((same_object & interrupted).sum()),
    }
