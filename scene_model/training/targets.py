"""Annotations in the form that losses need: one row per identity of a clip, and one row per query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from scene_model.batch import TargetFrame
from scene_model.host import to_device


@dataclass
class ClipTargets:
    """The identities of B clips, padded to the largest number N >= 1 of them.

    Args:
        boxes: float32 ``[B, N, T, 4]``; where an object is absent, its box of the nearest frame in which it is present.
        labels: int64 ``[B, N]``.
        present: bool ``[B, N, T]``, the object is annotated in the frame and counts.
        ignore: bool ``[B, N, T]``, the object is annotated in the frame and counts neither for nor against.
        num_objects: int64 ``[B]``, identities that count in at least one frame; they come first among the rows.
        has_ignored: whether there is anything to ignore.
    """

    boxes: Tensor
    labels: Tensor
    present: Tensor
    ignore: Tensor
    num_objects: Tensor
    has_ignored: bool

    def to(self, device: torch.device | str) -> ClipTargets:
        """A copy on a device; `num_objects` stays on the host, where the assignment is solved."""
        return ClipTargets(
            boxes=to_device(self.boxes, device),
            labels=to_device(self.labels, device),
            present=to_device(self.present, device),
            ignore=to_device(self.ignore, device),
            num_objects=self.num_objects,
            has_ignored=self.has_ignored,
        )

    def repeat(self, times: int) -> ClipTargets:
        """The same clips several times over, for the layers of a decoder: ``[times * B, ...]``."""

        def repeated(rows: Tensor) -> Tensor:
            return rows.repeat(times, *[1] * (rows.ndim - 1))

        return ClipTargets(
            boxes=repeated(self.boxes),
            labels=repeated(self.labels),
            present=repeated(self.present),
            ignore=repeated(self.ignore),
            num_objects=repeated(self.num_objects),
            has_ignored=self.has_ignored,
        )


def pack(targets: Sequence[Sequence[TargetFrame]]) -> ClipTargets:
    """Align the objects of each clip by identity.

    Args:
        targets: B lists of T annotated frames; frames of padding are empty.
    """
    num_clips, num_frames = len(targets), len(targets[0])
    frames = [frame for clip in targets for frame in clip]
    boxes = torch.cat([frame.boxes for frame in frames]).float()
    ignore = torch.cat([frame.ignore for frame in frames])
    frame_index = torch.repeat_interleave(torch.arange(len(frames)), torch.tensor([len(frame) for frame in frames]))
    clip, time = frame_index // num_frames, frame_index % num_frames
    row, rows_per_clip, num_objects = _identity_rows(
        clip, torch.cat([frame.track_ids for frame in frames]), ignore, num_clips
    )

    shape = (num_clips, max(1, int(rows_per_clip.max())))
    packed_boxes = torch.zeros(*shape, num_frames, 4)
    present = torch.zeros(*shape, num_frames, dtype=torch.bool)
    ignored = torch.zeros_like(present)
    labels = torch.zeros(shape, dtype=torch.int64)
    packed_boxes[clip, row, time] = boxes
    present[clip, row, time] = ~ignore
    ignored[clip, row, time] = ignore
    labels[clip, row] = torch.cat([frame.labels for frame in frames])
    return ClipTargets(
        _hold(packed_boxes, present | ignored), labels, present, ignored, num_objects, has_ignored=bool(ignore.any())
    )


def _identity_rows(clip: Tensor, track_ids: Tensor, ignore: Tensor, num_clips: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row of each annotation within its clip, rows per clip and counting rows per clip; counting rows come first."""
    _, rank = torch.unique(track_ids, return_inverse=True)
    num_ranks = int(rank.max()) + 1 if len(rank) else 1
    key, identity = torch.unique(clip * num_ranks + rank, return_inverse=True)
    key_clip = key // num_ranks
    counts = torch.zeros(len(key), dtype=torch.bool).index_put((identity[~ignore],), torch.tensor(True))
    order = torch.argsort(key_clip * 2 + (~counts).long(), stable=True)
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order))
    rows_per_clip = torch.bincount(key_clip, minlength=num_clips)
    first = rows_per_clip.cumsum(0) - rows_per_clip
    row = position[identity] - first[clip]
    return row, rows_per_clip, torch.bincount(key_clip[counts], minlength=num_clips)


def _hold(boxes: Tensor, known: Tensor) -> Tensor:
    """Fill frames without annotation with the box of the nearest annotated frame."""
    num_frames = known.shape[-1]
    time = torch.arange(num_frames)
    distance = (time[:, None] - time[None, :]).abs() + num_frames * (~known)[..., None, :]
    nearest = distance.argmin(-1)
    return boxes.gather(2, nearest[..., None].expand(*nearest.shape, 4))


@dataclass
class QueryTargets:
    """What each query should predict.

    Args:
        boxes: ``[B, T, Q, 4]``, the box of the query's object.
        labels: int64 ``[B, Q]``, its class.
        present: bool ``[B, T, Q]``, the query has an object that counts in this frame.
        counted: bool ``[B, T, Q]``, the query's existence score is supervised in this frame: not on padding, not where
            the query's object or (for a query without one) its box falls on something to ignore.
    """

    boxes: Tensor
    labels: Tensor
    present: Tensor
    counted: Tensor

    def __getitem__(self, clips: slice) -> QueryTargets:
        return QueryTargets(**{f.name: getattr(self, f.name)[clips] for f in fields(self)})


def assign_targets(targets: ClipTargets, objects: Tensor, counted_without: Tensor, real: Tensor) -> QueryTargets:
    """The targets of queries that were given an object each.

    Args:
        targets: of B clips.
        objects: int64 ``[B, Q]``, rows of `targets`, -1 for none.
        counted_without: bool ``[B, T, Q]``, frames in which a query is supervised if it has no object.
        real: bool ``[B, T]``, frames that are not padding.
    """
    row, matched = objects.clamp(min=0), (objects >= 0)[:, None]

    def of_object(values: Tensor) -> Tensor:
        """[B, N, T] -> [B, T, Q]."""
        index = row[:, :, None].expand(-1, -1, values.shape[2])
        return values.gather(1, index).transpose(1, 2) & matched

    box_index = row[:, :, None, None].expand(-1, -1, *targets.boxes.shape[2:])
    return QueryTargets(
        boxes=targets.boxes.gather(1, box_index).transpose(1, 2),
        labels=targets.labels.gather(1, row),
        present=of_object(targets.present),
        counted=torch.where(matched, ~of_object(targets.ignore), counted_without) & real[:, :, None],
    )
