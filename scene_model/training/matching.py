"""One Hungarian assignment per clip: which query is which identity, for all its frames at once."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from scene_model.boxes import iou_and_giou
from scene_model.config import LossConfig
from scene_model.host import to_device
from scene_model.training.targets import ClipTargets

_WORST = 1e6


def matching_cost(
    boxes: Tensor, exist_logits: Tensor, cls_logits: Tensor, targets: ClipTargets, weights: LossConfig
) -> Tensor:
    """Cost of giving each query each object, averaged over the frames in which the object is present.

    SeqFormer (arXiv 2112.08275) matches whole clips in this way; the terms are those of the loss.

    Args:
        boxes: ``[L, B, T, Q, 4]`` of L decoder layers.
        exist_logits: ``[L, B, T, Q]``.
        cls_logits: ``[L, B, T, Q, C]``.
        targets: of the B clips, with N objects.
        weights: of the terms.

    Returns:
        ``[L, B, Q, N]``, finite.
    """
    truth = targets.boxes.transpose(1, 2)[None, :, :, None]  # [1, B, T, 1, N, 4]
    pairs = boxes[..., None, :]  # [L, B, T, Q, 1, 4]
    _, giou = iou_and_giou(pairs, truth)
    distance = (pairs - truth).abs().sum(-1)
    labels = targets.labels[None, :, None, None].expand(distance.shape)
    probability = cls_logits.softmax(-1).gather(-1, labels)
    score = 2 * weights.exist * exist_logits.sigmoid()[..., None]
    cost = weights.l1 * distance - weights.giou * giou - weights.cls * probability - score
    present = targets.present.transpose(1, 2)[None, :, :, None].float()  # [1, B, T, 1, N]
    cost = (cost * present).sum(2) / present.sum(2).clamp(min=1)
    return cost.nan_to_num(nan=_WORST, posinf=_WORST, neginf=-_WORST)


def assign(cost: Tensor, num_objects: Tensor) -> Tensor:
    """Solve all assignments with one copy to the host.

    Args:
        cost: ``[L, B, Q, N]``.
        num_objects: int64 ``[B]`` on the host, the first so many columns are objects.

    Returns:
        int64 ``[L, B, Q]`` on the device of `cost`, the object of each query, -1 for none. Where a clip holds more
        objects than queries, the costliest objects stay without a query.
    """
    costs = cost.cpu().numpy()
    objects = np.full(costs.shape[:3], -1, dtype=np.int64)
    counts = num_objects.tolist()
    for layer, clip in np.ndindex(costs.shape[:2]):
        queries, columns = linear_sum_assignment(costs[layer, clip, :, : counts[clip]])
        objects[layer, clip, queries] = columns
    return to_device(torch.from_numpy(objects), cost.device)
