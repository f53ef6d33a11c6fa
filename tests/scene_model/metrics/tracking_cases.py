"""Tracks for the tests of the scores: made by hand, and drawn from a seed."""

import numpy as np

from scene_model.metrics import TrackedSequence
from scene_model.mot_text import MotTable

BOX = (0.0, 0.0, 10.0, 10.0)


def table(rows, classes=None) -> MotTable:
    """Rows (frame, id) or (frame, id, left, top, width, height)."""
    full = np.array([(*row, *BOX)[:6] if len(row) == 2 else row for row in rows], dtype=np.float64).reshape(-1, 6)
    ones = np.ones(len(full))
    classes = ones if classes is None else np.asarray(classes, dtype=np.float64)
    return MotTable(full[:, 0].astype(np.int64), full[:, 1].astype(np.int64), full[:, 2:], ones, classes, ones)


def track(identity, frames, left=0.0) -> list[tuple]:
    return [(frame, identity, left, 0.0, 10.0, 10.0) for frame in frames]


def sequence(truth, tracker, num_frames=None) -> TrackedSequence:
    return TrackedSequence.of(table(truth), table(tracker), num_frames)


def random_tables(seed: int) -> tuple[MotTable, MotTable, int]:
    """A scene and what a tracker makes of it: misses, switches, jitter, duplicates, shuffled rows and, often, ties."""
    rng = np.random.default_rng(seed)
    num_frames, num_objects = int(rng.integers(1, 25)), int(rng.choice([1, 3, 8, 25]))
    frames, ids, boxes = _walks(rng, num_frames, num_objects)
    truth = rng.random(len(frames)) < rng.choice([0.0, 0.4, 0.8, 1.0], p=[0.03, 0.3, 0.37, 0.3])
    found = rng.random(len(frames)) < rng.choice([0.0, 0.4, 0.8, 1.0], p=[0.03, 0.3, 0.37, 0.3])
    doubled = rng.random(len(frames)) < rng.choice([0.0, 0.2, 0.6])
    jittered = boxes + rng.normal(0, rng.choice([0.0, 1.0, 4.0, 10.0]), boxes.shape)
    renamed = _switched(rng, frames, ids, num_objects)
    grid = rng.choice([0, 1, 10, 20])
    tracker_rows = (
        np.concatenate([frames[found], frames[doubled]]),
        np.concatenate([renamed[found], 1000 + renamed[doubled]]),
        np.concatenate([jittered[found], jittered[doubled]]),
    )
    tables = (_table(rng, grid, *rows) for rows in ((frames[truth], ids[truth], boxes[truth]), tracker_rows))
    return *tables, num_frames


def _walks(rng, num_frames, num_objects):
    frames, ids = np.repeat(np.arange(num_frames), num_objects), np.tile(np.arange(num_objects), num_frames)
    corners = rng.uniform(0, rng.choice([30, 150, 400]), (num_objects, 2))
    corners = corners + np.arange(num_frames)[:, None, None] * rng.normal(0, 2, (num_objects, 2))
    sizes = np.broadcast_to(rng.uniform(10, 60, (num_objects, 2)), corners.shape)
    return frames, ids, np.concatenate([corners, sizes], axis=2).reshape(-1, 4)


def _switched(rng, frames, ids, num_objects):
    ids = ids.copy()
    for _ in range(rng.integers(0, 4)):
        one, other = rng.integers(num_objects, size=2)
        later = frames >= rng.choice(frames)
        is_one, is_other = (ids == one) & later, (ids == other) & later
        ids[is_one], ids[is_other] = other, one
    return ids


def _table(rng, grid, frames, ids, boxes):
    order = rng.permutation(len(frames)) if rng.random() < 0.5 else np.arange(len(frames))
    boxes = (boxes / grid).round() * grid if grid else boxes.copy()
    boxes[:, 2:] = boxes[:, 2:].clip(0)
    classes = rng.choice([1.0, 1.0, 1.0, 2.0, 6.0, 8.0], len(frames))
    conf = rng.choice([0.0, 1.0, 1.0, 1.0], len(frames))
    return MotTable(frames, ids, boxes, conf, classes, np.ones(len(frames)))[order]
