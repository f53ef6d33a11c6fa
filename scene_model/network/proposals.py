"""Dense proposals from the encoder's tokens, and the choice of a clip's queries among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CELLS_PER_OBJECT = 4.0


@dataclass
class Proposals:
    """What each of the S tokens of a frame proposes.

    Args:
        boxes: ``[F, S, 4]`` of F frames, or of clips ``[B, T, S, 4]``.
        exist_logits: ``[F, S]``, likewise.
        cls_logits: ``[F, S, C]``, likewise.
        tokens: ``[F, S, D]``, their features.
        centers: ``[S, 2]``, places of the tokens in the frame.
    """

    boxes: Tensor
    exist_logits: Tensor
    cls_logits: Tensor
    tokens: Tensor
    centers: Tensor

    def of_clips(self, arrange: Callable[[Tensor], Tensor]) -> Proposals:
        """Those of the frames of clips, into which `arrange` brings ``[F, ...]``: ``[B, T, ...]``; tokens stay."""
        return replace(
            self,
            boxes=arrange(self.boxes),
            exist_logits=arrange(self.exist_logits),
            cls_logits=arrange(self.cls_logits),
        )


class ProposalHead(nn.Module):
    """A box, an existence score and classes from each token, without anchors to tune.

    Args:
        channels: width D of the tokens.
        num_classes: number of classes.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels), nn.SiLU())
        self.exist = nn.Linear(channels, 1)
        self.cls = nn.Linear(channels, num_classes)
        self.box = nn.Linear(channels, 4)
        nn.init.constant_(self.exist.bias, -4.0)
        nn.init.zeros_(self.box.weight)
        nn.init.zeros_(self.box.bias)

    def forward(self, levels: list[Tensor]) -> Proposals:
        """Proposals from levels ``[F, D, H_i, W_i]``."""
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        centers, scale = _grid(levels)
        hidden = self.tower(tokens)
        with torch.autocast(hidden.device.type, enabled=False):  # as in the predictors of the decoder
            exact = hidden.float()
            exist_logits, cls_logits = self.exist(exact).squeeze(-1), self.cls(exact)
            shift, log_size = self.box(exact).chunk(2, dim=-1)
            boxes = torch.cat([centers + shift * scale, scale * log_size.clamp(-6, 6).exp()], dim=-1)
        return Proposals(boxes, exist_logits, cls_logits, hidden, centers)


def _grid(levels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Centres ``[S, 2]`` of the tokens, and the box size ``[S, 2]`` that each level starts from."""
    centers, scales = [], []
    for level in levels:
        height, width = level.shape[-2:]
        rows = ((torch.arange(height, device=level.device) + 0.5) / height)[:, None].expand(height, width)
        columns = ((torch.arange(width, device=level.device) + 0.5) / width).expand(height, width)
        centers.append(torch.stack([columns, rows], dim=-1).flatten(0, 1))
        size = torch.stack([torch.full_like(columns, _CELLS_PER_OBJECT / side) for side in (width, height)], dim=-1)
        scales.append(size.flatten(0, 1))
    return torch.cat(centers), torch.cat(scales)


@torch.no_grad()
def select_tokens(
    exist_logits: Tensor, level_sizes: list[tuple[int, int]], padding_mask: Tensor | None, num_queries: int
) -> Tensor:
    """The tokens that become a clip's queries: the best of the key frame, and what is new in the other frames.

    A query is an identity for the whole clip, so taking the best tokens of all frames would take each object several
    times. A token outside the key frame (the middle one) counts as far as nothing was proposed near its place in the
    neighbouring frame towards the key frame: that is where objects enter.

    Args:
        exist_logits: ``[B, T, S]``.
        level_sizes: (height, width) of the levels that make up the S tokens.
        padding_mask: bool ``[B, T]`` or None; padding lies at the end.
        num_queries: number Q of tokens to choose.

    Returns:
        int64 ``[B, Q]``, indices into the ``T * S`` tokens of a clip; fewer where there are fewer tokens.
    """
    num_clips, num_frames, _ = exist_logits.shape
    score = exist_logits.sigmoid()
    time = torch.arange(num_frames, device=score.device)
    real = torch.full((num_clips,), num_frames, device=score.device)
    if padding_mask is not None:
        score = score.masked_fill(padding_mask[..., None], -1.0)
        real = (~padding_mask).sum(1)
    key = (real.clamp(min=1) - 1) // 2
    towards_key = time + torch.sign(key[:, None] - time)  # [B, T]
    near = _neighbourhood_maximum(score, level_sizes)
    seen = near.gather(1, towards_key[..., None].expand_as(near)).clamp(min=0)
    novelty = torch.where((time == key[:, None])[..., None], 1.0, 1 - seen)
    ranking = torch.where(score >= 0, score * novelty, score).flatten(1)
    return ranking.topk(min(num_queries, ranking.shape[1]), dim=1).indices


def _neighbourhood_maximum(score: Tensor, level_sizes: list[tuple[int, int]]) -> Tensor:
    """The highest score of any level around each token's place, ``[B, T, S]``."""
    maps = [
        level.unflatten(-1, size)
        for level, size in zip(score.split([h * w for h, w in level_sizes], dim=-1), level_sizes, strict=True)
    ]
    finest = level_sizes[0]
    coverage = torch.stack([F.interpolate(m, size=finest, mode="nearest") for m in maps]).amax(0)
    coverage = F.max_pool2d(coverage, 3, stride=1, padding=1)
    pooled = [F.adaptive_max_pool2d(coverage, size) for size in level_sizes]
    return torch.cat([level.flatten(-2) for level in pooled], dim=-1)
