"""What travels from the data to the model: annotated frames, batches of clips, and what is known of their sequences.

Letters used for shapes everywhere in this package: B clips, T frames, Q queries, C classes, D channels, N objects,
H W pixels. Boxes are (cx, cy, w, h), normalised to [0, 1] of the frame, unless a name says ``xyxy`` or ``pixels``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scene_model.host import to_device
from scene_model.mot_rules import ClassRules
from scene_model.mot_text import MotTable


@dataclass(frozen=True)
class SequenceInfo:
    """What is known of a sequence without reading its frames.

    Args:
        name: unique within the source, safe as a file name.
        num_frames: number of frames, at least 1; of a video file an estimate, which says 0 where there is none.
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        fps: frames per second.
        first_frame: what the first one is called, where they are part of a longer sequence; messages count from it.
    """

    name: str
    num_frames: int
    height: int
    width: int
    fps: float
    first_frame: int = 1


@dataclass(frozen=True)
class SequenceTruth:
    """All annotations of a sequence, and how they are scored.

    Args:
        table: boxes in pixels of the original frames, classes by their number in the rules, conf 0 where ignored.
        rules: which of the rows count.
    """

    table: MotTable
    rules: ClassRules


@dataclass
class TargetFrame:
    """The annotated objects of one frame.

    Args:
        boxes: float32 ``[N, 4]``, (cx, cy, w, h) normalised to the frame.
        labels: int64 ``[N]``, class indices.
        track_ids: int64 ``[N]``, identities, unique within the frame and constant over the sequence.
        ignore: bool ``[N]``, True where an object counts neither for nor against a prediction. It excuses boxes that
            match it (IoU of 0.5), not all that lie in it: a region of many is no object.
    """

    boxes: Tensor
    labels: Tensor
    track_ids: Tensor
    ignore: Tensor

    def __len__(self) -> int:
        return len(self.track_ids)

    @classmethod
    def empty(cls) -> TargetFrame:
        """A frame without objects."""
        return cls(
            boxes=torch.zeros(0, 4),
            labels=torch.zeros(0, dtype=torch.int64),
            track_ids=torch.zeros(0, dtype=torch.int64),
            ignore=torch.zeros(0, dtype=torch.bool),
        )

    def __getitem__(self, keep: Tensor) -> TargetFrame:
        """The objects selected by a mask or by indices."""
        return TargetFrame(self.boxes[keep], self.labels[keep], self.track_ids[keep], self.ignore[keep])


@dataclass
class SceneBatch:
    """A batch of clips.

    Args:
        frames: ``[B, T, 3, H, W]``, uint8 as the workers deliver it, normalised float after the transfer.
        targets: B lists of T annotated frames. They stay on the host: the losses pack them there, so that finding a
            clip's identities never waits for the device.
        padding_mask: bool ``[B, T]``, True where a frame is padding and adds nothing to any loss, metric or picture.
        sequences: B descriptions of the sequences that the clips were cut from.
        frame_indices: int64 ``[B, T]``, 0-based frame numbers in the sequence, each once; on padding the last of them
            again, or -1 where there is none.
        seeds: int64 ``[B]``, one per clip; every random draw for the clip is a function of it.
        is_last: B flags, True where no later clip holds frames of the same sequence.
        truths: B annotations of whole sequences, given where a clip is the last one and its sequence is to be scored.
        originals: B stacks of frames before the letterbox, uint8 ``[T, 3, h, w]`` on the host, padding left out; given
            where results are to be drawn.
    """

    frames: Tensor
    targets: list[list[TargetFrame]]
    padding_mask: Tensor
    sequences: list[SequenceInfo]
    frame_indices: Tensor
    seeds: Tensor
    is_last: list[bool]
    truths: list[SequenceTruth | None]
    originals: list[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def real_frames(self) -> list[list[int]]:
        """The numbers of each clip's frames that are no padding, for which no device is asked."""
        return [[n for n in dict.fromkeys(numbers) if n >= 0] for numbers in self.frame_indices.tolist()]

    def distinct_frames(self) -> tuple[Tensor, Tensor]:
        """The frames without those that several clips of a sequence share, as `SceneModel.forward` takes them.

        Returns:
            ``[U, 3, H, W]``, and int64 ``[B, T]`` on the same device: which of them stands where.
        """
        numbers = {name: number for number, name in enumerate({info.name for info in self.sequences})}
        sequence = torch.tensor([numbers[info.name] for info in self.sequences])[:, None].expand_as(self.frame_indices)
        pairs = torch.stack([sequence, self.frame_indices], dim=-1).flatten(0, 1)
        distinct, frame_of = torch.unique(pairs, dim=0, return_inverse=True)
        place = torch.empty(len(distinct), dtype=torch.int64).scatter_(0, frame_of, torch.arange(len(pairs)))
        frames = self.frames.flatten(0, 1)[place.to(self.frames.device)]
        return frames, frame_of.view_as(self.frame_indices).to(self.frames.device)

    def __getstate__(self) -> dict[str, Any]:
        """Pack the targets, because every tensor that a worker sends costs an open file."""
        flat = [frame for clip in self.targets for frame in clip]
        columns = zip(*((frame.boxes, frame.labels, frame.track_ids, frame.ignore) for frame in flat), strict=True)
        counts = [[len(frame) for frame in clip] for clip in self.targets]
        return vars(self) | {"targets": (counts, [torch.cat(column) for column in columns])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        counts, columns = state["targets"]
        flat = map(TargetFrame, *(column.split([n for clip in counts for n in clip]) for column in columns))
        vars(self).update(state, targets=[[next(flat) for _ in clip] for clip in counts])

    def to(self, device: torch.device | str) -> SceneBatch:
        """A copy with frames and padding mask on a device; everything else stays on the host."""
        return replace(self, frames=to_device(self.frames, device), padding_mask=to_device(self.padding_mask, device))

    def pin_memory(self) -> SceneBatch:
        """A copy whose device-bound tensors lie in page-locked memory."""
        return replace(self, frames=self.frames.pin_memory(), padding_mask=self.padding_mask.pin_memory())
