"""One scorer for all systems: MOT text in, scores out; and the choice of a confidence threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules import MOTChallenge
from scene_model.metrics import SequenceSums, TrackedSequence, apply_rules_per_class, combine
from scene_model.metrics.detection import MAX_BOXES, MIN_SCORE, FrameBoxes, ScoredFrames, average_precision
from scene_model.mot_text import MotTable, read_mot

Fields = dict[str, float]

GRID = (0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Confidence thresholds that are tried for every system; the defaults of all of them are among these."""

LOGGED = ("HOTA", "DetA", "DetRe", "DetPr", "AssA", "IDF1", "IDSW", "MOTA")


def objective(scores: Mapping[str, float]) -> float:
    """What a threshold is chosen by."""
    return (scores["HOTA"] + scores["IDF1"]) / 2


def choose_threshold(score_at: Callable[[float], Fields]) -> tuple[float, dict[str, Fields]]:
    """The threshold of the grid with the best objective, the lowest of equals, and the scores at each.

    Args:
        score_at: tracks the part for tuning with a threshold, and scores it.
    """
    tried = {threshold: score_at(threshold) for threshold in GRID}
    best = max(tried, key=lambda threshold: (objective(tried[threshold]), -threshold))
    return best, {f"{threshold:g}": scores for threshold, scores in tried.items()}


def score_tracks(truth: MOTChallenge, tracks: Path) -> Fields:
    """Scores of all sequences together.

    Args:
        truth: the annotated sequences.
        tracks: a folder with a ``<sequence>.txt`` for each, classes counted from 1; a missing file has no rows.
    """
    sums: dict[str, SequenceSums] = {}
    for number, info in enumerate(truth.sequences()):
        annotated = truth.truth(number)
        assert annotated is not None  # all folders are written with annotations
        table = _read(tracks / f"{info.name}.txt", info.num_frames)
        sums[info.name] = SequenceSums(info.num_frames)
        for of_class in apply_rules_per_class(annotated.table, table, annotated.rules):
            sums[info.name].add(TrackedSequence.of(*of_class, info.num_frames))
    combined = combine(sums, truth.class_names)["COMBINED"]
    return {name: float(combined[name]) for name in LOGGED}


def score_detections(truth: MOTChallenge, detections: Path) -> Fields:
    """``map`` and ``map_50`` of raw boxes, in the same text as tracks, whose ids mean nothing."""
    frames = []
    for number, info in enumerate(truth.sequences()):
        table = _read(detections / f"{info.name}.txt", info.num_frames)
        targets = [truth.targets(number, index) for index in range(info.num_frames)]
        to_pixels = np.array([info.width, info.height, info.width, info.height], dtype=np.float32)
        annotated = FrameBoxes(
            np.array([len(frame) for frame in targets]),
            {
                "boxes": np.concatenate([frame.boxes.numpy() for frame in targets]) * to_pixels,
                "labels": np.concatenate([frame.labels.numpy() for frame in targets]),
                "iscrowd": np.concatenate([frame.ignore.numpy() for frame in targets]).astype(np.int64),
            },
        )
        frames.append(ScoredFrames(_detected(table, info.num_frames), annotated))
    return average_precision(frames)


def _read(path: Path, num_frames: int) -> MotTable:
    if path.is_file():
        return read_mot(path, num_frames, ground_truth=False)
    return MotTable.of_tracks(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0))


def _detected(table: MotTable, num_frames: int) -> FrameBoxes:
    """The best boxes of every frame, as many as count, frame by frame with falling score."""
    table = table[table.conf >= MIN_SCORE]
    table = table[np.lexsort((-table.conf, table.frames))]
    starts = np.searchsorted(table.frames, np.arange(num_frames + 1))
    rank = np.arange(len(table)) - starts[table.frames]
    table = table[rank < MAX_BOXES]
    boxes = np.concatenate([table.boxes[:, :2] + table.boxes[:, 2:] / 2, table.boxes[:, 2:]], axis=1)
    columns: dict[str, NDArray[Any]] = {
        "boxes": boxes.astype(np.float32),
        "scores": table.conf.astype(np.float32),
        "labels": table.classes.astype(np.int64) - 1,
    }
    return FrameBoxes(np.bincount(table.frames, minlength=num_frames), columns)
