"""How the objects and the camera of a synthetic scene move.

Lengths are in units of the frame's shorter side, times in frames. Only elementwise +, -, *, / and sqrt touch a
position, because these are rounded alike on every machine; sin, exp or a BLAS product are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.synthetic_dice import Dice

FloatArray = NDArray[np.float64]

BREATHING = 0.07  # an object's size varies by this share of itself
LEG = 14.0  # frames between the waypoints that lead from one station to the next
MIN_LEG = 0.2  # a shorter way takes the time of one this long
INNER = (0.2, 0.8)  # share of the frame in which objects turn and meet


class Knot(NamedTuple):
    """Where a path passes at some time."""

    time: float
    x: float
    y: float
    scale: float = 1.0


class Body(NamedTuple):
    """An object's size at scale 1."""

    width: float
    height: float


class Path:
    """A smooth curve through knots, cubic Hermite pieces with Catmull-Rom tangents.

    Args:
        knots: two or more, in order of time.
    """

    def __init__(self, knots: Sequence[Knot]) -> None:
        self._times = np.array([knot.time for knot in knots])
        self._values = np.array([[knot.x, knot.y, knot.scale] for knot in knots])
        before, after = [0, *range(len(knots) - 1)], [*range(1, len(knots)), len(knots) - 1]
        spans = (self._times[after] - self._times[before])[:, None]
        self._tangents = (self._values[after] - self._values[before]) / spans

    @property
    def start(self) -> float:
        """Time of the first knot."""
        return float(self._times[0])

    @property
    def end(self) -> float:
        """Time of the last knot."""
        return float(self._times[-1])

    def at(self, times: FloatArray) -> FloatArray:
        """(x, y, scale) ``[len(times), 3]``."""
        piece = np.clip(np.searchsorted(self._times, times, side="right") - 1, 0, len(self._times) - 2)
        span = (self._times[piece + 1] - self._times[piece])[:, None]
        s = (times - self._times[piece])[:, None] / span
        rest = 1.0 - s
        from_left = self._values[piece] * (1.0 + 2.0 * s) + self._tangents[piece] * span * s
        from_right = self._values[piece + 1] * (1.0 + 2.0 * rest) - self._tangents[piece + 1] * span * rest
        values: FloatArray = from_left * rest * rest + from_right * s * s
        return values

    def velocity(self, time: float) -> tuple[float, float]:
        """(x, y) per frame."""
        before, after = self.at(np.array([time - 0.5, time + 0.5]))
        return float(after[0] - before[0]), float(after[1] - before[1])


@dataclass(frozen=True)
class Life:
    """One object from its entrance to its exit.

    Args:
        path: of the object's centre and of its scale.
        width: at scale 1.
        height: at scale 1.
    """

    path: Path
    width: float
    height: float

    def point(self, time: float, u: float, v: float) -> tuple[float, float]:
        """(x, y) of a point of the object, which spans -1 to 1 in u and in v."""
        x, y, scale = (float(value) for value in self.path.at(np.array([time]))[0])
        return x + u * scale * self.width / 2, y + v * scale * self.height / 2

    def frames(self, num_frames: int) -> range:
        """The frames of the scene in which the object exists."""
        return range(max(0, math.ceil(self.path.start)), min(num_frames, math.floor(self.path.end) + 1))


@dataclass(frozen=True)
class Build:
    """The sizes that the objects of one slot may have.

    Args:
        low: least length of the longer side.
        high: largest length of the longer side.
        min_aspect: least ratio of the shorter to the longer side.
    """

    low: float
    high: float
    min_aspect: float = 0.75

    def draw(self, dice: Dice) -> Body:
        """The size of one object."""
        longer = dice.uniform(self.low, self.high)
        shorter = longer * dice.uniform(self.min_aspect, 1.0)
        return Body(longer, shorter) if dice.chance(0.5) else Body(shorter, longer)


@dataclass(frozen=True)
class World:
    """The ground that objects move on, and how they do.

    Args:
        width: of the frame.
        height: of the frame.
        margin: how far the camera can look beyond the resting frame.
        num_frames: length of the scene.
        speed: least and largest mean speed of an object.
        enter_leave: probability that an object's next way leads out of the frame, not to another point in it.
    """

    width: float
    height: float
    margin: float
    num_frames: int
    speed: tuple[float, float]
    enter_leave: float

    def inner_knot(self, dice: Dice, time: float) -> Knot:
        """A point where an object may turn."""
        x, y = dice.uniform(*INNER) * self.width, dice.uniform(*INNER) * self.height
        return Knot(time, x, y, dice.uniform(1.0 - BREATHING, 1.0 + BREATHING))

    def is_inner(self, positions: FloatArray) -> NDArray[np.bool_]:
        """Which of the positions ``[N, 2 or more]`` lie where objects turn and meet."""
        share = positions[:, :2] / np.array([self.width, self.height])
        return np.asarray(((share > INNER[0]) & (share < INNER[1])).all(axis=1))

    def successive_lives(self, dice: Dice, build: Build, stations: Sequence[Knot]) -> list[Life]:
        """Lives that follow one upon the other and fill the scene: when an object has left, the next one enters.

        Args:
            dice: the randomness.
            build: sizes of the objects.
            stations: one or more, in order of time, that one of the objects passes.
        """
        body, speed = build.draw(dice), dice.uniform(*self.speed)
        knots = _waypoints(dice, stations)
        past = self._ways(dice, knots[0], -speed, self._reach(body))
        future = self._ways(dice, knots[-1], speed, self._reach(body))
        lives = [Life(Path([*reversed(past), *knots, *future]), *body)]
        while lives[-1].path.end < self.num_frames - 1:
            lives.append(self._relief(dice, build, lives[-1].path.end))
        while lives[0].path.start > 0:
            lives.insert(0, self._relief(dice, build, lives[0].path.start, backwards=True))
        return lives

    def _relief(self, dice: Dice, build: Build, time: float, backwards: bool = False) -> Life:
        """An object that is half inside at that time and stays afterwards, or before if time is to run backwards."""
        body, speed = build.draw(dice), dice.uniform(*self.speed) * (-1 if backwards else 1)
        reach = self._reach(body)
        outside = self._outer_knot(dice, time - reach / speed, reach)
        knots = [outside, *self._ways(dice, outside, speed, reach)]
        return Life(Path(knots[::-1] if backwards else knots), *body)

    def _reach(self, body: Body) -> float:
        """How far outside the frame the middle of an object must be for the camera not to see any of it."""
        return self.margin + (1.0 + BREATHING) * max(body) / 2

    def _ways(self, dice: Dice, knot: Knot, speed: float, reach: float) -> list[Knot]:
        """From a knot on until the object has left or the scene is over; back in time where the speed is negative."""
        knots: list[Knot] = []
        leaving = False
        while not leaving and (not knots or (knot.time < self.num_frames - 1 if speed > 0 else knot.time > 0)):
            leaving = bool(knots or self._is_inside(knot)) and dice.chance(self.enter_leave)
            target = self._outer_knot(dice, 0.0, reach) if leaving else self.inner_knot(dice, 0.0)
            dx, dy = target.x - knot.x, target.y - knot.y
            knot = target._replace(time=knot.time + max(math.sqrt(dx * dx + dy * dy), MIN_LEG) / speed)
            knots.append(knot)
        return knots

    def _is_inside(self, knot: Knot) -> bool:
        return 0 <= knot.x <= self.width and 0 <= knot.y <= self.height

    def _outer_knot(self, dice: Dice, time: float, reach: float) -> Knot:
        """A point beside the frame."""
        x, y = dice.uniform(0.1, 0.9) * self.width, dice.uniform(0.1, 0.9) * self.height
        if dice.chance(self.height / (self.width + self.height)):
            x = -reach if dice.chance(0.5) else self.width + reach
        else:
            y = -reach if dice.chance(0.5) else self.height + reach
        return Knot(time, x, y)


def _waypoints(dice: Dice, stations: Sequence[Knot]) -> list[Knot]:
    """The stations and, on the ways between them, points that bend these ways."""
    knots = [stations[0]]
    for last, following in pairwise(stations):
        num_legs = max(1, round((following.time - last.time) / LEG))
        for leg in range(1, num_legs):
            share = leg / num_legs
            knots.append(
                Knot(
                    time=last.time + (following.time - last.time) * share,
                    x=last.x + (following.x - last.x) * share + dice.uniform(0.1, 0.2) * dice.sign(),
                    y=last.y + (following.y - last.y) * share + dice.uniform(0.1, 0.2) * dice.sign(),
                )
            )
        knots.append(following)
    return knots


def camera_path(dice: Dice, num_frames: int, pan: float, zoom: float) -> Path:
    """The camera's offset (x, y) and magnification over time, through a new random view every 16 frames.

    Args:
        dice: the randomness.
        num_frames: length of the scene.
        pan: largest offset.
        zoom: largest magnification, at least 1.
    """
    views = [
        Knot(time, dice.uniform(-pan, pan), dice.uniform(-pan, pan), dice.uniform(1.0, zoom))
        for time in np.arange(-8.0, num_frames + 16.0, 16.0)
    ]
    return Path(views)
