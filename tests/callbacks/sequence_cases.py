"""Whole sequences with a truth and what a tracker makes of it, and their windows, for the tests of callbacks."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from scene_model.batch import SceneBatch, SequenceInfo, SequenceTruth, TargetFrame
from scene_model.mot_rules import ClassRules, class_rules
from scene_model.mot_text import MotTable

WIDTH, HEIGHT, LENGTH, QUERIES = 128, 96, 4, 8


@dataclass(frozen=True)
class Scene:
    name: str
    num_frames: int
    truth: MotTable
    tracks: MotTable
    rules: ClassRules

    @property
    def info(self):
        return SequenceInfo(self.name, self.num_frames, HEIGHT, WIDTH, 30.0)

    def target(self, index):
        rows = self.truth[self.truth.frames == index]
        boxes = rows.boxes.copy()
        boxes[:, :2] += boxes[:, 2:] / 2
        labels = self.rules.labels(rows.classes)
        ignore = (rows.conf == 0) | np.isin(rows.classes, self.rules.distractor_ids)
        keep = torch.from_numpy((labels >= 0) | ignore)
        return TargetFrame(
            torch.from_numpy(boxes / [WIDTH, HEIGHT, WIDTH, HEIGHT]).float(),
            torch.from_numpy(labels.clip(0)),
            torch.from_numpy(rows.track_ids),
            torch.from_numpy(ignore),
        )[keep]


def make_scene(name, num_frames, seed=0, benchmark="DanceTrack", classes=("pedestrian",)):
    """Objects of every class and distractors, one object ignored; tracked with jitter, misses and switches."""
    rng = np.random.default_rng(seed)
    rules = class_rules(benchmark, classes)
    numbers = np.resize([*(rules.class_ids or [1]), 8], 6).astype(np.float64)
    frames, objects = np.repeat(np.arange(num_frames), 6), np.tile(np.arange(6), num_frames)
    corners = np.stack([18.0 * objects + 1.5 * frames, 8.0 * objects + frames], axis=1)
    boxes = np.concatenate([corners, np.tile([20.0, 24.0], (len(frames), 1))], axis=1)
    conf = np.where(objects == 4, 0.0, 1.0)
    truth = MotTable(frames, objects + 1, boxes, conf, numbers[objects], np.ones(len(frames)))
    labels = np.resize([*range(len(classes)), 0], 6) + 1.0
    found = (rng.random(len(frames)) < 0.8) | (frames == num_frames - 1)
    renamed = objects + 10 + 10 * (frames > num_frames // 2) * (objects % 2)
    seen = boxes + rng.normal(0, 1.5, boxes.shape)
    tracks = MotTable.of_tracks(frames, renamed, seen, np.ones(len(frames)), labels[objects])[found]
    return Scene(name, num_frames, truth, tracks, rules)


def windows(scene, overlap):
    """Its windows, one to a batch."""
    starts = range(0, max(1, scene.num_frames - overlap), LENGTH - overlap)
    return [_window(scene, start) for start in starts]


def _window(scene, start):
    real = range(start, min(start + LENGTH, scene.num_frames))
    indices = [min(index, scene.num_frames - 1) for index in range(start, start + LENGTH)]
    is_last = scene.num_frames - 1 in real
    return SceneBatch(
        frames=torch.zeros(1, LENGTH, 3, HEIGHT, WIDTH),
        targets=[[scene.target(i) if start + t in real else TargetFrame.empty() for t, i in enumerate(indices)]],
        padding_mask=torch.tensor([[start + t not in real for t in range(LENGTH)]]),
        sequences=[scene.info],
        frame_indices=torch.tensor([indices]),
        seeds=torch.zeros(1, dtype=torch.int64),
        is_last=[is_last],
        truths=[SequenceTruth(scene.truth, scene.rules) if is_last else None],
    )


def blank(batch):
    """The batch as nothing but padding."""
    return replace(
        batch,
        targets=[[TargetFrame.empty() for _ in range(LENGTH)]],
        padding_mask=torch.ones_like(batch.padding_mask),
        is_last=[False],
        truths=[None],
    )
