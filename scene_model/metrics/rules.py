"""What the benchmarks of MOTChallenge leave out before they score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from scene_model.errors import UserError
from scene_model.metrics.assignment import match_pairs
from scene_model.metrics.overlap import EPS
from scene_model.metrics.sequence import TrackedSequence, by_frame
from scene_model.mot_rules import ClassRules
from scene_model.mot_text import MotTable


def apply_rules(truth: MotTable, tracker: MotTable, rules: ClassRules) -> tuple[MotTable, MotTable]:
    """Leaves out what counts neither for nor against a tracker, as TrackEval does it for a benchmark.

    All benchmarks drop true boxes with conf 0. All but MOT15 also drop predictions that match a true box of a
    distractor class (of any conf) at an IoU of at least 0.5, and true boxes of classes that do not count.

    Args:
        truth: the rows of a ground truth file.
        tracker: the rows of a tracker's file; to score one class of several, those of that class.
        rules: of the benchmark, for the classes that are scored.

    Returns:
        What is left of the two, ordered by frame.

    Raises:
        UserError: a class number has no meaning under these rules.

    Example:
        >>> from scene_model.mot_rules import class_rules
        >>> boxes, ones = np.array([[0.0, 0, 10, 10], [50, 0, 10, 10]]), np.ones(2)
        >>> frames, ids, classes = np.array([0, 0]), np.array([1, 2]), np.array([1.0, 8.0])
        >>> truth = MotTable(frames, ids, boxes, ones, classes, ones)
        >>> tracker = MotTable.of_tracks(frames, ids, boxes, ones)
        >>> kept = apply_rules(truth, tracker, class_rules("MOT17", ["pedestrian"]))
        >>> [table.track_ids.tolist() for table in kept]
        [[1], [1]]
    """
    truth, tracker = by_frame(truth), by_frame(tracker)
    if rules.benchmark != "MOT15":
        _check_classes(truth, tracker, rules)
        tracker = _without_distractors(truth, tracker, rules)
    counts = (truth.conf.astype(np.int64) != 0) & (rules.labels(truth.classes) >= 0)
    return truth[counts], tracker


def apply_rules_per_class(truth: MotTable, tracker: MotTable, rules: ClassRules) -> Iterator[tuple[MotTable, MotTable]]:
    """What `apply_rules` leaves of each class alone, in the order of the labels; under MOT15 there is one class.

    Args:
        truth: the rows of a ground truth, classes by their numbers in the rules.
        tracker: the rows of `VideoTracker`, classes counted from 1 in the order of the labels.
        rules: of the benchmark, for all classes that are scored.

    Raises:
        UserError: a class number of the ground truth has no meaning under these rules.
    """
    if rules.benchmark == "MOT15":
        yield apply_rules(truth, tracker, rules)
    for label, number in enumerate(rules.class_ids):
        rows = tracker[tracker.classes == label + 1]
        numbered = replace(rows, classes=np.full(len(rows), float(number)))
        yield apply_rules(truth, numbered, replace(rules, class_ids=(number,)))


def _check_classes(truth: MotTable, tracker: MotTable, rules: ClassRules) -> None:
    strange = truth.classes[(truth.classes < 1) | (truth.classes != np.rint(truth.classes))]
    if len(strange):
        raise UserError(f"ground truth: expected in column 8 a class number, from 1 on, found {strange[0]:g}")
    others = tracker.classes[(tracker.classes > 0) & (rules.labels(tracker.classes) < 0)]
    if len(others):
        expected = " or ".join(str(number) for number in (*rules.class_ids, -1))
        raise UserError(f"tracker: expected in column 8 a class that is scored ({expected}), found {others[0]:g}")


def _without_distractors(truth: MotTable, tracker: MotTable, rules: ClassRules) -> MotTable:
    """The predictions but those that are matched to a distractor where all true boxes take part."""
    sequence = TrackedSequence.of(truth, tracker)
    near = sequence.pairs[np.flatnonzero(sequence.pairs.iou >= 0.5 - EPS)]
    matched = near[match_pairs(sequence, near, lambda some, state: (near.iou[some], near.iou[some]))]
    keep = np.ones(len(tracker), dtype=bool)
    keep[matched.tracker[np.isin(truth.classes[matched.truth], rules.distractor_ids)]] = False
    return tracker[keep]
