"""Optimal one-to-one matching of true and tracker's boxes in every frame of a sequence.

Hungarian assignment, frame after frame, is what the time of scoring goes into, and most of it is spent on choices that
are no choices. A pair is *dominant* if it outweighs the heaviest rivals of its two boxes together: any matching without
it gets heavier by taking it, so it belongs to every optimal matching. Dominant pairs are found in all frames at once;
they take their boxes out of the game, which makes further pairs dominant. What is left of a frame is solved by SciPy.
Where even that is a tie, the frame is solved as a whole on the same matrix that TrackEval builds, so that ties fall the
same way.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from scene_model.metrics.overlap import Pairs
from scene_model.metrics.sequence import TrackedSequence
from scene_model.mot_text import FloatArray, IntArray

BoolArray = NDArray[np.bool_]
StateArray = NDArray[np.int8]
WeightBounds = Callable[[IntArray, StateArray], tuple[FloatArray, FloatArray]]

OPEN, MATCHED, REJECTED = 0, 1, 2

_RELATIVE_MARGIN = 1e-12


def match_pairs(
    sequence: TrackedSequence,
    pairs: Pairs,
    bounds: WeightBounds,
    decisive: BoolArray | None = None,
    exact_weights: Callable[[IntArray], FloatArray] | None = None,
) -> BoolArray:
    """Which pairs the assignment of greatest total weight matches in each frame.

    A weight may depend on what is matched in earlier frames. It is therefore asked for as an interval, given the states
    of all pairs so far, and must be certain once no pair of an earlier frame is open.

    Args:
        sequence: what the pairs are from.
        pairs: the pairs that may be matched, those of a positive weight.
        bounds: gives the least and the greatest weight of some pairs, from their indices and the state of every pair;
            a REJECTED is appended to the states, for the index -1.
        decisive: mask of the pairs that matter to the caller, None: all; of the others any may be left unmatched.
        exact_weights: gives the weights of some pairs to the last bit, where ties hang on it and `bounds` may differ by
            rounding; None: those of `bounds`.

    Returns:
        Mask of the matched pairs.
    """
    state = np.append(np.full(len(pairs), OPEN, dtype=np.int8), np.int8(REJECTED))
    open_ = np.arange(len(pairs))
    while len(open_):
        low, high = bounds(open_, state)
        winners = open_[_are_dominant(pairs.truth[open_], pairs.tracker[open_], low, high)]
        if len(winners):
            state[_sharing_a_box(pairs, open_, winners)] = REJECTED
            state[winners] = MATCHED
        else:
            undecided = open_ if decisive is None else open_[decisive[open_]]
            if not len(undecided):
                break
            _solve_frames(sequence, pairs, bounds, exact_weights, state, undecided)
        open_ = open_[state[open_] == OPEN]
    matched: BoolArray = state[:-1] == MATCHED
    return matched


def _are_dominant(rows: IntArray, columns: IntArray, low: FloatArray, high: FloatArray) -> BoolArray:
    """Mask of the pairs whose least weight exceeds the greatest weights of the best rivals in row and column, added."""
    dominant: BoolArray = low > _best_rivals(rows, high) + _best_rivals(columns, high) + _margin(high)
    return dominant


def _best_rivals(groups: IntArray, weights: FloatArray) -> FloatArray:
    """For each element the greatest weight among the others of its group, 0 where it is alone.

    Example:
        >>> _best_rivals(np.array([0, 0, 0, 2]), np.array([0.5, 0.75, 0.25, 1.0]))
        array([0.75, 0.5 , 0.75, 0.  ])
    """
    best, second = np.zeros((2, groups.max() + 1))
    np.maximum.at(best, groups, weights)
    best_of_group = best[groups]
    is_best = weights == best_of_group
    others = np.flatnonzero(~is_best)
    np.maximum.at(second, groups[others], weights[others])
    shared = np.bincount(groups[is_best], minlength=len(best)) > 1
    second[shared] = best[shared]
    rivals: FloatArray = np.where(is_best, second[groups], best_of_group)
    return rivals


def _sharing_a_box(pairs: Pairs, candidates: IntArray, winners: IntArray) -> IntArray:
    """The candidates that have a box in common with a winner, the winners included."""
    truth, tracker = pairs.truth[candidates], pairs.tracker[candidates]
    truth_taken = np.zeros(truth.max() + 1, dtype=bool)
    tracker_taken = np.zeros(tracker.max() + 1, dtype=bool)
    truth_taken[pairs.truth[winners]] = True
    tracker_taken[pairs.tracker[winners]] = True
    return candidates[truth_taken[truth] | tracker_taken[tracker]]


def _solve_frames(
    sequence: TrackedSequence,
    pairs: Pairs,
    bounds: WeightBounds,
    exact_weights: Callable[[IntArray], FloatArray] | None,
    state: StateArray,
    undecided: IntArray,
) -> None:
    """Sets the states of all pairs in the frames of the undecided ones, wherever the weights are certain by now."""
    starts = np.searchsorted(pairs.truth, sequence.truth.starts)
    for frame in np.unique(sequence.truth.frames[pairs.truth[undecided]]):
        inside = np.arange(starts[frame], starts[frame + 1])
        low, high = bounds(inside, state)
        if (low < high).any():
            continue
        is_open = np.flatnonzero(state[inside] == OPEN)
        rest = inside[is_open]
        matched = _unique_optimum(pairs.truth[rest], pairs.tracker[rest], low[is_open])
        if matched is None:
            weights = low if exact_weights is None else exact_weights(inside)
            matrix = sequence.matrix(frame, pairs[inside], weights)
            rest, matched = inside, _optimum(matrix, *sequence.cells(frame, pairs[inside]))
        state[rest] = np.where(matched, MATCHED, REJECTED)


def _unique_optimum(rows: IntArray, columns: IntArray, weights: FloatArray) -> BoolArray | None:
    """Mask of the matched among a few pairs, None where another choice comes within the margin.

    The optimum is unique by the margin if it stays the optimum with that margin taken off each of its pairs.
    """
    row_of, column_of = (np.unique(boxes, return_inverse=True)[1] for boxes in (rows, columns))
    matrix = np.zeros((row_of.max() + 1, column_of.max() + 1))
    matrix[row_of, column_of] = weights
    matched = _optimum(matrix, row_of, column_of)
    matrix[row_of, column_of] -= np.where(matched, _margin(weights), 0)
    return matched if np.array_equal(matched, _optimum(matrix, row_of, column_of)) else None


def _optimum(matrix: FloatArray, rows: IntArray, columns: IntArray) -> BoolArray:
    """Mask of those cells that the assignment of greatest total weight takes."""
    column_of_row = np.full(len(matrix), -1)
    column_of_row.put(*linear_sum_assignment(matrix, maximize=True))
    taken: BoolArray = column_of_row[rows] == columns
    return taken


def _margin(weights: FloatArray) -> float:
    """What a choice must win by for SciPy to agree: far above the rounding of sums."""
    return _RELATIVE_MARGIN * max(1.0, float(weights.max()))
