"""A source of sequences in which one bright rectangle moves over a dark ground, and where it is on a picture."""

import torch

from datamodules.source import Source
from scene_model.batch import SequenceInfo, TargetFrame

BRIGHT, DARK = 220, 30


def draw(size, box):
    """A frame of (height, width) with a rectangle (left, top, right, bottom) in pixels."""
    left, top, right, bottom = box
    frame = torch.full((3, *size), DARK, dtype=torch.uint8)
    frame[:, max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = BRIGHT
    return frame


def find(frame):
    """(left, top, right, bottom) of the rectangle in pixels, under any moderate change of colours."""
    bright = (frame[0] > 0.6 * frame[0].max()).nonzero()
    (top, left), (bottom, right) = bright.amin(0).tolist(), bright.amax(0).tolist()
    return torch.tensor([left, top, right + 1, bottom + 1], dtype=torch.float32)


def normalised(box, size):
    """A box (left, top, right, bottom) in pixels as (cx, cy, w, h) normalised to a frame (height, width)."""
    left, top, right, bottom = box
    height, width = size
    return torch.tensor(
        [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height]
    )


def edges(boxes, size):
    """(left, top, right, bottom) in pixels of boxes (cx, cy, w, h) normalised to a frame (height, width)."""
    scale = torch.tensor([size[1], size[0]])
    center, half = boxes[..., :2] * scale, boxes[..., 2:] * scale / 2
    return torch.cat([center - half, center + half], dim=-1)


class MovingRectangle(Source):
    """Sequence number i has `lengths[i]` frames; its rectangle moves by `velocity` (x, y) pixels a frame from `start`.

    Its track id is 100 + the number of the sequence, its label 1; it is to be ignored in every other frame.
    """

    def __init__(self, lengths=(12,), size=(60, 80), start=(10, 12, 34, 30), velocity=(3, 1)):
        self.lengths, self.size, self.start, self.velocity = lengths, size, start, velocity

    @property
    def class_names(self):
        return ["square", "rectangle"]

    def sequences(self):
        return [SequenceInfo(f"s{i}", length, *self.size, fps=10.0) for i, length in enumerate(self.lengths)]

    def box(self, index):
        return [edge + index * self.velocity[axis % 2] for axis, edge in enumerate(self.start)]

    def frame(self, sequence, index):
        assert 0 <= index < self.lengths[sequence]
        return draw(self.size, self.box(index))

    def targets(self, sequence, index):
        assert 0 <= index < self.lengths[sequence]
        return TargetFrame(
            boxes=normalised(self.box(index), self.size)[None],
            labels=torch.tensor([1]),
            track_ids=torch.tensor([100 + sequence]),
            ignore=torch.tensor([index % 2 == 1]),
        )
