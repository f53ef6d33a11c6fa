"""A synthetic scene: what its camera sees in each frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from datamodules.synthetic_cast import Actor, SceneConfig, perform
from datamodules.synthetic_dice import Dice
from datamodules.synthetic_motion import World, camera_path
from datamodules.synthetic_render import (
    SHAPES,
    Canvas,
    paint_background,
    stamp,
    to_rgb,
    visible_shares,
)

CAMERA_PAN = 0.1  # largest offset of a moving camera, as a share of the frame's shorter side
CAMERA_ZOOM = 1.15  # its largest magnification


@dataclass(frozen=True)
class Track:
    """One identity.

    Args:
        number: its id, from 1.
        label: class index.
        depth: the smaller, the nearer to the camera.
        sprite: what it looks like.
        first: the first frame in which it exists.
        boxes: ``[frames from then on, 4]``, (cx, cy, w, h) in pixels, beyond the frame's borders too.
    """

    number: int
    label: int
    depth: float
    sprite: Canvas
    first: int
    boxes: NDArray[np.float64]


@dataclass(frozen=True)
class FrameObjects:
    """The N objects that exist in a frame, seen or not, from the hindmost to the foremost.

    Args:
        track_ids: ``[N]``.
        labels: ``[N]``.
        boxes: ``[N, 4]``, (cx, cy, w, h) in pixels, beyond the frame's borders too.
        visible: ``[N]``, the share of the object's pixels that the frame shows.
    """

    track_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    visible: NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """Tracks before a background, seen by a camera.

    Args:
        image_size: (height, width) of the frames.
        tracks: from the hindmost to the foremost.
        background: larger than the frame by `margin` pixels on each side.
        margin: in pixels.
        views: ``[T, 3]``, the camera's offset (x, y), in units of the frame's shorter side, and its magnification.
    """

    image_size: tuple[int, int]
    tracks: list[Track]
    background: Canvas
    margin: int
    views: NDArray[np.float64]

    def picture(self, index: int) -> NDArray[np.uint8]:
        """Frame `index`: ``[3, H, W]``."""
        pan_x, pan_y, zoom = self.views[index]
        height, width = self.image_size
        rows = self._ground_pixels(height, pan_y, zoom)
        columns = self._ground_pixels(width, pan_x, zoom)
        canvas = self.background.take(rows, axis=0).take(columns, axis=1)
        for track in self._present(index):
            stamp(canvas, track.sprite, track.boxes[index - track.first])
        return to_rgb(canvas)

    def objects(self, index: int) -> FrameObjects:
        """The objects of frame `index`."""
        present = self._present(index)
        boxes = np.array([track.boxes[index - track.first] for track in present]).reshape(-1, 4)
        return FrameObjects(
            track_ids=np.array([track.number for track in present], dtype=np.int64),
            labels=np.array([track.label for track in present], dtype=np.int64),
            boxes=boxes,
            visible=visible_shares(self.image_size, [track.sprite for track in present], boxes),
        )

    def _present(self, index: int) -> list[Track]:
        return [track for track in self.tracks if 0 <= index - track.first < len(track.boxes)]

    def _ground_pixels(self, length: int, pan: float, zoom: float) -> NDArray[np.int64]:
        middle = length / 2
        pixels = (np.arange(length) + 0.5 - middle) / zoom + middle + pan * min(self.image_size) + self.margin
        whole: NDArray[np.int64] = pixels.astype(np.int64)
        return whole


@lru_cache(maxsize=4)
def build_scene(config: SceneConfig, seed: int, split: str, index: int) -> Scene:
    """Scene number `index` of a split: a function of the arguments alone; the latest few are kept."""
    dice = Dice(seed, split, index)
    height, width = config.image_size
    unit = min(height, width)
    pan, zoom = (CAMERA_PAN, CAMERA_ZOOM) if dice.chance(config.camera_motion_rate) else (0.0, 1.0)
    world = World(width / unit, height / unit, pan, config.num_frames, config.speed, config.enter_leave)
    views = camera_path(dice, config.num_frames, pan, zoom).at(np.arange(config.num_frames, dtype=np.float64))
    actors = perform(dice, config, world)
    tracks = [_film(actor, number, world, views, unit) for number, actor in enumerate(actors, start=1)]
    margin = int(1.5 * pan * unit) + 1  # A path swings beyond its knots by less than half of their range.
    background = paint_background(dice, height + 2 * margin, width + 2 * margin, unit, config.clutter)
    return Scene(config.image_size, sorted(tracks, key=lambda track: -track.depth), background, margin, views)


def _film(actor: Actor, number: int, world: World, views: NDArray[np.float64], unit: int) -> Track:
    """An object as the camera sees it."""
    frames = np.array(actor.life.frames(world.num_frames))
    x, y, scale = actor.life.path.at(frames.astype(np.float64)).T
    pan_x, pan_y, zoom = views[frames].T
    cx = (x - world.width / 2 - pan_x) * zoom + world.width / 2
    cy = (y - world.height / 2 - pan_y) * zoom + world.height / 2
    boxes = np.stack([cx, cy, actor.life.width * scale * zoom, actor.life.height * scale * zoom], axis=1) * unit
    label = actor.look.label
    sprite = actor.look.texture.sprite(SHAPES[label].mask())
    return Track(number, label, actor.depth, sprite, int(frames[0]), boxes)
