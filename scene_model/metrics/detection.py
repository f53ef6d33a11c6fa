"""COCO's average precision of the network's boxes, frame by frame, as torchmetrics computes it.

It needs a package of the extra ``[coco]``, which is imported when the scores are asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scene_model.batch import SceneBatch, TargetFrame
from scene_model.host import to_host
from scene_model.mot_text import IntArray
from scene_model.optional import require

MAX_BOXES = 100
"""The best boxes of a frame count, as COCO has it."""

MIN_SCORE = 0.01
"""Boxes of less confidence are not kept; they could only add to the end of the curve of precision over recall."""

_FIELDS = ("map", "map_50")


@dataclass(frozen=True)
class FrameBoxes:
    """Boxes of some frames as torchmetrics takes them, but those of all frames behind each other.

    Args:
        counts: int64 ``[F]``, number of boxes in each frame.
        columns: ``[N, ...]`` each, by torchmetrics' names, N boxes in all frames together.
    """

    counts: IntArray
    columns: dict[str, NDArray[Any]]

    @classmethod
    def joined(cls, parts: Sequence[FrameBoxes]) -> FrameBoxes:
        """The frames of at least one part, one part's after the other's."""
        columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
        return cls(np.concatenate([part.counts for part in parts]), columns)

    def split(self) -> list[dict[str, Tensor]]:
        """The columns of each frame."""
        counts = self.counts.tolist()
        columns = (torch.from_numpy(column).split(counts) for column in self.columns.values())
        return [dict(zip(self.columns, frame, strict=True)) for frame in zip(*columns, strict=True)]


@dataclass(frozen=True)
class ScoredFrames:
    """What was detected in some frames, and what is there, in pixels of the frames that the network sees."""

    detected: FrameBoxes
    annotated: FrameBoxes

    @classmethod
    def joined(cls, parts: Sequence[ScoredFrames]) -> ScoredFrames:
        """The frames of at least one part, one part's after the other's."""
        sides = ([part.detected for part in parts], [part.annotated for part in parts])
        return cls(*map(FrameBoxes.joined, sides))


def check_extra() -> None:
    """Finds out whether the extra package is there.

    Raises:
        UserError: it is not; the sentence holds the command that installs it.
    """
    require("faster_coco_eval", purpose="scoring map and map_50", extra="coco")


class DetectionCollector:
    """Keeps what the network detects in every frame of sequences, and what is there.

    Windows overlap: a frame counts in the first one that holds it. A sequence counts once it has ended, and only if its
    truth came with the end.

    Attributes:
        sequences: those that have ended.
    """

    def __init__(self) -> None:
        self.sequences: list[ScoredFrames] = []
        self._open: dict[str, list[ScoredFrames]] = {}
        self._num_known: Counter[str] = Counter()

    def update(self, batch: SceneBatch, outputs: Mapping[str, Tensor]) -> None:
        """Takes windows, those of a sequence in order and without a gap.

        Args:
            batch: the windows.
            outputs: ``bbox_center[B,T,Q,2]``, ``bbox_size[B,T,Q,2]``, ``exist_conf[B,T,Q,1]``, ``cls_logits[B,T,Q,C]``.
        """
        height, width = batch.frames.shape[-2:]
        to_pixels = np.array([width, height, width, height], dtype=np.float32)
        tensors = to_host(*_best_boxes(outputs), batch.padding_mask)
        boxes, scores, labels, is_padding = (tensor.numpy() for tensor in tensors)
        columns = (boxes * to_pixels, scores, labels.astype(np.int64))
        numbers = batch.frame_indices.cpu().numpy()
        for clip, sequence in enumerate(batch.sequences):
            is_new = (numbers[clip] >= self._num_known[sequence.name]) & (is_padding[clip] == 0)
            times = np.flatnonzero(is_new)
            if len(times):
                detected = _detected(*(column[clip, times] for column in columns))
                annotated = _annotated([batch.targets[clip][time] for time in times.tolist()], to_pixels)
                self._open.setdefault(sequence.name, []).append(ScoredFrames(detected, annotated))
                self._num_known[sequence.name] += len(times)
            if batch.is_last[clip]:
                self._finish(sequence.name, counts=batch.truths[clip] is not None)

    def _finish(self, name: str, counts: bool) -> None:
        parts = self._open.pop(name, [])
        del self._num_known[name]
        if counts and parts:
            self.sequences.append(ScoredFrames.joined(parts))


def average_precision(sequences: Sequence[ScoredFrames]) -> dict[str, float]:
    """``map``, the mean over classes and IoU thresholds from 0.5 to 0.95, and ``map_50``, at 0.5 alone.

    Nothing where no object is annotated. Objects that are ignored count neither way, as COCO's crowds.
    """
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(box_format="cxcywh", backend="faster_coco_eval", sync_on_compute=False)
    for frames in sequences:
        metric.update(frames.detected.split(), frames.annotated.split())
    scores = metric.compute()
    return {name: float(scores[name]) for name in _FIELDS if scores[name] >= 0}  # -1 says that there is no object


def _best_boxes(outputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes ``[B, T, K, 4]``, scores and labels ``[B, T, K]`` of the most confident queries."""
    confidence = outputs["exist_conf"][..., 0].detach().float().nan_to_num()
    scores, best = confidence.topk(min(MAX_BOXES, confidence.shape[-1]))
    boxes = torch.cat([outputs["bbox_center"], outputs["bbox_size"]], dim=-1)
    boxes = boxes.gather(2, best[..., None].expand(*best.shape, 4))
    return boxes, scores, outputs["cls_logits"].argmax(-1).gather(2, best)


def _detected(boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: IntArray) -> FrameBoxes:
    """Of the boxes ``[F, K, 4]``, scores and labels ``[F, K]`` of some frames those that count."""
    keep = (scores >= MIN_SCORE) & np.isfinite(boxes).all(-1)
    return FrameBoxes(keep.sum(-1), {"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]})


def _annotated(targets: Sequence[TargetFrame], to_pixels: NDArray[np.float32]) -> FrameBoxes:
    """A copy: what workers deliver lies in memory that is shared by a whole batch."""
    columns = zip(*((target.boxes, target.labels, target.ignore) for target in targets), strict=True)
    boxes, labels, ignore = (torch.cat(column).numpy() for column in columns)
    counts = np.array([len(target) for target in targets])
    return FrameBoxes(counts, {"boxes": boxes * to_pixels, "labels": labels, "iscrowd": ignore.astype(np.int64)})
