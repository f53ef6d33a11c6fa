"""The clip decoder: each query is one identity, with a feature and a box in every frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scene_model.config import DecoderConfig
from scene_model.heads import BBoxHead, refine
from scene_model.network.attention import Attention, DeformableAttention, sine_embedding
from scene_model.network.duplicates import DuplicateSuppression


@dataclass
class Queries:
    """Where the decoder starts.

    Args:
        content: ``[B, T, Q, D]``.
        boxes: ``[B, T, Q, 4]``, reference boxes.
        attention_mask: bool ``[B, Q, Q]``, True where a row may attend to a column; None: everywhere.
        frame_of: int64 ``[B * T]``, which of the feature maps each frame looks into; None: they lie in this order.
    """

    content: Tensor
    boxes: Tensor
    attention_mask: Tensor | None = None
    frame_of: Tensor | None = None


class DecoderLayer(nn.Module):
    """Attention among the queries of a frame, over time within a query, into the frame, and a feed-forward network.

    Args:
        config: sizes.
        channels: width D.
        num_levels: feature maps per frame.
    """

    def __init__(self, config: DecoderConfig, channels: int, num_levels: int) -> None:
        super().__init__()
        self.spatial = Attention(channels, config.num_heads)
        self.temporal = Attention(channels, config.num_heads)
        self.frame = DeformableAttention(channels, config.num_heads, num_levels, config.num_points)
        self.feedforward = nn.Sequential(
            nn.Linear(channels, config.feedforward), nn.ReLU(), nn.Linear(config.feedforward, channels)
        )
        self.norm_spatial, self.norm_temporal, self.norm_frame, self.norm_feedforward = (
            nn.LayerNorm(channels) for _ in range(4)
        )

    def forward(
        self,
        hidden: Tensor,
        queries: Queries,
        position: Tensor,
        time: Tensor,
        levels: list[Tensor],
        padding_mask: Tensor | None,
    ) -> Tensor:
        """One layer on ``[B, T, Q, D]``; `position`, as large, embeds the boxes and `time` ``[T, 1, D]`` the frames."""
        mask = queries.attention_mask
        attended = self.spatial(hidden + position, hidden, None if mask is None else mask[:, None, None])
        hidden = self.norm_spatial(hidden + attended)

        over_time = (hidden + position + time).transpose(1, 2)  # [B, Q, T, D]
        real = None if padding_mask is None else ~padding_mask[:, None, None, None]
        hidden = self.norm_temporal(hidden + self.temporal(over_time, over_time, real).transpose(1, 2))

        positioned, boxes = (hidden + position).flatten(0, 1), queries.boxes.flatten(0, 1)
        sampled = self.frame(positioned, boxes, levels, queries.frame_of)
        hidden = self.norm_frame(hidden + sampled.view_as(hidden))
        return self.norm_feedforward(hidden + self.feedforward(hidden))


class ClipDecoder(nn.Module):
    """Decoder layers with iterative box refinement that looks forward twice (DINO, arXiv 2203.03605).

    Args:
        config: sizes.
        head: builds the predictor of boxes, existence and classes of each layer.
        channels: width D.
        num_levels: feature maps per frame.
        num_classes: number of classes.
    """

    def __init__(self, config: DecoderConfig, head: BBoxHead, channels: int, num_levels: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config, channels, num_levels) for _ in range(config.num_layers))
        self.predictors = nn.ModuleList(head.build(channels, num_classes) for _ in range(config.num_layers))
        self.suppressions = nn.ModuleList(DuplicateSuppression() for _ in range(config.num_layers))
        self.embed_box = nn.Sequential(nn.Linear(4, 2 * channels), nn.ReLU(), nn.Linear(2 * channels, channels))

    def forward(
        self, queries: Queries, levels: list[Tensor], padding_mask: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Decode the queries of B clips against levels ``[B * T, D, H_i, W_i]``, or what `Queries.frame_of` says.

        Returns:
            the last layer's features ``[B, T, Q, D]``, and the predictions of all L layers, ``[L, B, T, Q, ...]``.
        """
        hidden, boxes = queries.content, queries.boxes
        num_frames, channels = hidden.shape[1], hidden.shape[-1]
        time = sine_embedding(torch.arange(num_frames, device=hidden.device), channels, temperature=100.0)[:, None]
        previous = boxes
        predictions = []
        for layer, predictor, suppress in zip(self.layers, self.predictors, self.suppressions, strict=True):
            boxes = previous.detach()
            start = Queries(hidden, boxes, queries.attention_mask, queries.frame_of)
            hidden = layer(hidden, start, self.embed_box(boxes * 2 - 1), time, levels, padding_mask)
            prediction = predictor(hidden, boxes)
            delta = prediction.pop("delta")
            exist_logits = suppress(
                prediction["exist_logits"], prediction["boxes"], queries.attention_mask, padding_mask
            )
            predictions.append({**prediction, "exist_logits": exist_logits, "boxes": refine(previous, delta)})
            previous = prediction["boxes"]
        return hidden, {name: torch.stack([p[name] for p in predictions]) for name in predictions[0]}
