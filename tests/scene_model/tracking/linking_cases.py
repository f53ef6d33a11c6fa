"""Trajectories, the windows that a network would see of them, and the linking of whole videos."""

from dataclasses import dataclass, replace

import numpy as np

from datamodules.synthetic import SyntheticScenes
from scene_model.metrics import TrackedSequence, score
from scene_model.mot_text import MotTable
from scene_model.tracking import LinkingConfig, Window, WindowLinker, window_starts

PIXELS = np.array([640.0, 480.0, 640.0, 480.0])


@dataclass
class Video:
    """True objects: boxes ``[N, F, 4]``, which of them are there ``[N, F]``, and their classes ``[N]``."""

    boxes: np.ndarray
    present: np.ndarray
    classes: np.ndarray

    @property
    def num_frames(self):
        return self.present.shape[1]

    def without(self, mask):
        """The same objects, hidden where the mask is True."""
        return replace(self, present=self.present & ~mask)

    def table(self):
        """The ground truth, as the metrics take it."""
        frames, ids = np.nonzero(self.present.T)
        return _table(frames, ids + 1, self.boxes[ids, frames], np.ones(len(ids)))


@dataclass(frozen=True)
class Network:
    """What a network makes of a window: noise, misses, and queries in another order each time.

    Args:
        noise: of the boxes, in shares of their size.
        misses: share of the boxes that get a score under the keep threshold.
        alike: how much the embeddings of all objects have in common.
        blur: of the embeddings, from window to window.
        false_alarms: queries per window that see something for a frame or more where there is nothing.
    """

    num_queries: int = 12
    num_classes: int = 3
    channels: int = 16
    noise: float = 0.0
    misses: float = 0.0
    alike: float = 0.5
    blur: float = 0.0
    false_alarms: int = 0

    def windows(self, video, length, overlap, seed=0):
        rng = np.random.default_rng(seed)
        identities = rng.normal(size=(len(video.boxes), self.channels)) + self.alike * 4 * np.eye(1, self.channels)
        for start in window_starts(video.num_frames, length, overlap):
            frames = np.arange(start, min(start + length, video.num_frames))
            yield self._window(video, frames, identities, rng)

    def _window(self, video, frames, identities, rng):
        shape = (len(frames), self.num_queries)
        boxes = rng.uniform(0.1, 0.9, (*shape, 4))
        scores = rng.uniform(0, 0.1, shape)
        class_probs = np.full((*shape, self.num_classes), 1 / self.num_classes)
        embeddings = rng.normal(size=(*shape, self.channels))
        queries = rng.permutation(self.num_queries)
        inside = np.flatnonzero(video.present[:, frames].any(1))
        assert len(inside) + self.false_alarms <= self.num_queries
        for query, item in zip(queries, inside, strict=False):
            truth = video.boxes[item, frames]
            boxes[:, query] = truth + rng.normal(0, self.noise, truth.shape) * np.tile(truth[:, 2:], 2)
            found = video.present[item, frames] & (rng.random(len(frames)) >= self.misses)
            scores[found, query] = rng.uniform(0.7, 1, found.sum()) if self.noise else 0.9
            class_probs[:, query] = 0.1 / self.num_classes + 0.9 * np.eye(self.num_classes)[video.classes[item]]
            embeddings[:, query] = identities[item] + rng.normal(0, self.blur, self.channels)
        for query in queries[len(inside) : len(inside) + self.false_alarms]:
            boxes[:, query] = rng.uniform(0.1, 0.9, 4)
            scores[rng.random(len(frames)) < 0.3, query] = 0.6
        return Window(frames, boxes, scores, class_probs, embeddings)


def still(frames, scores, box=(0.5, 0.5, 0.2, 0.2), look=(1.0, 0.0)):
    """A window with one query, which stands still; scores per frame."""
    scores = np.array(scores, dtype=float)[:, None]
    boxes, embeddings = (np.tile(values, (*scores.shape, 1)) for values in (box, look))
    return Window(np.array(frames), boxes, scores, np.ones((*scores.shape, 1)), embeddings)


def together(*windows):
    """One window with the queries of all."""
    names = ("boxes", "scores", "class_probs", "embeddings")
    arrays = (np.concatenate([getattr(window, name) for window in windows], axis=1) for name in names)
    return Window(windows[0].frames, *arrays)


def link(windows, config=None):
    """All rows of a video."""
    linker = WindowLinker(config or LinkingConfig())
    parts = [linker.update(window) for window in windows] + [linker.finish()]
    rows = parts[0]
    for part in parts[1:]:
        rows = rows.followed_by(part)
    return rows


def scores(video, rows):
    """TrackEval's fields."""
    tracker = _table(rows.frames, rows.track_ids, rows.boxes, rows.scores)
    return score([("video", TrackedSequence.of(video.table(), tracker, video.num_frames))])["video"]


def _table(frames, ids, boxes, conf):
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
    return MotTable.of_tracks(frames.astype(np.int64), ids.astype(np.int64), corners * PIXELS, conf)


def straight(*objects, num_frames, size=0.1, classes=None):
    """Objects that go straight, each from one centre to another."""
    share = np.linspace(0, 1, num_frames)[:, None]
    centers = [np.array(begin) * (1 - share) + np.array(end) * share for begin, end in objects]
    boxes = [np.concatenate([center, np.full((num_frames, 2), size)], axis=1) for center in centers]
    classes = np.zeros(len(objects), dtype=int) if classes is None else np.array(classes)
    return Video(np.array(boxes), np.ones((len(objects), num_frames), dtype=bool), classes)


def synthetic(number, num_frames=150, **options):
    """A built-in scene, in which objects come, go, meet and hide each other."""
    options = {"num_objects": (4, 7), "occlusion_rate": 1.0, "lookalike_rate": 1.0, "num_classes": 2} | options
    scenes = SyntheticScenes(split="test", num_scenes=number + 1, num_frames=num_frames, **options)
    targets = [scenes.targets(number, index) for index in range(num_frames)]
    ids = np.unique(np.concatenate([target.track_ids.numpy() for target in targets]))
    video = Video(np.zeros((len(ids), num_frames, 4)), np.zeros((len(ids), num_frames), dtype=bool), ids.copy())
    for frame, target in enumerate(targets):
        rows = np.searchsorted(ids, target.track_ids.numpy())
        video.boxes[rows, frame] = target.boxes.numpy()
        video.present[rows, frame] = True
        video.classes[rows] = target.labels.numpy()
    return video
