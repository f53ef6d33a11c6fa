"""From the model's outputs and the annotations to weighted loss terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed
from torch import Tensor

from scene_model.batch import TargetFrame
from scene_model.boxes import iou
from scene_model.config import SceneModelConfig
from scene_model.heads import extended
from scene_model.network.denoising import DenoisingState
from scene_model.rank_zero import rank_zero_warn_once
from scene_model.training.dense import dense_losses
from scene_model.training.matching import assign, matching_cost
from scene_model.training.targets import ClipTargets, QueryTargets, assign_targets, pack

IOU_THRESHOLD = 0.5
COUNTS = ("num_matches", "num_targets", "num_predictions")
"""Keys of `HeadAdapter.compute_loss` that are counts, not losses."""


class HeadAdapter:
    """Matches queries with identities once per clip, and collects the losses of all heads.

    Args:
        config: of the model; the heads, the loss weights and the existence threshold are used.
    """

    def __init__(self, config: SceneModelConfig) -> None:
        self.head = config.head
        self.extra_heads = config.extra_heads
        self.weights = config.loss

    def compute_loss(
        self,
        outputs: Mapping[str, Tensor],
        targets: Sequence[Sequence[TargetFrame]],
        padding_mask: Tensor,
        dn_state: DenoisingState | None = None,
    ) -> dict[str, Tensor]:
        """All weighted loss terms, their sum and the counts for the metric.

        Terms of the last decoder layer stand under their own names; ``aux_`` sums those of the layers before, ``enc_``
        is for the encoder's proposals, ``group_`` for the groups of queries beside the first (the mean over these
        groups) and ``dn_`` for the denoising queries. All are divided by the number of (object, frame) pairs, or of
        frames where these are more, in training over all ranks.

        Args:
            outputs: of the model, called with `dn_state`.
            targets: B lists of T annotated frames.
            padding_mask: bool ``[B, T]``, True on padding.
            dn_state: what `DinoDenoiser.make_noise` returned for the same targets.

        Returns:
            the terms, ``total``, and ``num_matches``, ``num_targets``, ``num_predictions``.
        """
        device = outputs["layer_boxes"].device
        with torch.autocast(device.type, enabled=False):
            packed = pack(targets).to(device)
            _warn_of_surplus(packed, num_queries=outputs["exist_conf"].shape[2])
            real = ~padding_mask.to(device)
            decoded = _of_all_groups(outputs)
            matched = self._match(decoded, packed, real)
            num_layers = len(outputs["layer_boxes"])
            final = matched[(num_layers - 1) * len(real) : num_layers * len(real)]
            terms = self._decoder_terms(decoded, matched, num_layers)
            for head in self.extra_heads:
                terms = extended(terms, {name: term.sum() for name, term in head.loss(outputs, final).items()})
            terms = extended(terms, self._encoder_terms(outputs, packed, real))
            if dn_state is not None:
                terms = extended(terms, self._denoising_terms(outputs, packed, real, dn_state.to(device)))
            num_targets = packed.present.sum()
            divisor = _divisor(num_targets, real.sum())
            losses = {name: term / divisor for name, term in terms.items()}
            total = torch.stack(list(losses.values())).sum()
            return extended(losses, {"total": total, "num_targets": num_targets} | self._count(outputs, final))

    @torch.no_grad()
    def _match(self, decoded: Mapping[str, Tensor], packed: ClipTargets, real: Tensor) -> QueryTargets:
        """Targets of the queries of L layers, which lie along the clips: ``[L * B, ...]``."""
        boxes, exist_logits = decoded["boxes"], decoded["exist_logits"].squeeze(-1)
        objects = assign(
            matching_cost(boxes, exist_logits, decoded["cls_logits"], packed, self.weights), packed.num_objects
        )
        num_layers = len(boxes)
        counted_without = ~on_ignored(boxes, packed).flatten(0, 1)
        return assign_targets(
            packed.repeat(num_layers), objects.flatten(0, 1), counted_without, real.repeat(num_layers, 1)
        )

    def _box_terms(self, decoded: Mapping[str, Tensor], targets: QueryTargets) -> dict[str, Tensor]:
        """Weighted terms of the box head for each layer and clip ``[L, B]``, not yet divided by the targets."""
        terms = self.head.loss({name: values.flatten(0, 1) for name, values in decoded.items()}, targets)
        shape = decoded["boxes"].shape[:2]
        return {name: term.view(shape) * getattr(self.weights, name) for name, term in terms.items()}

    def _decoder_terms(
        self, decoded: Mapping[str, Tensor], matched: QueryTargets, num_layers: int
    ) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        num_further = len(decoded["boxes"]) // num_layers - 1
        for name, term in self._box_terms(decoded, matched).items():
            terms |= {name: term[num_layers - 1].sum(), f"aux_{name}": term[: num_layers - 1].sum()}
            if num_further:
                terms[f"group_{name}"] = term[num_layers:].sum() / num_further
        return terms

    def _encoder_terms(self, outputs: Mapping[str, Tensor], packed: ClipTargets, real: Tensor) -> dict[str, Tensor]:
        terms = dense_losses(
            outputs["enc_boxes"],
            outputs["enc_exist_logits"],
            outputs["enc_cls_logits"],
            outputs["enc_centers"],
            packed,
            real,
            self.weights.encoder_topk,
        )
        weights = self.weights
        return {f"enc_{name}": term * weights.encoder * getattr(weights, name) for name, term in terms.items()}

    def _denoising_terms(
        self, outputs: Mapping[str, Tensor], packed: ClipTargets, real: Tensor, state: DenoisingState
    ) -> dict[str, Tensor]:
        decoded = _of_kind(outputs, "dn")
        boxes = decoded["boxes"].detach()
        num_layers = len(boxes)
        counted_without = ((state.group > 0)[:, None] & ~on_ignored(boxes, packed)).flatten(0, 1)
        targets = assign_targets(
            packed.repeat(num_layers), state.objects.repeat(num_layers, 1), counted_without, real.repeat(num_layers, 1)
        )
        share = self.weights.denoising / state.num_groups.clamp(min=1)
        terms = self._box_terms(decoded, targets)
        return {f"dn_{name}": (term * share).sum() for name, term in terms.items()}

    @torch.no_grad()
    def _count(self, outputs: Mapping[str, Tensor], final: QueryTargets) -> dict[str, Tensor]:
        """Matches and predictions, as (query, frame) pairs over the existence threshold on real frames."""
        confident = outputs["exist_conf"].squeeze(-1) >= self.head.exist_threshold
        matches = confident & final.present & (iou(outputs["layer_boxes"][-1], final.boxes) >= IOU_THRESHOLD)
        return {"num_matches": matches.sum(), "num_predictions": (confident & final.counted).sum()}


def _of_kind(outputs: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """What the box head predicts of one kind of queries, ``[L, B, T, Q, ...]``."""
    return {name: outputs[f"{kind}_{name}"] for name in ("boxes", "exist_logits", "cls_logits")}


def _of_all_groups(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the matching queries, those of further groups as further layers: matched together, with one wait."""
    first = _of_kind(outputs, "layer")
    if "group_boxes" not in outputs:
        return first
    return {name: torch.cat([first[name], values]) for name, values in _of_kind(outputs, "group").items()}


def _warn_of_surplus(packed: ClipTargets, num_queries: int) -> None:
    """Say once that a clip holds more objects than it has queries; the count is known on the host."""
    if int(packed.num_objects.max()) > num_queries:
        rank_zero_warn_once(
            f"A clip holds more objects than model.decoder.num_queries = {num_queries}: the surplus ones go without a "
            "query, count as missed, and are not learnt"
        )


def on_ignored(boxes: Tensor, packed: ClipTargets) -> Tensor:
    """Which boxes ``[L, B, T, Q, 4]`` fall on something to ignore: ``[L, B, T, Q]``."""
    if not packed.has_ignored:
        return torch.zeros(boxes.shape[:-1], dtype=torch.bool, device=boxes.device)
    truth, ignore = packed.boxes.transpose(1, 2)[None], packed.ignore.transpose(1, 2)[None]
    overlap = iou(boxes[..., None, :], truth[:, :, :, None])
    return ((overlap >= IOU_THRESHOLD) & ignore[:, :, :, None]).any(-1)


def _divisor(num_targets: Tensor, num_frames: Tensor) -> Tensor:
    """What the sums of a rank are divided by: the targets of all ranks, or their frames, as a mean over the ranks.

    Frames count where they are more, so that a batch in which nearly nothing happens has no larger say than others.
    Gradients are averaged over the ranks too, so they add up to those of one process with all of the clips. Where
    there are no gradients, each rank keeps its own number: scores are averaged with that weight.
    """
    counts, num_ranks = torch.stack([num_targets, num_frames]).float(), 1
    if torch.is_grad_enabled() and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(counts, op=torch.distributed.ReduceOp.SUM)
        num_ranks = torch.distributed.get_world_size()
    return counts.amax().clamp(min=1) / num_ranks
