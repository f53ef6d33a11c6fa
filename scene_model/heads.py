"""What a query predicts: the interface of heads, and the representative one for boxes, existence and classes.

A head is a small description that a YAML file can hold. It builds the network that turns query features into
predictions, and computes the loss of these predictions. To add a kind of prediction (masks, keypoints, an embedding),
write one class and name it under ``model.extra_heads``; nothing else changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scene_model.boxes import inverse_sigmoid, iou_and_giou
from scene_model.errors import UserError

if TYPE_CHECKING:
    from scene_model.training.targets import QueryTargets


class Head(ABC):
    """One kind of prediction."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        torch.serialization.add_safe_globals([cls])  # a head may stand in the hyper-parameters of a checkpoint

    @abstractmethod
    def build(self, channels: int, num_classes: int) -> nn.Module:
        """The network: called with query features, their boxes and, if it is an extra head's, the frames.

        These are ``[B, T, Q, D]``, ``[B, T, Q, 4]`` and, normalised, ``[B, T, 3, H, W]``. It returns a dict of
        predictions, each ``[B, T, Q, ...]``. Their names must differ from those of other heads.
        """

    @abstractmethod
    def loss(self, predictions: Mapping[str, Tensor], targets: QueryTargets) -> dict[str, Tensor]:
        """Loss terms of the network's predictions: each ``[B]``, summed over the queries and frames of a clip.

        The terms are divided later on, by the number of (object, frame) pairs. A head weighs its own terms, under names
        of its own; only those of `BBoxHead` are weighed by `LossConfig`, since the matching shares these weights.
        """


def extended(values: dict[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values of several heads together.

    Raises:
        UserError: two heads use the same name.
    """
    clash = values.keys() & new.keys()
    if clash:
        raise UserError(f"model.extra_heads: the names {sorted(clash)} are taken; a head needs its own")
    return values | dict(new)


class BBoxPredictor(nn.Module):
    """Existence logits, class logits and box refinements from query features.

    Args:
        channels: width D of the query features.
        num_classes: number C of classes.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.exist = nn.Linear(channels, 1)
        self.cls = nn.Linear(channels, num_classes)
        last = nn.Linear(channels, 4)
        self.delta = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), last
        )
        nn.init.constant_(self.exist.bias, -2.0)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, hidden: Tensor, references: Tensor) -> dict[str, Tensor]:
        """Predictions of one decoder layer, in float32.

        Args:
            hidden: ``[B, T, Q, D]``, query features.
            references: ``[B, T, Q, 4]``, the boxes that the layer started from; the prediction is a shift of them.

        Returns:
            ``boxes`` ``[B, T, Q, 4]``, ``delta`` (the shift in logit space), ``exist_logits`` ``[B, T, Q, 1]`` and
            ``cls_logits`` ``[B, T, Q, C]``.
        """
        with torch.autocast(hidden.device.type, enabled=False):  # 8 bits do not tell near scores apart
            hidden = hidden.float()
            delta = self.delta(hidden)
            return {
                "boxes": refine(references, delta),
                "delta": delta,
                "exist_logits": self.exist(hidden),
                "cls_logits": self.cls(hidden),
            }


def refine(references: Tensor, delta: Tensor) -> Tensor:
    """Boxes moved by `delta` in logit space (Deformable DETR's iterative refinement)."""
    return (inverse_sigmoid(references) + delta).sigmoid()


def matchability_loss(logits: Tensor, quality: Tensor, gamma: float) -> Tensor:
    """Matchability-aware loss (DEIM, arXiv 2412.04234), elementwise.

    Args:
        logits: existence logits, any shape.
        quality: same shape, the IoU of a query that has an object, 0 elsewhere.
        gamma: exponent that sharpens targets and down-weighs easy negatives.
    """
    target = torch.where(quality > 0, quality**gamma, 0.0)
    weight = torch.where(quality > 0, torch.ones_like(target), logits.detach().sigmoid() ** gamma)
    return F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="none")


@dataclass(frozen=True, kw_only=True)
class BBoxHead(Head):
    """Boxes, existence and classes: the head that tracking itself rests on.

    Args:
        exist_threshold: existence score from which a query counts in the scores of clips; tracks have their own
            thresholds.
        gamma: exponent of the matchability-aware existence loss.
    """

    exist_threshold: float = 0.4
    gamma: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.exist_threshold < 1:
            raise UserError(f"model.head.exist_threshold: expected a number in (0, 1), got {self.exist_threshold}")
        if self.gamma < 0:
            raise UserError(f"model.head.gamma: expected a number >= 0, got {self.gamma}")

    def build(self, channels: int, num_classes: int) -> nn.Module:
        """See `BBoxPredictor`; each decoder layer has one, called with the boxes that the layer starts from."""
        return BBoxPredictor(channels, num_classes)

    def loss(self, predictions: Mapping[str, Tensor], targets: QueryTargets) -> dict[str, Tensor]:
        """The terms ``exist``, ``l1``, ``giou`` and ``cls``, ``[B]``, not yet weighted; layers lie along the clips."""
        boxes, present = predictions["boxes"], targets.present
        overlap, giou = iou_and_giou(boxes, targets.boxes)
        quality = torch.where(present, overlap.detach(), 0.0)
        exist = matchability_loss(predictions["exist_logits"].squeeze(-1), quality, self.gamma)
        cls_logits = predictions["cls_logits"]
        labels = targets.labels[:, None].expand(present.shape)
        cls = F.cross_entropy(cls_logits.flatten(0, 2), labels.flatten(), reduction="none").view(present.shape)
        return {
            "exist": (exist * targets.counted).sum((1, 2)),
            "l1": ((boxes - targets.boxes).abs().sum(-1) * present).sum((1, 2)),
            "giou": ((1 - giou) * present).sum((1, 2)),
            "cls": (cls * present).sum((1, 2)),
        }
