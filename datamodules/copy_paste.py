"""Objects of one clip pasted into another, where they meet its own: crossings, of which recordings have few.

Copy-paste (arXiv 2012.07177) of whole trajectories; where there are no masks, an ellipse within the box stands for one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from scene_model.batch import TargetFrame
from scene_model.boxes import covered, to_xyxy
from scene_model.placement import MIN_VISIBLE, clip_boxes

MAX_OVERLAP = 0.2
"""Share of a box that others may cover for its object to be worth copying."""
EDGE = 1e-3
"""Distance from the edge of the frame, in shares of its size, up to which a box may be cut off by it."""
HIDDEN = 0.8
"""Share of a box under that of a pasted object from which its object is out of sight."""
_FIRST_ID = 1 << 40  # beyond the identities of any file


def paste(
    frames: Tensor,
    targets: Sequence[TargetFrame],
    donor_frames: Tensor,
    donor_targets: Sequence[TargetFrame],
    count: int,
    random: np.random.RandomState,
    present: Collection[int] = (),
) -> tuple[Tensor, list[TargetFrame]]:
    """A clip with some objects of another in front of its own.

    Args:
        frames: uint8 ``[T, 3, H, W]``.
        targets: the objects of each frame.
        donor_frames: as many frames of the same size.
        donor_targets: of these.
        count: number of objects, as far as there are so many worth copying.
        random: what which and where is drawn from.
        present: identities that the clip shows already, if the donor is of the same sequence: nobody is there twice.
    """
    frames, targets = frames.clone(), list(targets)
    ids = sorted(_worth_copying(donor_targets) - set(present))
    chosen = random.permutation(len(ids))[:count]
    size = torch.tensor(frames.shape[:1:-1] * 2)  # (W, H, W, H)
    for number, index in enumerate(chosen.tolist()):
        rows = [(target.track_ids == ids[index]).nonzero().item() for target in donor_targets]
        boxes = torch.stack([target.boxes[row] for target, row in zip(donor_targets, rows, strict=True)])
        shift = _to_meet(boxes, targets, frames.shape[-2:], random)
        for time, row in enumerate(rows):
            corners = (to_xyxy(boxes[time]) * size).round().int().tolist()
            _blend(frames[time], donor_frames[time], corners, shift)
            copy = donor_targets[time][torch.tensor([row])]
            moved = copy.boxes + copy.boxes.new_tensor([*shift, 0, 0]) / size
            copy = TargetFrame(moved, copy.labels, torch.tensor([_FIRST_ID + number]), copy.ignore)
            targets[time] = _in_front(copy, targets[time])
    return frames, targets


def _worth_copying(targets: Sequence[TargetFrame]) -> set[int]:
    """The identities that are there, hardly overlapped and not cut off by the frame's edge, in all frames."""
    return set.intersection(*map(_whole, targets))


def _whole(target: TargetFrame) -> set[int]:
    share = covered(target.boxes[:, None], target.boxes).fill_diagonal_(0).sum(1)
    corners = to_xyxy(target.boxes)
    inside = ((corners > EDGE) & (corners < 1 - EDGE)).all(1)
    return set(target.track_ids[(share <= MAX_OVERLAP) & inside & ~target.ignore].tolist())


def _to_meet(
    boxes: Tensor, targets: Sequence[TargetFrame], size: Sequence[int], random: np.random.RandomState
) -> tuple[int, int]:
    """The shift (right, down) in pixels that brings a trajectory to one of the objects, in one of the frames."""
    time = random.randint(len(targets))
    if not len(targets[time]):
        return 0, 0
    other = targets[time].boxes[random.randint(len(targets[time]))]
    beside = other.new_tensor([random.uniform(-1, 1), random.uniform(-0.2, 0.2)]) * other[2:]
    right, down = (other[:2] + beside - boxes[time, :2]).tolist()
    return round(right * size[1]), round(down * size[0])


def _blend(frame: Tensor, donor: Tensor, corners: Sequence[int], shift: tuple[int, int]) -> None:
    """Paint the ellipse within a box of the donor into the frame, in place, as far as both show it."""
    (left, top, right, bottom), (to_right, down) = corners, shift
    height, width = frame.shape[-2:]
    first_column, end_column = max(left, 0, -to_right), min(right, width, width - to_right)
    first_row, end_row = max(top, 0, -down), min(bottom, height, height - down)
    if first_column >= end_column or first_row >= end_row:
        return
    across = (torch.arange(first_column, end_column) + 0.5 - (left + right) / 2) / ((right - left) / 2)
    along = (torch.arange(first_row, end_row) + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2)
    alpha = ((1 - across**2 - along[:, None] ** 2) * 4).clamp(0, 1)  # [h, w], soft at the edge
    source = donor[:, first_row:end_row, first_column:end_column]
    place = frame[:, first_row + down : end_row + down, first_column + to_right : end_column + to_right]
    place.copy_((alpha * source + (1 - alpha) * place).round())


def _in_front(copy: TargetFrame, behind: TargetFrame) -> TargetFrame:
    """The objects of a frame and a pasted one, as far as they are in sight."""
    boxes, visible = clip_boxes(copy.boxes, MIN_VISIBLE)
    if not visible.item():
        return behind
    behind = behind[covered(behind.boxes, boxes) < HIDDEN]
    return TargetFrame(
        torch.cat([behind.boxes, boxes]),
        torch.cat([behind.labels, copy.labels]),
        torch.cat([behind.track_ids, copy.track_ids]),
        torch.cat([behind.ignore, copy.ignore]),
    )
