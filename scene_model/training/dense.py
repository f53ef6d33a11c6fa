"""Dense one-to-many supervision of the encoder's proposals: the strongest signal early in training.

Each object is given its best few tokens in each frame by task-aligned assignment (TOOD, arXiv 2108.07755).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scene_model.boxes import iou, iou_and_giou, to_xyxy
from scene_model.training.targets import ClipTargets

_SCORE_POWER, _IOU_POWER = 0.5, 6.0


def dense_losses(
    boxes: Tensor,
    exist_logits: Tensor,
    cls_logits: Tensor,
    centers: Tensor,
    targets: ClipTargets,
    real: Tensor,
    topk: int,
) -> dict[str, Tensor]:
    """Loss terms of S proposals per frame, each a sum over clips, frames and tokens.

    Args:
        boxes: ``[B, T, S, 4]``.
        exist_logits: ``[B, T, S]``.
        cls_logits: ``[B, T, S, C]``.
        centers: ``[S, 2]``, the tokens' places in the frame, normalised.
        targets: of the B clips.
        real: bool ``[B, T]``, frames that are not padding.
        topk: tokens assigned to each object in each frame.

    Returns:
        ``exist``, ``l1``, ``giou``, ``cls``; the assigned tokens of an object weigh at most its best IoU each, or 0.1
        where that is less.
    """
    truth = targets.boxes.transpose(1, 2)  # [B, T, N, 4]
    present, ignore = targets.present.transpose(1, 2), targets.ignore.transpose(1, 2)
    with torch.no_grad():
        objects, quality = _assign(boxes, exist_logits, centers, truth, present, topk)
        on_ignored = (_inside(centers, truth) & ignore[..., None]).any(2)
        counted = real[..., None] & ~(on_ignored & (quality == 0))
    matched_boxes = truth.gather(2, objects[..., None].expand(*objects.shape, 4))
    labels = targets.labels[:, None].expand(*truth.shape[:3]).gather(2, objects)
    _, giou = iou_and_giou(boxes, matched_boxes)
    exist = F.binary_cross_entropy_with_logits(exist_logits, quality, reduction="none")
    cls = F.cross_entropy(cls_logits.flatten(0, 2), labels.flatten(), reduction="none").view(labels.shape)
    return {
        "exist": (exist * counted).sum(),
        "l1": ((boxes - matched_boxes).abs().sum(-1) * quality).sum(),
        "giou": ((1 - giou) * quality).sum(),
        "cls": (cls * quality).sum(),
    }


def _inside(centers: Tensor, boxes: Tensor) -> Tensor:
    """Which token centres ``[S, 2]`` lie in which boxes ``[B, T, N, 4]``: ``[B, T, N, S]``."""
    corners = to_xyxy(boxes)[..., None, :]
    return ((centers > corners[..., :2]) & (centers < corners[..., 2:])).all(-1)


def _assign(
    boxes: Tensor, exist_logits: Tensor, centers: Tensor, truth: Tensor, present: Tensor, topk: int
) -> tuple[Tensor, Tensor]:
    """The object of each token ``[B, T, S]`` and the quality it should predict, 0 for tokens without an object."""
    overlap = iou(boxes[:, :, None], truth[..., None, :])  # [B, T, N, S]
    alignment = exist_logits.sigmoid()[:, :, None] ** _SCORE_POWER * overlap**_IOU_POWER
    # An object between token centres has none inside: its nearest token then stands for it.
    inside = _inside(centers, truth)
    distance = (centers - truth[..., None, :2]).abs().sum(-1)
    nearest = torch.zeros_like(inside).scatter_(-1, distance.argmin(-1, keepdim=True), True)
    candidate = (inside | nearest) & present[..., None]
    alignment = torch.where(candidate, alignment + 1e-9 - 1e-10 * distance, -1.0)
    kth = alignment.topk(min(topk, alignment.shape[-1]), dim=-1).values[..., -1:]
    chosen = candidate & (alignment >= kth)
    # A token chosen by several objects goes to the one that it overlaps most.
    objects = torch.where(chosen, overlap, -1.0).argmax(2)
    chosen &= F.one_hot(objects, truth.shape[2]).movedim(-1, 2).bool()
    alignment = torch.where(chosen, alignment.clamp(min=0), 0.0)
    best = torch.where(chosen, overlap, 0.0).amax(-1, keepdim=True).clamp(min=0.1)
    quality = alignment / alignment.amax(-1, keepdim=True).clamp(min=1e-12) * best
    return objects, quality.amax(2)
