"""An embedding of what an object looks like, by which it is known again after frames in which nobody saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scene_model.errors import UserError
from scene_model.heads import Head

if TYPE_CHECKING:
    from scene_model.training.targets import QueryTargets

_HIDDEN = 128
_ROWS, _COLUMNS = 2, 4  # points of a stripe
_NEVER = -1e4


class IdentityEmbedding(nn.Module):
    """Embeddings of the colours within boxes.

    Args:
        stripes: number S of stripes.
        width: E of the embeddings.
    """

    def __init__(self, stripes: int, width: int) -> None:
        super().__init__()
        self.stripes = stripes
        self.embed = nn.Sequential(nn.Linear(3 * stripes, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, width))

    def forward(self, hidden: Tensor, boxes: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """``identity_embeddings`` ``[B, T, Q, E]``, of length 1."""
        with torch.autocast(frames.device.type, enabled=False):  # 8 bits are too few to tell cosines apart
            colours = stripe_colours(frames.float(), boxes.detach().float(), self.stripes)
            return {"identity_embeddings": F.normalize(self.embed(colours), dim=-1)}


def stripe_colours(frames: Tensor, boxes: Tensor, stripes: int) -> Tensor:
    """Mean colours of horizontal stripes of the middle half of boxes, where little of the background is.

    Args:
        frames: ``[B, T, 3, H, W]``.
        boxes: ``[B, T, Q, 4]``.
        stripes: number S of stripes, each read at eight points.

    Returns:
        ``[B, T, Q, 3 * S]``; what lies outside of the frame is 0.
    """
    rows, columns = stripes * _ROWS, _COLUMNS
    down = (torch.arange(rows, device=boxes.device) + 0.5) / rows - 0.5
    across = ((torch.arange(columns, device=boxes.device) + 0.5) / columns - 0.5) / 2
    offsets = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1).flatten(0, 1)  # [points, 2]
    places = boxes[..., None, :2] + offsets * boxes[..., None, 2:]
    sampled = F.grid_sample(
        frames.flatten(0, 1), 2 * places.flatten(0, 1) - 1, align_corners=False
    )  # [BT, 3, Q, points]
    colours = sampled.unflatten(-1, (stripes, _ROWS * columns)).mean(-1)
    return colours.permute(0, 2, 1, 3).flatten(2).unflatten(0, frames.shape[:2])


@dataclass(frozen=True, kw_only=True)
class IdentityHead(Head):
    """Embeddings of what objects look like, by which linking knows them again.

    What is embedded are the colours of a few stripes of the box (parts as in PCB, arXiv 1711.09349), from the frame
    itself: a few minutes of training are enough, and detection neither gains nor loses. Each query is classified in
    each frame among the objects of its clip, by the cosine with their mean embeddings (prototypes, arXiv 1703.05175; of
    its own object's, this frame is left out). So no list of identities is needed, and scenes never seen twice serve.

    Args:
        weight: of the loss.
        stripes: of equal height, from top to bottom.
        width: of the embeddings.
        scale: of the cosines, before the softmax.
    """

    weight: float = 0.1
    stripes: int = 8
    width: int = 64
    scale: float = 16.0

    def __post_init__(self) -> None:
        for name in ("stripes", "width"):
            if getattr(self, name) < 1:
                raise UserError(f"IdentityHead.{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("weight", "scale"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"IdentityHead.{name}: expected a number > 0, got {getattr(self, name)}")

    def build(self, channels: int, num_classes: int) -> nn.Module:
        """See `IdentityEmbedding`."""
        return IdentityEmbedding(self.stripes, self.width)

    def loss(self, predictions: Mapping[str, Tensor], targets: QueryTargets) -> dict[str, Tensor]:
        """The term ``identity``, ``[B]``, of the objects that are present in two frames of the clip or more."""
        present = targets.present
        seen = predictions["identity_embeddings"] * present[..., None]
        total = seen.sum(1)  # [B, Q, E]
        likeness = torch.einsum("btqe,bpe->btqp", seen, F.normalize(total, dim=-1))
        own = (seen * F.normalize(total[:, None] - seen, dim=-1)).sum(-1)  # [B, T, Q]
        itself = torch.eye(present.shape[2], dtype=torch.bool, device=present.device)
        likeness = torch.where(itself, own[..., None], likeness)
        nobody = ~present.any(1)[:, None, None]
        logits = (self.scale * likeness).masked_fill(nobody, _NEVER)
        loss = -logits.log_softmax(-1).diagonal(dim1=-2, dim2=-1)
        again = present & (present.sum(1, keepdim=True) >= 2)
        return {"identity": self.weight * (loss * again).sum((1, 2))}
