"""Tracks drawn on the frames of a video: boxes, names, scores and the way that the objects came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from callbacks.drawing import identity_color, outline, write_label
from scene_model.mot_text import MotTable

Point = tuple[float, float]
Picture = NDArray[np.uint8]

_FRAME_SIDE_PER_LINE_WIDTH = 288
_FRAME_SIDE_PER_FONT_SIZE = 44
_MIN_FONT_SIZE = 10


class Trails:
    """Where objects were in the last frames: memory holds those frames only, and nothing of objects long gone.

    Args:
        length: frames that are remembered, the newest included; 0: none.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._points: dict[int, deque[tuple[int, Point]]] = {}

    def advance(self, frame: int, points: Iterable[tuple[int, Point]]) -> None:
        """Goes on to a frame, with the places of the identities that are seen there."""
        for identity, point in points:
            self._points.setdefault(identity, deque()).append((frame, point))
        for identity, trail in list(self._points.items()):
            while trail and trail[0][0] <= frame - self._length:
                trail.popleft()
            if not trail:
                del self._points[identity]

    def __len__(self) -> int:
        return len(self._points)

    def __iter__(self) -> Iterator[tuple[int, list[Point]]]:
        """Each identity with its places, oldest first."""
        for identity, trail in self._points.items():
            yield identity, [point for _, point in trail]


class Annotator:
    """Draws the tracks of one video, frame after frame. Lines and letters grow with the frame.

    Args:
        class_names: of the classes 1, 2, ...; classes without a name get none.
        trail: frames over which the lower end of a box leaves a line; 0: no lines.
        line_width: in pixels; None: as fits the frame.
    """

    def __init__(self, class_names: Sequence[str] = (), trail: int = 30, line_width: int | None = None) -> None:
        self._class_names = class_names
        self._trails = Trails(trail)
        self._line_width = line_width

    def draw(self, frame: Tensor, number: int, rows: MotTable) -> Picture:
        """A picture of the frame with its tracks.

        Args:
            frame: uint8 ``[3, h, w]`` on the CPU, which stays as it is; fastest with the channels last in memory.
            number: of the frame, larger than the one before.
            rows: its tracks, in pixels.

        Returns:
            uint8 ``[h, w, 3]``, RGB.
        """
        image = Image.fromarray(frame.movedim(0, -1).contiguous().numpy())
        canvas = ImageDraw.Draw(image)
        side = min(frame.shape[1:])
        width = self._line_width or max(1, round(side / _FRAME_SIDE_PER_LINE_WIDTH))
        font_size = max(_MIN_FONT_SIZE, round(side / _FRAME_SIDE_PER_FONT_SIZE))
        identities, corners = rows.track_ids.tolist(), _corners(rows)
        lower_ends = [((left + right) / 2, bottom) for left, _, right, bottom in corners]
        self._trails.advance(number, zip(identities, lower_ends, strict=True))
        for identity, points in self._trails:
            canvas.line(points, fill=identity_color(identity), width=width)
        for identity, box in zip(identities, corners, strict=True):
            outline(canvas, box, identity_color(identity), width)
        for identity, (left, top, *_), text in zip(identities, corners, self._labels(rows), strict=True):
            write_label(canvas, left, top, text, identity_color(identity), font_size)
        return np.asarray(image)

    def _labels(self, rows: MotTable) -> Iterator[str]:
        for identity, number, score in zip(rows.track_ids, rows.classes, rows.conf, strict=True):
            has_name = 1 <= number <= len(self._class_names)
            name = f" {self._class_names[int(number) - 1]}" if has_name else ""
            yield f"{identity}{name} {score:.2f}"


def _corners(rows: MotTable) -> list[list[float]]:
    """(left, top, right, bottom) of the boxes, the last pixels included."""
    low, size = np.split(rows.boxes, 2, axis=1)
    corners: list[list[float]] = np.hstack([low, low + np.maximum(size - 1, 0)]).tolist()
    return corners
