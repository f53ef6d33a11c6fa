"""Scenes of moving shapes, rendered on the fly: the data that needs no data."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.source import Source
from datamodules.synthetic_cast import SceneConfig
from datamodules.synthetic_render import SHAPES
from datamodules.synthetic_scene import Scene, build_scene
from scene_model.batch import SequenceInfo, TargetFrame
from scene_model.errors import UserError

FPS = 10.0
LIMITS: dict[str, tuple[float, float]] = {
    "num_scenes": (1, math.inf),
    "num_frames": (1, math.inf),
    "image_size": (16, math.inf),
    "num_objects": (1, math.inf),
    "object_size": (0.02, 1),
    "num_classes": (1, len(SHAPES)),
    "speed": (0.0001, 1),
    "enter_leave": (0, 1),
    "occlusion_rate": (0, 1),
    "lookalike_rate": (0, 1),
    "camera_motion_rate": (0, 1),
    "clutter": (0, 1),
    "min_visibility": (0.01, 1),
}


class SyntheticScenes(Source):
    """Textured shapes that come, go, meet and hide each other before a cluttered background.

    A frame is a function of the arguments and of its number, bit for bit, on every machine, in whatever order and
    process it is drawn. In long scenes things go on happening: new objects succeed those that leave, meetings recur.

    Args:
        split: train, val or test; it is part of the randomness, so no two splits share a scene.
        num_scenes: number of scenes, at least 1.
        num_frames: length of each scene, at least 1.
        image_size: (height, width) of the frames in pixels, at least 16 each.
        seed: any whole number; another seed gives other scenes.
        num_objects: least and largest number of objects that are in a scene at a time, at least 1; those that are
            just passing the frame's border count. Meetings need 2.
        object_size: least and largest length of an object's longer side, as a share of the frame's shorter side, 0.02
            to 1; over time it varies by 7 % of itself, and with the camera's zoom.
        num_classes: how many of disk, square, triangle, cross, diamond, hourglass take part, 1 to 6.
        speed: least and largest mean speed of an object, as a share of the frame's shorter side per frame, 0.0001 to 1.
        enter_leave: probability that an object's next way leads out of the frame instead of to another point in it,
            0 to 1; another object enters in its place. With 0 everyone stays for the whole scene.
        occlusion_rate: share of the scenes in which an object gets hidden, less than 10 % of it visible for 2 frames
            or more, 0 to 1. Needs an `object_size` whose largest is about twice the least.
        lookalike_rate: share of the scenes in which two objects of one class and texture meet: their boxes overlap;
            0 to 1.
        camera_motion_rate: share of the scenes in which the camera pans, by up to 0.1 of the frame, and zooms, up to
            1.15 times; 0 to 1.
        clutter: how much the background distracts, from 0 (soft and plain) to 1.
        min_visibility: objects of which a smaller share can be seen, because others or the frame's border hide the
            rest, are left out of that frame's targets, 0.01 to 1.

    Raises:
        UserError: an argument is out of its range.
    """

    def __init__(
        self,
        split: Literal["train", "val", "test"] = "train",
        num_scenes: int = 1000,
        num_frames: int = 24,
        image_size: tuple[int, int] = (128, 128),
        seed: int = 0,
        num_objects: tuple[int, int] = (2, 6),
        object_size: tuple[float, float] = (0.1, 0.3),
        num_classes: int = 3,
        speed: tuple[float, float] = (0.01, 0.035),
        enter_leave: float = 0.5,
        occlusion_rate: float = 0.5,
        lookalike_rate: float = 1 / 3,
        camera_motion_rate: float = 0.5,
        clutter: float = 0.5,
        min_visibility: float = 0.1,
    ) -> None:
        if split not in ("train", "val", "test"):
            raise UserError(f"split must be train, val or test, not {split!r}")
        self._split = split
        self._seed = seed
        self._num_scenes = num_scenes
        self._min_visibility = min_visibility
        self._config = SceneConfig(
            num_frames=num_frames,
            image_size=image_size,
            num_objects=num_objects,
            object_size=object_size,
            num_classes=num_classes,
            speed=speed,
            enter_leave=enter_leave,
            occlusion_rate=occlusion_rate,
            lookalike_rate=lookalike_rate,
            camera_motion_rate=camera_motion_rate,
            clutter=clutter,
        )
        _check_limits(vars(self._config) | {"num_scenes": num_scenes, "min_visibility": min_visibility})

    @property
    def class_names(self) -> list[str]:
        """Names of the shapes."""
        return [shape.name for shape in SHAPES[: self._config.num_classes]]

    def sequences(self) -> list[SequenceInfo]:
        """The scenes, named by split and number."""
        height, width = self._config.image_size
        return [
            SequenceInfo(f"{self._split}_{number:05}", self._config.num_frames, height, width, FPS)
            for number in range(self._num_scenes)
        ]

    def frame(self, sequence: int, index: int) -> Tensor:
        """See `Source.frame`."""
        return torch.from_numpy(self._scene(sequence).picture(index))

    def targets(self, sequence: int, index: int) -> TargetFrame:
        """See `Source.targets`; a box surrounds the whole object, hidden parts too, cut off at the frame's border."""
        height, width = self._config.image_size
        objects = self._scene(sequence).objects(index)
        seen = objects.visible >= self._min_visibility
        size = np.array([width, height])
        low = np.clip((objects.boxes[seen, :2] - objects.boxes[seen, 2:] / 2) / size, 0, 1)
        high = np.clip((objects.boxes[seen, :2] + objects.boxes[seen, 2:] / 2) / size, 0, 1)
        boxes = np.concatenate([(low + high) / 2, high - low], axis=1)
        return TargetFrame(
            boxes=torch.from_numpy(boxes.astype(np.float32)),
            labels=torch.from_numpy(objects.labels[seen]),
            track_ids=torch.from_numpy(objects.track_ids[seen]),
            ignore=torch.zeros(len(boxes), dtype=torch.bool),
        )

    def _scene(self, sequence: int) -> Scene:
        return build_scene(self._config, self._seed, self._split, sequence)


def _check_limits(arguments: dict[str, Any]) -> None:
    for name, (low, high) in LIMITS.items():
        value = arguments[name]
        is_pair = name in ("image_size", "num_objects", "object_size", "speed")
        if is_pair and not (isinstance(value, tuple) and len(value) == 2):
            raise UserError(f"{name} must be two numbers, not {value!r}")
        if not all(low <= item <= high for item in (value if is_pair else [value])):
            allowed = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise UserError(f"{name} must be {allowed}, not {value!r}")
        if is_pair and name != "image_size" and value[0] > value[1]:
            raise UserError(f"{name} must be (least, largest), not {value!r}")
