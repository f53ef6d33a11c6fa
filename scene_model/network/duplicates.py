"""What keeps two queries from reporting the same object."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scene_model.boxes import iou

_HIDDEN = 16


class DuplicateSuppression(nn.Module):
    """Lowers the existence score of a query that overlaps a better one, by as much as training finds right.

    Queries that start from neighbouring tokens are nearly alike, and attention among them gives each the same answer.
    What they lack is an order, so each is told how far it overlaps a query with a higher score, over the clip and in
    the frame. That is the input of non-maximum suppression, learnt as in Hosang et al. (arXiv 1705.02950), but within
    the network: the matching sees scores after it, so one query of a group becomes the best in earnest. That queries
    must be distinct for one-to-one matching is what DDQ (arXiv 2303.12776) found.
    """

    def __init__(self) -> None:
        super().__init__()
        last = nn.Linear(_HIDDEN, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.shift = nn.Sequential(nn.Linear(2, _HIDDEN), nn.ReLU(), last)

    def forward(
        self, exist_logits: Tensor, boxes: Tensor, attention_mask: Tensor | None, padding_mask: Tensor | None
    ) -> Tensor:
        """Existence logits with duplicates lowered.

        Args:
            exist_logits: ``[B, T, Q, 1]``.
            boxes: ``[B, T, Q, 4]``.
            attention_mask: bool ``[B, Q, Q]`` or None; queries that see each other are rivals, others are not.
            padding_mask: bool ``[B, T]`` or None; frames of padding have no say.

        Returns:
            ``[B, T, Q, 1]``.
        """
        overlap = _overlap_with_better(exist_logits, boxes, attention_mask, padding_mask)
        with torch.autocast(overlap.device.type, enabled=False):  # as in the predictors: near scores stay apart
            return exist_logits + self.shift(overlap)


@torch.no_grad()
def _overlap_with_better(
    exist_logits: Tensor, boxes: Tensor, attention_mask: Tensor | None, padding_mask: Tensor | None
) -> Tensor:
    """The highest IoU of each query with one of higher score: mean over the clip, and per frame, ``[B, T, Q, 2]``."""
    overlap = iou(boxes[:, :, :, None], boxes[:, :, None])  # [B, T, Q, Q]
    weight = boxes.new_ones(boxes.shape[:2]) if padding_mask is None else (~padding_mask).to(boxes)
    weight = weight / weight.sum(1, keepdim=True).clamp(min=1)
    score = (exist_logits.squeeze(-1) * weight[..., None]).sum(1)
    better = score[:, None, :] > score[:, :, None]
    if attention_mask is not None:
        better &= attention_mask & attention_mask.transpose(1, 2)
    over_clip = (overlap * weight[..., None, None]).sum(1)
    in_clip = (over_clip * better).amax(-1)[:, None].expand(boxes.shape[:3])
    in_frame = (overlap * better[:, None]).amax(-1)
    return torch.stack([in_clip, in_frame], dim=-1)
