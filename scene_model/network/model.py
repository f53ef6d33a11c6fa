"""The network: a clip goes in; boxes, existence and classes come out per frame and query."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from scene_model.config import SceneModelConfig
from scene_model.heads import extended
from scene_model.network.backbone import Backbone, build_backbone
from scene_model.network.debug import add_checks
from scene_model.network.decoder import ClipDecoder, Queries
from scene_model.network.denoising import DenoisingState, attention_mask, further_group
from scene_model.network.encoder import HybridEncoder
from scene_model.network.initial_weights import are_read, start_from, weights_to_follow
from scene_model.network.proposals import ProposalHead, Proposals, select_tokens


class SceneModel(nn.Module):
    """End-to-end detector-tracker of clips; the index of a query is the identity of an object.

    Args:
        config: sizes of all parts.
        backbone: features at several strides from frames.
    """

    def __init__(self, config: SceneModelConfig, backbone: Backbone) -> None:
        super().__init__()
        channels, num_classes = config.encoder.channels, config.num_classes
        num_levels = len(backbone.channels)
        self.num_queries, self.num_groups = config.decoder.num_queries, config.decoder.num_groups
        self.backbone = backbone
        self.encoder = HybridEncoder(config.encoder, backbone.channels)
        self.proposals = ProposalHead(channels, num_classes)
        self.content = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))
        self.denoising_content = nn.Embedding(num_classes, channels)
        self.decoder = ClipDecoder(config.decoder, config.head, channels, num_levels, num_classes)
        self.extra_heads = nn.ModuleList(head.build(channels, num_classes) for head in config.extra_heads)

    def forward(
        self,
        frames: Tensor,
        dn_state: DenoisingState | None = None,
        padding_mask: Tensor | None = None,
        frame_of: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Detect and track the objects of B clips.

        Args:
            frames: float ``[B, T, 3, H, W]``, normalised; any T, H and W.
            dn_state: K denoising queries per clip to decode beside the Q matching ones; they change nothing for those.
            padding_mask: bool ``[B, T]``, True on padding at the end of a clip, which then changes nothing elsewhere.
            frame_of: int64 ``[B, T]``, for clips that share frames, whose features are then computed once: `frames` are
                the U different ones, ``[U, 3, H, W]``, and this says which of them stands where.

        Returns:
            ``bbox_center`` ``[B, T, Q, 2]``, ``bbox_size`` ``[B, T, Q, 2]``, ``exist_conf`` ``[B, T, Q, 1]`` in (0, 1),
            ``cls_logits`` ``[B, T, Q, C]`` and ``embeddings`` ``[B, T, Q, D]``; the predictions of extra heads; for the
            losses ``layer_*`` ``[L, B, T, Q, ...]`` of all decoder layers, ``dn_*`` ``[L, B, T, K, ...]`` of the
            denoising queries, ``enc_*`` ``[B, T, S, ...]`` of the encoder's S proposals (``enc_centers`` ``[S, 2]``)
            and, in training with G groups of queries, ``group_*`` ``[(G - 1) * L, B, T, Q, ...]`` of those beside the
            first, as further layers.
        """
        num_frames = frames.shape[1] if frame_of is None else frame_of.shape[1]
        images = frames.flatten(0, -4).contiguous(memory_format=torch.channels_last)
        levels = self.encoder(self.backbone(images))

        def in_clips(values: Tensor) -> Tensor:
            return values.unflatten(0, (-1, num_frames)) if frame_of is None else values[frame_of]

        proposals = self.proposals(levels).of_clips(in_clips)
        places = in_clips(torch.arange(len(images), device=frames.device))
        level_sizes = [tuple(level.shape[-2:]) for level in levels]
        queries = self._queries(proposals, places, level_sizes, dn_state, padding_mask)
        queries.frame_of = None if frame_of is None else frame_of.flatten()
        hidden, layers = self.decoder(queries, levels, padding_mask)
        num_noised = 0 if dn_state is None else dn_state.boxes.shape[2]
        outputs = self._outputs(hidden, layers, proposals, num_noised)
        if self.extra_heads and frame_of is not None:
            frames = frames[frame_of]
        for head in self.extra_heads:
            outputs = extended(outputs, head(outputs["embeddings"], outputs["layer_boxes"][-1], frames))
        return outputs

    def _queries(
        self,
        proposals: Proposals,
        places: Tensor,
        level_sizes: list[tuple[int, int]],
        dn_state: DenoisingState | None,
        padding_mask: Tensor | None,
    ) -> Queries:
        """Queries from the best proposals, detached, in training several groups of them; then denoising queries.

        Where each clip's frames stand among those that have tokens, `places` ``[B, T]`` says.
        """
        num_clips, num_frames, num_tokens = proposals.exist_logits.shape
        num_groups = max(1, min(self.num_groups, num_frames * num_tokens // self.num_queries)) if self.training else 1
        num_chosen = num_groups * self.num_queries
        chosen = select_tokens(proposals.exist_logits, level_sizes, padding_mask, num_chosen)
        tokens = proposals.tokens.detach()[places.gather(1, chosen // num_tokens), chosen % num_tokens]
        content = self.content(tokens)[:, None].expand(-1, num_frames, -1, -1)
        boxes = proposals.boxes.detach().flatten(1, 2).gather(1, chosen[..., None].expand(-1, -1, 4))
        boxes = boxes[:, None].expand(-1, num_frames, -1, -1).clamp(0, 1)
        group = further_group(torch.arange(chosen.shape[1], device=boxes.device) // self.num_queries)
        group = group.expand(num_clips, -1)
        if dn_state is None:
            unused = 0.0 * self.denoising_content.weight.sum()  # stays in the graph: DDP waits for every gradient
            return Queries(content + unused, boxes, attention_mask(group) if num_groups > 1 else None)
        noised = self.denoising_content(dn_state.labels)[:, None].expand(-1, num_frames, -1, -1)
        return Queries(
            torch.cat([content, noised.to(content.dtype)], dim=2),
            torch.cat([boxes, dn_state.boxes], dim=2),
            attention_mask(torch.cat([group, dn_state.group], dim=1)),
        )

    def _outputs(
        self, hidden: Tensor, layers: dict[str, Tensor], proposals: Proposals, num_noised: int
    ) -> dict[str, Tensor]:
        num_chosen = hidden.shape[2] - num_noised
        num_queries = min(self.num_queries, num_chosen)
        hidden = hidden[:, :, :num_queries]
        matching = {f"layer_{name}": values[:, :, :, :num_queries] for name, values in layers.items()}
        center, size = matching["layer_boxes"][-1].chunk(2, dim=-1)
        outputs = {
            "bbox_center": center,
            "bbox_size": size,
            "exist_conf": matching["layer_exist_logits"][-1].sigmoid(),
            "cls_logits": matching["layer_cls_logits"][-1],
            "embeddings": hidden,
            "enc_boxes": proposals.boxes,
            "enc_exist_logits": proposals.exist_logits,
            "enc_cls_logits": proposals.cls_logits,
            "enc_centers": proposals.centers,
        }
        if num_chosen > num_queries:
            further = {name: values[:, :, :, num_queries:num_chosen] for name, values in layers.items()}
            by_group = {name: values.unflatten(3, (-1, num_queries)).movedim(3, 0) for name, values in further.items()}
            outputs |= {f"group_{name}": values.flatten(0, 1) for name, values in by_group.items()}
        if num_noised:
            outputs |= {f"dn_{name}": values[:, :, :, num_chosen:] for name, values in layers.items()}
        return outputs | matching


def build_scene_model(config: SceneModelConfig, debug: bool = False, weights: str | None = None) -> SceneModel:
    """The network of a configuration.

    Args:
        config: what to build.
        debug: check shapes, value ranges and finiteness after every stage, and name the first module that broke.
        weights: checkpoint of an earlier run to start from, backbone included, whose own weights are not read then.

    Raises:
        UserError: no backbone can be built as asked, or the weights cannot be used.
    """
    start = weights if are_read() else None
    with nullcontext() if start is None else weights_to_follow():
        model = SceneModel(config, build_backbone(config.backbone, config.gradient_checkpointing))
    if start is not None:
        start_from(model, start)
    model = model.to(memory_format=torch.channels_last)  # the layout that convolutions are fastest in
    if debug:
        add_checks(model)
    return model
