"""How a synthetic scene is drawn: textured shapes on a cluttered ground.

A picture in the making is a canvas ``[H, W]`` of packed pixels, 0xAABBGGRR little-endian: one gather or copy moves a
whole pixel, and 0 is "nothing here".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datamodules.synthetic_dice import Dice

Canvas: TypeAlias = NDArray[np.uint32]
Box: TypeAlias = NDArray[np.float64]
Colour: TypeAlias = tuple[int, int, int]

SPRITE_SIDE = 64

_Y, _X = np.indices((SPRITE_SIDE, SPRITE_SIDE))
_V, _U = (2 * _Y + 1) / SPRITE_SIDE - 1, (2 * _X + 1) / SPRITE_SIDE - 1


@dataclass(frozen=True)
class Shape:
    """The outline of a class.

    Args:
        name: of the class.
        contains: whether points (u, v) of the square from -1 to 1 lie inside; v points down.
        core: (u, v, half side) of a square that the shape covers wholly; what lies behind it is hidden.
    """

    name: str
    contains: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.bool_]]
    core: tuple[float, float, float]

    def mask(self) -> NDArray[np.bool_]:
        """``[SPRITE_SIDE, SPRITE_SIDE]``, True inside."""
        return self.contains(_U, _V)

    def fill(self) -> float:
        """The share of its box that the shape covers."""
        return int(np.count_nonzero(self.mask())) / (SPRITE_SIDE * SPRITE_SIDE)


SHAPES = (
    Shape("disk", lambda u, v: u * u + v * v <= 1, (0.0, 0.0, 0.7)),
    Shape("square", lambda u, v: np.maximum(abs(u), abs(v)) <= 1, (0.0, 0.0, 1.0)),
    Shape("triangle", lambda u, v: abs(u) <= 0.1 + 0.45 * (v + 1), (0.0, 0.48, 0.52)),
    Shape("cross", lambda u, v: np.minimum(abs(u), abs(v)) <= 0.45, (0.0, 0.0, 0.45)),
    Shape("diamond", lambda u, v: abs(u) + abs(v) <= 1.08, (0.0, 0.0, 0.54)),
    Shape("hourglass", lambda u, v: abs(u) <= 0.3 + 0.7 * abs(v), (0.0, 0.0, 0.4)),
)

PATTERNS: tuple[Callable[[int], NDArray[np.bool_]], ...] = (
    lambda period: _X // period % 2 == 0,
    lambda period: _Y // period % 2 == 0,
    lambda period: (_X + _Y) // period % 2 == 0,
    lambda period: (_X - _Y) // period % 2 == 0,
    lambda period: (_X // period + _Y // period) % 2 == 0,
    lambda period: np.maximum(abs(_U), abs(_V)) * SPRITE_SIDE / 2 // (period // 2) % 2 == 0,
    lambda period: (_X % period * 2 - period) ** 2 + (_Y % period * 2 - period) ** 2 < period * period // 2,
)


@dataclass(frozen=True)
class Texture:
    """What an object looks like, whatever its shape.

    Args:
        pattern: index into `PATTERNS`.
        period: of the pattern, in sprite pixels.
        colours: of the pattern's two parts.
    """

    pattern: int
    period: int
    colours: tuple[Colour, Colour]

    @classmethod
    def draw(cls, dice: Dice) -> Texture:
        """A vivid colour and a darker or lighter one, in some pattern."""
        vivid = _vivid_colour(dice)
        other = 30 if dice.chance(0.5) else 235
        red, green, blue = ((channel + 3 * other) // 4 for channel in vivid)
        return cls(dice.below(len(PATTERNS)), 10 + 2 * dice.below(5), (vivid, (red, green, blue)))

    def sprite(self, mask: NDArray[np.bool_]) -> Canvas:
        """The texture inside a mask ``[SPRITE_SIDE, SPRITE_SIDE]``, nothing around it."""
        first, second = (_pack(colour) for colour in self.colours)
        return np.where(mask, np.where(PATTERNS[self.pattern](self.period), first, second), 0).astype("<u4")


def project(sprite: Canvas, box: Box) -> tuple[int, int, Canvas]:
    """(top, left, patch) of a sprite stretched over a box (cx, cy, w, h) in pixels, beyond the frame's borders too."""
    left, columns = _sample_axis(box[0], box[2])
    top, rows = _sample_axis(box[1], box[3])
    return top, left, sprite.take(rows, axis=0).take(columns, axis=1)


def _sample_axis(centre: float, extent: float) -> tuple[int, NDArray[np.int64]]:
    """The first pixel whose middle lies in the interval and, from there on, which sprite pixel each one shows."""
    start = centre - extent / 2
    pixels = np.arange(np.ceil(start - 0.5), np.ceil(start + extent - 0.5))
    texels = ((pixels + 0.5 - start) * SPRITE_SIDE / extent).astype(np.int64)
    return int(np.ceil(start - 0.5)), np.minimum(texels, SPRITE_SIDE - 1)


def window(canvas: NDArray[Any], top: int, left: int, patch: Canvas) -> tuple[NDArray[Any], Canvas]:
    """The part of the canvas that a patch falls on, as a view, and the part of the patch that falls on the canvas."""
    height, width = canvas.shape
    bottom, right = min(height, top + patch.shape[0]), min(width, left + patch.shape[1])
    skip_y, skip_x = max(0, -top), max(0, -left)
    rows, columns = max(0, bottom - top), max(0, right - left)
    return canvas[top + skip_y : max(0, bottom), left + skip_x : max(0, right)], patch[skip_y:rows, skip_x:columns]


def stamp(canvas: Canvas, sprite: Canvas, box: Box) -> None:
    """Draw a sprite over what the canvas shows."""
    region, patch = window(canvas, *project(sprite, box))
    np.copyto(region, patch, where=patch != 0)


def visible_shares(shape: tuple[int, int], sprites: list[Canvas], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of each sprite's pixels that a frame ``(H, W)`` shows.

    Args:
        shape: of the frame.
        sprites: N, from the hindmost to the foremost.
        boxes: ``[N, 4]``, (cx, cy, w, h) in pixels.
    """
    owners = np.zeros(shape, dtype=np.int32)
    areas = []
    for number, (sprite, box) in enumerate(zip(sprites, boxes, strict=True), start=1):
        top, left, patch = project(sprite, box)
        areas.append(max(1, int(np.count_nonzero(patch))))
        region, patch = window(owners, top, left, patch)
        np.copyto(region, number, where=patch != 0)
    shares: NDArray[np.float64] = np.bincount(owners.ravel(), minlength=len(sprites) + 1)[1:] / np.array(areas)
    return shares


def to_rgb(canvas: Canvas) -> NDArray[np.uint8]:
    """The picture on the canvas: ``[3, H, W]``."""
    channels = canvas.view(np.uint8).reshape(*canvas.shape, 4)
    return np.ascontiguousarray(channels[..., :3].transpose(2, 0, 1))


def paint_background(dice: Dice, height: int, width: int, unit: int, clutter: float) -> Canvas:
    """A ground of soft patches with distractors on it, which have the objects' textures but the shape of no class.

    Args:
        dice: the randomness.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.
        unit: shorter side of the frame, in pixels; everything scales with it.
        clutter: 0 (plain) to 1.
    """
    ground = 3 * _noise(dice, height, width, max(2, unit // 3)) + _noise(dice, height, width, max(2, unit // 12))
    contrast = clutter * dice.uniform(0.6, 1.0)
    canvas: Canvas = _ground_palette(dice, contrast)[ground // 4]
    area = height * width / (unit * unit)
    for _ in range(round(8 * clutter * area)):
        _draw_line(dice, canvas, unit)
    for _ in range(round(8 * clutter * area)):
        cx, cy = dice.uniform(0, width), dice.uniform(0, height)
        w, h = dice.uniform(0.08, 0.3) * unit, dice.uniform(0.08, 0.3) * unit
        stamp(canvas, _distractor(dice), np.array([cx, cy, w, h]))
    return canvas


def _noise(dice: Dice, height: int, width: int, cell: int) -> NDArray[np.int64]:
    """Random numbers from 0 to 255 in cells of that many pixels, blended linearly in integers: ``[height, width]``."""
    grid = dice.grid(height // cell + 2, width // cell + 2, 256)
    y, fy = np.divmod(np.arange(height), cell)
    x, fx = np.divmod(np.arange(width), cell)
    rows = grid[y] * (cell - fy)[:, None] + grid[y + 1] * fy[:, None]
    blended: NDArray[np.int64] = (rows[:, x] * (cell - fx) + rows[:, x + 1] * fx) // (cell * cell)
    return blended


def _ground_palette(dice: Dice, contrast: float) -> Canvas:
    """256 packed colours from one muted colour over grey to another."""
    level = dice.uniform(70, 170)
    steps = np.arange(256) - 128
    channels = [np.clip(level + dice.uniform(-25, 25) + steps * contrast * dice.uniform(0.3, 0.8), 0, 255)]
    channels += [np.clip(channels[0] + dice.uniform(-30, 30) + steps * dice.uniform(-0.2, 0.2), 0, 255) for _ in "gb"]
    red, green, blue = (channel.astype(np.uint32) for channel in channels)
    packed: Canvas = (0xFF000000 | blue << 16 | green << 8 | red).astype("<u4")
    return packed


def _distractor(dice: Dice) -> Canvas:
    """A ragged, muted patch: noise cut off at a threshold that rises towards the rim."""
    noise = _noise(dice, SPRITE_SIDE, SPRITE_SIDE, SPRITE_SIDE // 4) / 256
    texture = Texture.draw(dice)
    first, second = (_mute(colour) for colour in texture.colours)
    return Texture(texture.pattern, texture.period, (first, second)).sprite(noise > 0.15 + 0.7 * (_U * _U + _V * _V))


def _draw_line(dice: Dice, canvas: Canvas, unit: int) -> None:
    """A straight line of random colour, place and thickness."""
    height, width = canvas.shape
    y0, y1, x0, x1 = dice.below(height), dice.below(height), dice.below(width), dice.below(width)
    length = max(abs(y1 - y0), abs(x1 - x0), 1)
    steps = np.arange(length + 1)
    y, x = y0 + (y1 - y0) * steps // length, x0 + (x1 - x0) * steps // length
    colour = _pack(_mute(_vivid_colour(dice)))
    for offset in range(max(1, dice.below(1 + unit // 40))):
        canvas[np.minimum(y + offset, height - 1), x] = colour
        canvas[y, np.minimum(x + offset, width - 1)] = colour


def _vivid_colour(dice: Dice) -> Colour:
    channels = [200 + dice.below(56), 40 + dice.below(180), 20 + dice.below(50)]
    turn = dice.below(3)
    red, green, blue = (channels[turn:] + channels[:turn])[:: dice.sign()]
    return red, green, blue


def _mute(colour: Colour) -> Colour:
    """The colour, half grey."""
    red, green, blue = ((channel + 120) // 2 for channel in colour)
    return red, green, blue


def _pack(colour: Colour) -> int:
    red, green, blue = colour
    return 0xFF000000 | blue << 16 | green << 8 | red
