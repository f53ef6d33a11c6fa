"""The options of the model and its training, as frozen dataclasses: they are the YAML schema and its documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import torch

from scene_model.errors import UserError
from scene_model.heads import BBoxHead, Head
from scene_model.identity_head import IdentityHead
from scene_model.tracking.config import LinkingConfig


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The image backbone.

    Args:
        name: a torchvision classification model with features at strides 8, 16 and 32, such as resnet18,
            regnet_x_400mf, mobilenet_v2, mobilenet_v3_small, convnext_tiny or efficientnet_b0.
        weights: null trains from scratch (batch norms become group norms); a torchvision weights name such as DEFAULT
            or IMAGENET1K_V1 (downloaded by torchvision), or the path of a state dict file (batch norms are frozen).
        freeze: whether the backbone starts frozen; null: exactly when `unfreeze_after` is set.
        unfreeze_after: the epoch (0-based) from which the backbone trains; null with `freeze: true`: it never does.
    """

    name: str = "resnet18"
    weights: str | None = None
    freeze: bool | None = None
    unfreeze_after: int | None = None

    def __post_init__(self) -> None:
        epoch = self.unfreeze_after
        _require(epoch is None or epoch >= 0, f"model.backbone.unfreeze_after: expected an epoch >= 0, got {epoch}")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The hybrid encoder: attention on the coarsest level, convolutional fusion downwards (RT-DETR).

    Args:
        channels: width of all features after the backbone, divisible by 32.
        num_heads: attention heads on the coarsest level.
        feedforward: hidden width of the attention layer's feed-forward network.
    """

    channels: int = 128
    num_heads: int = 4
    feedforward: int = 256

    def __post_init__(self) -> None:
        for name in ("channels", "num_heads", "feedforward"):
            _require(getattr(self, name) >= 1, f"model.encoder.{name}: expected at least 1, got {getattr(self, name)}")
        divisible = self.channels % 32 == 0 and self.channels % self.num_heads == 0
        _require(divisible, "model.encoder.channels: expected a multiple of 32 and of model.encoder.num_heads")


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The clip decoder.

    Args:
        num_queries: identities that one clip can hold.
        num_groups: groups of `num_queries` queries in training, each matched with all objects by itself (Group DETR,
            arXiv 2207.13085); all else sees the first alone.
        num_layers: decoder layers; each refines the boxes of the one before.
        num_heads: attention heads.
        num_points: sampling points per head and level of the deformable attention.
        feedforward: hidden width of the feed-forward networks.
    """

    num_queries: int = 50
    num_groups: int = 1
    num_layers: int = 3
    num_heads: int = 4
    num_points: int = 4
    feedforward: int = 256

    def __post_init__(self) -> None:
        for name in ("num_queries", "num_groups", "num_layers", "num_heads", "num_points", "feedforward"):
            _require(getattr(self, name) >= 1, f"model.decoder.{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the loss terms; the matching uses the same weights, that of the existence twice, as DINO does.

    Args:
        exist: existence score against the box's IoU (matchability-aware loss, DEIM).
        l1: L1 distance of the boxes.
        giou: generalised IoU of the boxes.
        cls: cross-entropy of the classes.
        encoder: factor on all terms of the encoder's dense one-to-many proposals (task-aligned assignment, TOOD);
            0: they train nothing.
        denoising: factor on all terms of the denoising queries.
        encoder_topk: encoder tokens assigned to each object in each frame.
    """

    exist: float = 1.0
    l1: float = 5.0
    giou: float = 2.0
    cls: float = 1.0
    encoder: float = 1.0
    denoising: float = 1.0
    encoder_topk: int = 8

    def __post_init__(self) -> None:
        for name in ("exist", "l1", "giou", "cls", "encoder", "denoising"):
            value = getattr(self, name)
            _require(0 <= value < inf, f"model.loss.{name}: expected a number >= 0, got {value}")
        _require(self.encoder_topk >= 1, f"model.loss.encoder_topk: expected at least 1, got {self.encoder_topk}")


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """Contrastive denoising (DINO) for clips: one noised query per identity for the whole clip.

    Args:
        num_queries: denoising queries per clip, a fixed budget; of more objects than half of it, some take part.
        max_groups: upper limit of the groups, each one positive and one negative query per object.
        label_noise: probability that the class a query starts from is drawn anew from all classes.
        box_noise: size of the box noise: positives are shifted by up to this share of half the box's size, negatives by
            one to two times that.
        frame_noise: share of the box noise that is drawn per frame; the rest is common to the clip.
        seed: of the noise; the draw for a clip is a function of this and the clip's own seed.
    """

    num_queries: int = 24
    max_groups: int = 3
    label_noise: float = 0.25
    box_noise: float = 0.8
    frame_noise: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.num_queries >= 2, f"model.denoiser.num_queries: expected at least 2, got {self.num_queries}")
        _require(self.max_groups >= 1, f"model.denoiser.max_groups: expected at least 1, got {self.max_groups}")
        _require(0 <= self.box_noise < inf, f"model.denoiser.box_noise: expected a number >= 0, got {self.box_noise}")
        for name in ("label_noise", "frame_noise"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"model.denoiser.{name}: expected a share from 0 to 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW, and Muon (https://kellerjordan.github.io/posts/muon) for the weight matrices outside the backbone.

    Args:
        lr: learning rate of all that neither ratio below concerns.
        weight_decay: decoupled weight decay; biases, norms and embeddings have none.
        betas: coefficients of the running averages.
        backbone_lr_ratio: learning rate of the backbone as a share of `lr`.
        muon_lr_ratio: learning rate of Muon as a share of `lr`; null: AdamW updates these matrices too.
    """

    lr: float = 5e-4
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    backbone_lr_ratio: float = 1.0
    muon_lr_ratio: float | None = 1.0

    def __post_init__(self) -> None:
        _require(0 < self.lr < inf, f"model.optimizer.lr: expected a number > 0, got {self.lr}")
        _require(0 <= self.weight_decay < inf, f"model.optimizer.weight_decay: expected >= 0, got {self.weight_decay}")
        for beta in self.betas:
            _require(0 <= beta < 1, f"model.optimizer.betas: expected numbers in [0, 1), got {list(self.betas)}")
        ratio = self.backbone_lr_ratio
        _require(0 <= ratio < inf, f"model.optimizer.backbone_lr_ratio: expected a number >= 0, got {ratio}")
        of_muon = self.muon_lr_ratio
        is_right = of_muon is None or 0 <= of_muon < inf
        _require(is_right, f"model.optimizer.muon_lr_ratio: expected a number >= 0 or null, got {of_muon}")


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """Cosine annealing per epoch over `trainer.max_epochs`, with a linear warm-up of the first steps.

    Args:
        min_ratio: the share of its own learning rate that each parameter group has come to after the last epoch; that
            epoch itself is trained at a little more, and few epochs hardly anneal.
        warmup_steps: optimiser steps over which a factor on the learning rate rises to 1.
    """

    min_ratio: float = 0.01
    warmup_steps: int = 100

    def __post_init__(self) -> None:
        ratio, steps = self.min_ratio, self.warmup_steps
        _require(0 <= ratio <= 1, f"model.scheduler.min_ratio: expected a share from 0 to 1, got {ratio}")
        _require(steps >= 0, f"model.scheduler.warmup_steps: expected a number >= 0, got {steps}")


@dataclass(frozen=True, kw_only=True)
class SceneModelConfig:
    """Everything that the network and its losses are built from.

    Args:
        backbone: the image backbone.
        encoder: the hybrid encoder.
        decoder: the clip decoder.
        head: the boxes, existence and classes.
        extra_heads: further kinds of predictions, see `scene_model.heads.Head`.
        loss: weights of the loss terms.
        num_classes: number of object classes.
        gradient_checkpointing: recompute the backbone in the backward pass to save memory.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    head: BBoxHead = field(default_factory=BBoxHead)
    extra_heads: tuple[Head, ...] = ()
    loss: LossConfig = field(default_factory=LossConfig)
    num_classes: int = 1
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        _require(self.num_classes >= 1, f"model.num_classes: expected at least 1, got {self.num_classes}")
        fits = self.encoder.channels % self.decoder.num_heads == 0
        _require(fits, "model.decoder.num_heads: expected a divisor of model.encoder.channels")


# A checkpoint of a module that was built in Python holds these objects and must load with weights_only=True, in a
# process that has imported nothing else.
torch.serialization.add_safe_globals(
    [
        BackboneConfig,
        EncoderConfig,
        DecoderConfig,
        LossConfig,
        DenoiserConfig,
        OptimizerConfig,
        SchedulerConfig,
        SceneModelConfig,
        IdentityHead,
        LinkingConfig,
    ]
)
