"""Who plays in a synthetic scene and what happens: objects in roles, and the meetings staged between them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from datamodules.synthetic_dice import Dice
from datamodules.synthetic_motion import Build, Knot, Life, World
from datamodules.synthetic_render import SHAPES, Texture

MEETING_PERIOD = 32  # frames after which a staged meeting happens again
PASSING_TIME = 5.0  # frames from the side of a host to behind it, and to its other side
FASTEST_PASSING = 0.03  # of the frame's shorter side per frame, relative to the host
WINGS = 24.0  # frames before and after the scene in which an object may already, or still, be turning in the frame


@dataclass(frozen=True)
class SceneConfig:
    """What scenes are like; `SyntheticScenes` describes each item."""

    num_frames: int
    image_size: tuple[int, int]
    num_objects: tuple[int, int]
    object_size: tuple[float, float]
    num_classes: int
    speed: tuple[float, float]
    enter_leave: float
    occlusion_rate: float
    lookalike_rate: float
    camera_motion_rate: float
    clutter: float


@dataclass(frozen=True)
class Look:
    """What tells an object from others: a class index and a texture."""

    label: int
    texture: Texture

    @classmethod
    def draw(cls, dice: Dice, num_classes: int) -> Look:
        """Any class in any texture."""
        return cls(dice.below(num_classes), Texture.draw(dice))


@dataclass(frozen=True)
class Role:
    """What the objects that follow each other in one slot have in common.

    Args:
        build: their sizes.
        look: given where they look like the objects of another slot.
        foremost: whether they hide all others; without it the smaller hides the larger, so hardly ever wholly.
    """

    build: Build
    look: Look | None = None
    foremost: bool = False


@dataclass(frozen=True)
class Actor:
    """One object of a scene: how it moves, what it looks like, and how far from the camera it is."""

    life: Life
    look: Look
    depth: float


@dataclass(frozen=True)
class Meeting:
    """Two slots that are brought together again and again.

    Args:
        guest: the slot whose path is bent.
        host: the slot that goes its own way.
        hidden: whether the guest vanishes behind the host; otherwise they touch.
    """

    guest: int
    host: int
    hidden: bool


def perform(dice: Dice, config: SceneConfig, world: World) -> list[Actor]:
    """Cast a scene and move everyone through it: its objects in the order of their entrances."""
    least, most = config.num_objects
    num_slots = least + dice.below(most - least + 1)
    meetings, roles = _cast(dice, config, num_slots)
    slots: dict[int, list[Actor]] = {}
    hosts = {meeting.host for meeting in meetings.values()}
    for slot in sorted(range(num_slots), key=lambda slot: slot in meetings):
        if slot in meetings:
            stations = _stations(dice, world, slots[meetings[slot].host], meetings[slot].hidden)
        elif slot in hosts:  # It is inside the frame when a meeting of a short scene may take place.
            stations = [world.inner_knot(dice, int(dice.uniform(0.25, 0.75) * world.num_frames))]
        else:
            stations = [world.inner_knot(dice, dice.uniform(-WINGS, world.num_frames + WINGS))]
        role = roles[slot]
        slots[slot] = [_actor(dice, config, role, life) for life in world.successive_lives(dice, role.build, stations)]
    actors = [actor for slot in range(num_slots) for actor in slots[slot]]
    on_stage = [actor for actor in actors if len(actor.life.frames(world.num_frames))]
    return sorted(on_stage, key=lambda actor: actor.life.path.start)


def _actor(dice: Dice, config: SceneConfig, role: Role, life: Life) -> Actor:
    look = role.look or Look.draw(dice, config.num_classes)
    return Actor(life, look, depth=0.0 if role.foremost else life.width * life.height * SHAPES[look.label].fill())


def _cast(dice: Dice, config: SceneConfig, num_slots: int) -> tuple[dict[int, Meeting], list[Role]]:
    """The meetings by their guest, and the slots' roles: the last two slots look alike, slot 1 hides slot 0."""
    low, high = config.object_size
    tenth = (high - low) / 10
    roles = [Role(Build(low, high)) for _ in range(num_slots)]
    meetings: dict[int, Meeting] = {}
    if num_slots > 1 and dice.chance(config.lookalike_rate):
        size = dice.uniform(low, high)
        build = Build(max(low, size - tenth / 2), min(high, size + tenth / 2), min_aspect=0.9)
        roles[-2:] = [Role(build, Look.draw(dice, config.num_classes))] * 2
        meetings[num_slots - 1] = Meeting(guest=num_slots - 1, host=num_slots - 2, hidden=False)
    if num_slots > 1 and dice.chance(config.occlusion_rate):
        large = Build(high - tenth, high, min_aspect=0.9)
        roles[0] = replace(roles[0], build=Build(low, low + tenth, min_aspect=0.9))
        roles[1] = replace(roles[1], build=large, foremost=True)
        meetings[0] = Meeting(guest=0, host=1, hidden=True)
        if num_slots == 2:  # The hiding is the look-alikes' meeting, too.
            meetings.pop(1, None)
        elif num_slots == 3 and 2 in meetings:
            roles[2] = replace(roles[2], build=large)
    return meetings, roles


def _stations(dice: Dice, world: World, hosts: list[Actor], hidden: bool) -> list[Knot]:
    """Where a guest passes its hosts: once per period, in its middle half, so that the ways between are not rushed."""
    num_meetings = max(1, round(world.num_frames / MEETING_PERIOD))
    period = world.num_frames / num_meetings
    stations: list[Knot] = []
    for number in range(num_meetings):
        times = range(int((number + 0.25) * period), max(int((number + 0.75) * period), 1))
        host, time = _moment(dice, world, hosts, times)
        stations += _behind(dice, host, time) if hidden else _beside(dice, host, time)
    return stations


def _moment(dice: Dice, world: World, hosts: list[Actor], times: range) -> tuple[Actor, int]:
    """One of the times, while a host is well inside the frame if it ever is."""
    moments: list[tuple[Actor, int]] = []
    inner: list[bool] = []
    for host in hosts:
        frames = [time for time in host.life.frames(world.num_frames) if time in times]
        moments += [(host, time) for time in frames]
        inner += world.is_inner(host.life.path.at(np.array(frames, dtype=np.float64))).tolist()
    candidates = [moment for moment, is_inner in zip(moments, inner, strict=True) if is_inner]
    return candidates[dice.below(len(candidates))] if candidates else moments[len(moments) // 2]


def _behind(dice: Dice, host: Actor, time: int) -> list[Knot]:
    """Straight through behind the host, against its motion, wholly covered for a few frames."""
    u, v, half_side = SHAPES[host.look.label].core
    x, y = host.life.point(time, u, v)
    vx, vy = host.life.path.velocity(time)
    pace = min(FASTEST_PASSING, half_side * min(host.life.width, host.life.height) / 2 / dice.uniform(2.0, 4.0))
    share = dice.uniform(0.1, 0.9)
    dx, dy = pace * math.sqrt(share) * dice.sign(), pace * math.sqrt(1.0 - share) * dice.sign()
    against = -1 if dx * vx + dy * vy > 0 else 1
    lags = (-PASSING_TIME, 0.0, PASSING_TIME)
    return [Knot(time + lag, x + (vx + against * dx) * lag, y + (vy + against * dy) * lag) for lag in lags]


def _beside(dice: Dice, host: Actor, time: int) -> list[Knot]:
    """So near to a host of about the same size that the boxes overlap."""
    u, v = dice.sign() * dice.uniform(0.6, 1.4), dice.sign() * dice.uniform(0.0, 1.4)
    return [Knot(time, *host.life.point(time, u, v))]
