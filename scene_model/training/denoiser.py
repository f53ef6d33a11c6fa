"""Contrastive denoising (DINO, arXiv 2203.03605) for clips: one noised query per identity for the whole clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scene_model.batch import TargetFrame
from scene_model.config import DenoiserConfig
from scene_model.network.denoising import DenoisingState
from scene_model.training.targets import pack


class DinoDenoiser:
    """Makes the noised queries of a batch.

    The number of queries is a fixed budget, so shapes never change; how a clip fills it depends on that clip only.

    Args:
        config: null switches denoising off: `make_noise` returns None.
        num_classes: number of classes for wrong labels.
    """

    def __init__(self, config: DenoiserConfig | None, num_classes: int = 1) -> None:
        self.config = config
        self.num_classes = num_classes

    def make_noise(
        self, targets: Sequence[Sequence[TargetFrame]], seeds: Tensor | None = None
    ) -> DenoisingState | None:
        """Noised queries for a batch of clips.

        Args:
            targets: B lists of T annotated frames.
            seeds: int64 ``[B]``, one per clip; the same seed and the same clip give the same noise, in any batch. Null:
                the noise is a function of the annotations alone.
        """
        if self.config is None:
            return None
        packed = pack(targets)
        if seeds is None:
            seeds = (packed.boxes.double().sum((1, 2, 3)) * 2**32).long()
        objects, positive, group, num_groups = self._fill_slots(packed.num_objects, seeds)
        boxes = packed.boxes.gather(1, objects[:, :, None, None].expand(-1, -1, *packed.boxes.shape[2:]))
        boxes = self._noise_boxes(boxes, positive, seeds).transpose(1, 2)
        labels = self._noise_labels(packed.labels.gather(1, objects), seeds)
        return DenoisingState(boxes, labels, torch.where(positive, objects, -1), group, num_groups)

    def _fill_slots(self, num_objects: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Identity, sign and group of each slot: groups of [all positives, all negatives], as many as fit.

        Where not all objects fit, the seed says which ones take part.
        """
        assert self.config is not None
        budget = self.config.num_queries
        all_objects = num_objects.clamp(min=1)[:, None]
        num_objects = num_objects.clamp(max=budget // 2)[:, None]
        first = torch.where(all_objects > num_objects, seeds[:, None] % all_objects, 0)
        size = (2 * num_objects).clamp(min=1)
        slot = torch.arange(budget)[None]
        num_groups = (budget // size).clamp(max=self.config.max_groups)
        group, within = slot // size, slot % size
        filled = (group < num_groups) & (num_objects > 0)
        objects = (first + within % num_objects.clamp(min=1)) % all_objects
        positive = filled & (within < num_objects)
        return objects, positive, torch.where(filled, group + 1, -1), num_groups[:, 0]

    def _noise_boxes(self, boxes: Tensor, positive: Tensor, seeds: Tensor) -> Tensor:
        """Shift the corners of boxes ``[B, K, T, 4]``: positives by less than one unit, negatives by one to two."""
        assert self.config is not None
        share = self.config.frame_noise
        num_slots, num_frames = boxes.shape[1:3]
        common = _uniform(seeds, (num_slots, 1, 4), self.config.seed, stream=0)
        per_frame = _uniform(seeds, (num_slots, num_frames, 4), self.config.seed, stream=1)
        draw = ((1 - share) * common + share * per_frame) * 2 - 1
        magnitude = draw.abs() + (~positive)[:, :, None, None].float()
        shift = torch.where(draw < 0, -1.0, 1.0) * magnitude * self.config.box_noise / 2
        size = boxes[..., 2:]
        low = boxes[..., :2] - size / 2 + shift[..., :2] * size
        high = boxes[..., :2] + size / 2 + shift[..., 2:] * size
        low, high = torch.minimum(low, high).clamp(0, 1), torch.maximum(low, high).clamp(0, 1)
        return torch.cat([(low + high) / 2, (high - low).clamp(min=1e-3)], dim=-1)

    def _noise_labels(self, labels: Tensor, seeds: Tensor) -> Tensor:
        """Replace some labels ``[B, K]`` by random ones."""
        assert self.config is not None
        flip = _uniform(seeds, labels.shape[1:], self.config.seed, stream=2) < self.config.label_noise
        random = (_uniform(seeds, labels.shape[1:], self.config.seed, stream=3) * self.num_classes).long()
        return torch.where(flip, random.clamp(max=self.num_classes - 1), labels)


def _uniform(seeds: Tensor, shape: Sequence[int], seed: int, stream: int) -> Tensor:
    """Uniform numbers ``[B, *shape]`` in [0, 1) from a counter-based generator (SplitMix64).

    Each clip's numbers depend on its own seed only, not on the batch around it or on any global state.
    """
    count = 1
    for size in shape:
        count *= size
    key = _mix(_mix(seeds + seed * 1_000_003) + stream)
    bits = _mix(key[:, None] + torch.arange(count, device=seeds.device)[None])
    return ((bits >> 40) & 0xFFFFFF).float().div(2**24).view(len(seeds), *shape)


def _mix(values: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele et al., 2014) on int64 with wrap-around."""
    values = values + -7046029254386353131
    values = (values ^ ((values >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    values = (values ^ ((values >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return values ^ ((values >> 31) & 0x1FFFFFFFF)
