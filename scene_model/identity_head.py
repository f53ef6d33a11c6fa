"""An embedding of what an object looks like, by which it is known again after frames in which nobody saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from scene_model.errors import UserError
from scene_model.heads import Head

if TYPE_CHECKING:
    from scene_model.training.targets import QueryTargets

_GOLDEN = -7046029254386353131  # 2**64 divided by the golden ratio, as int64


class IdentityEmbedding(nn.Module):
    """Embeddings of queries, and in training their likeness to the proxies of all identities.

    Args:
        channels: width D of the query features.
        width: of the embeddings.
        num_proxies: number P of proxies.
        scale: of the cosines, before the softmax.
    """

    def __init__(self, channels: int, width: int, num_proxies: int, scale: float) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, width))
        self.proxies = nn.Embedding(num_proxies, width)
        self.scale = scale

    def forward(self, hidden: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """``identity_embeddings`` ``[B, T, Q, E]``, of length 1; in training ``identity_logits`` ``[B, T, Q, P]``."""
        embeddings = F.normalize(self.embed(hidden).float(), dim=-1)
        if not self.training:
            return {"identity_embeddings": embeddings}
        logits = self.scale * embeddings @ F.normalize(self.proxies.weight.float(), dim=-1).T
        return {"identity_embeddings": embeddings, "identity_logits": logits}


@dataclass(frozen=True, kw_only=True)
class IdentityHead(Head):
    """Embeddings that tell the identities of the training data apart, in any frame of any clip.

    Each identity has a learnt proxy, and a query is classified among all of them in each frame in which its object is
    present (JDE, arXiv 1909.12605, and FairMOT, arXiv 2004.01888), by cosine (NormFace, arXiv 1704.06369). So looks are
    compared over the whole training data, where a clip shows a moment only. It needs identities that are seen in many
    clips: recorded videos, not scenes that are rendered afresh. Validation has other identities, and no such loss.

    Args:
        weight: of the loss; 0.5 costs detection more than identities gain (docs/recipe.md).
        width: of the embeddings.
        num_proxies: identities beyond this number share proxies, by chance.
        scale: of the cosines, before the softmax.
    """

    weight: float = 0.1
    width: int = 64
    num_proxies: int = 1024
    scale: float = 16.0

    def __post_init__(self) -> None:
        for name in ("width", "num_proxies"):
            if getattr(self, name) < 1:
                raise UserError(f"IdentityHead.{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("weight", "scale"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"IdentityHead.{name}: expected a number >= 0, got {getattr(self, name)}")

    def build(self, channels: int, num_classes: int) -> nn.Module:
        """See `IdentityEmbedding`."""
        return IdentityEmbedding(channels, self.width, self.num_proxies, self.scale)

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
