"""COCO's average precision of the network's boxes, frame by frame, as torchmetrics computes it.

It needs a package of the extra ``[coco]``, which is imported when the scores are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import torch
from torch import Tensor

from scene_model.batch import SceneBatch, TargetFrame

MAX_BOXES = 100
"""The best boxes of a frame count, as COCO has it."""

MIN_SCORE = 0.01
"""Boxes of less confidence are not kept; they could only add to the end of the curve of precision over recall."""

_FIELDS = ("map", "map_50")

FrameBoxes = tuple[dict[str, Tensor], dict[str, Tensor]]
"""What was detected in a frame, and what is there, as torchmetrics takes it."""


def can_score_detections() -> bool:
    """Whether the extra package is installed."""
    return find_spec("faster_coco_eval") is not None


class DetectionCollector:
    """Keeps what the network detects in every frame of sequences, and what is there.

    Windows overlap: a frame counts in the first one that holds it. A sequence counts once it has ended, and only if its
    truth came with the end.

    Attributes:
        frames: those of the sequences that have ended.
    """

    def __init__(self) -> None:
        self.frames: list[FrameBoxes] = []
        self._open: dict[str, list[FrameBoxes]] = {}

    def update(self, batch: SceneBatch, outputs: Mapping[str, Tensor]) -> None:
        """Takes windows, those of a sequence in order and without a gap.

        Args:
            batch: the windows.
            outputs: ``bbox_center[B,T,Q,2]``, ``bbox_size[B,T,Q,2]``, ``exist_conf[B,T,Q,1]``, ``cls_logits[B,T,Q,C]``.
        """
        height, width = batch.frames.shape[-2:]
        to_pixels = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes, scores, labels = _best_boxes(outputs)
        is_padding, numbers = batch.padding_mask.tolist(), batch.frame_indices.tolist()
        for clip, sequence in enumerate(batch.sequences):
            frames = self._open.setdefault(sequence.name, [])
            for time, number in enumerate(numbers[clip]):
                if number >= len(frames) and not is_padding[clip][time]:
                    detected = _detected(boxes[clip, time] * to_pixels, scores[clip, time], labels[clip, time])
                    frames.append((detected, _annotated(batch.targets[clip][time], to_pixels)))
            if batch.is_last[clip]:
                self._open.pop(sequence.name)
                self.frames += frames if batch.truths[clip] is not None else []


def average_precision(frames: list[FrameBoxes]) -> dict[str, float]:
    """``map``, the mean over classes and IoU thresholds from 0.5 to 0.95, and ``map_50``, at 0.5 alone.

    Nothing where no object is annotated. Objects that are ignored count neither way, as COCO's crowds.
    """
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(box_format="cxcywh", backend="faster_coco_eval", sync_on_compute=False)
    metric.update([detected for detected, _ in frames], [annotated for _, annotated in frames])
    scores = metric.compute()
    return {name: float(scores[name]) for name in _FIELDS if scores[name] >= 0}  # -1 says that there is no object


def _best_boxes(outputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes ``[B, T, K, 4]``, scores and labels ``[B, T, K]`` of the most confident queries, on the host."""
    confidence = outputs["exist_conf"][..., 0].detach().float().nan_to_num()
    scores, best = confidence.topk(min(MAX_BOXES, confidence.shape[-1]))
    boxes = torch.cat([outputs["bbox_center"], outputs["bbox_size"]], dim=-1).detach().float()
    boxes = boxes.gather(2, best[..., None].expand(*best.shape, 4))
    labels = outputs["cls_logits"].argmax(-1).gather(2, best)
    return boxes.cpu(), scores.cpu(), labels.cpu()


def _detected(boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
    keep = (scores >= MIN_SCORE) & boxes.isfinite().all(-1)
    return {"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]}


def _annotated(target: TargetFrame, to_pixels: Tensor) -> dict[str, Tensor]:
    """A copy: what workers deliver lies in memory that is shared by a whole batch."""
    return {"boxes": target.boxes * to_pixels, "labels": target.labels.clone(), "iscrowd": target.ignore.long()}
