"""Box arithmetic that broadcasts: (cx, cy, w, h) boxes in, no pairwise loops, safe for degenerate boxes."""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-10  # areas are shares of the frame; that of a pixel is 1e-7 and more


def to_xyxy(boxes: Tensor) -> Tensor:
    """Corners (x0, y0, x1, y1) of (cx, cy, w, h) boxes ``[..., 4]``.

    >>> to_xyxy(torch.tensor([0.5, 0.5, 0.2, 0.4]))
    tensor([0.4000, 0.3000, 0.6000, 0.7000])
    """
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


def inverse_sigmoid(values: Tensor, eps: float = 1e-4) -> Tensor:
    """Logits of values in [0, 1], clamped away from the ends."""
    values = values.clamp(eps, 1 - eps)
    return torch.log(values) - torch.log1p(-values)


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Intersection and union areas, and the corners of both boxes."""
    a, b = to_xyxy(a), to_xyxy(b)
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    intersection = inner[..., 0] * inner[..., 1]
    return intersection, _area(a) + _area(b) - intersection, a, b


def _area(corners: Tensor) -> Tensor:
    """0 where the corners are the wrong way round. No `prod`: its backward pass is slow, and may ask for zeros."""
    size = (corners[..., 2:] - corners[..., :2]).clamp(min=0)
    return size[..., 0] * size[..., 1]


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes ``[..., 4]`` that broadcast against each other: ``[...]`` in [0, 1].

    For all pairs of ``[..., Q, 4]`` and ``[..., N, 4]`` pass ``a[..., :, None, :]`` and ``b[..., None, :, :]``.

    >>> iou(torch.tensor([0.5, 0.5, 0.2, 0.2]), torch.tensor([0.6, 0.5, 0.2, 0.2]))
    tensor(0.3333)
    """
    intersection, union, _, _ = _overlap(a, b)
    return intersection / union.clamp(min=_TINY)


def covered(a: Tensor, b: Tensor) -> Tensor:
    """The share of each box of `a` that lies under `b`, which broadcast as in `iou`: ``[...]`` in [0, 1].

    >>> covered(torch.tensor([0.5, 0.5, 0.2, 0.2]), torch.tensor([0.6, 0.5, 0.2, 0.4]))
    tensor(0.5000)
    """
    intersection, _, corners, _ = _overlap(a, b)
    return intersection / _area(corners).clamp(min=_TINY)


def iou_and_giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., 2019) of boxes that broadcast: each ``[...]``, GIoU in [-1, 1]."""
    intersection, union, a, b = _overlap(a, b)
    overlap = intersection / union.clamp(min=_TINY)
    outer = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    hull = outer[..., 0] * outer[..., 1]
    return overlap, overlap - (hull - union) / hull.clamp(min=_TINY)
