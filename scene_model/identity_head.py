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
_GOLDEN = -7046029254386353131  # 2**64 divided by the golden ratio, as int64


class IdentityEmbedding(nn.Module):
    """Embeddings of the colours within boxes, and in training their likeness to the proxies of all identities.

    Args:
        stripes: number S of stripes.
        width: of the embeddings.
        num_proxies: number P of proxies.
        scale: of the cosines, before the softmax.
    """

    def __init__(self, stripes: int, width: int, num_proxies: int, scale: float) -> None:
        super().__init__()
        self.stripes = stripes
        self.embed = nn.Sequential(nn.Linear(3 * stripes, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, width))
        self.proxies = nn.Embedding(num_proxies, width)
        self.scale = scale

    def forward(self, hidden: Tensor, boxes: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """``identity_embeddings`` ``[B, T, Q, E]``, of length 1; in training ``identity_logits`` ``[B, T, Q, P]``."""
        with torch.autocast(frames.device.type, enabled=False):  # 8 bits are too few to tell cosines apart
            colours = stripe_colours(frames.float(), boxes.detach().float(), self.stripes)
            embeddings = F.normalize(self.embed(colours), dim=-1)
            if not self.training:
                return {"identity_embeddings": embeddings}
            logits = self.scale * embeddings @ F.normalize(self.proxies.weight, dim=-1).T
            return {"identity_embeddings": embeddings, "identity_logits": logits}


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
    """Embeddings of looks that tell the identities of the training data apart, in any frame of any clip.

    What is embedded are the colours of a few stripes of the box, from the frame itself (parts as in PCB, arXiv
    1711.09349): a few identities are enough to learn from, and detection neither gains nor loses. Each identity has a
    learnt proxy, and a query is classified among all of them in each frame in which its object is present (JDE, arXiv
    1909.12605, and FairMOT, arXiv 2004.01888), by cosine (NormFace, arXiv 1704.06369). So looks are compared over the
    whole training data, where a clip shows a moment only. It needs identities that are seen in many
    clips: recorded videos, not scenes that are rendered afresh. Validation has other identities, and no such loss:
    ``val/total`` is without it.

    Args:
        weight: of the loss.
        stripes: of equal height, from top to bottom.
        width: of the embeddings.
        num_proxies: number P of proxies. Two identities share one with probability 1 / P, and are then not told apart.
        scale: of the cosines, before the softmax.
    """

    weight: float = 0.1
    stripes: int = 8
    width: int = 64
    num_proxies: int = 1024
    scale: float = 16.0

    def __post_init__(self) -> None:
        for name in ("stripes", "width", "num_proxies"):
            if getattr(self, name) < 1:
                raise UserError(f"IdentityHead.{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("weight", "scale"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"IdentityHead.{name}: expected a number > 0, got {getattr(self, name)}")

    def build(self, channels: int, num_classes: int) -> nn.Module:
        """See `IdentityEmbedding`."""
        return IdentityEmbedding(self.stripes, self.width, self.num_proxies, self.scale)

    def loss(self, predictions: Mapping[str, Tensor], targets: QueryTargets) -> dict[str, Tensor]:
        """The term ``identity``, ``[B]``, in training only."""
        if "identity_logits" not in predictions:
            return {}
        present = targets.present
        proxy = _proxy_of(targets.track_ids, self.num_proxies)[:, None].expand(present.shape)
        loss = F.cross_entropy(predictions["identity_logits"].flatten(0, 2), proxy.flatten(), reduction="none")
        return {"identity": self.weight * (loss.view(present.shape) * present).sum((1, 2))}


def _proxy_of(track_ids: Tensor, num_proxies: int) -> Tensor:
    """The proxy of each identity: a hash (Fibonacci hashing), which needs no list of all identities."""
    mixed = track_ids * _GOLDEN
    mixed = (mixed ^ (mixed >> 29)) * _GOLDEN
    return ((mixed >> 32) & 0x7FFFFFFF) % num_proxies
