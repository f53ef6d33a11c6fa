"""Any torchvision classification model as a backbone with features at strides 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import FrozenBatchNorm2d, StochasticDepth

from scene_model.config import BackboneConfig
from scene_model.errors import UserError
from scene_model.network.initial_weights import are_read, read_tensors

STRIDES = (8, 16, 32)
_PROBE_SIZE = 64


class Backbone(nn.Module):
    """The convolutional trunk of a torchvision model, cut where its stride doubles.

    Args:
        stages: run one after the other; the last three end at strides 8, 16 and 32.
        gradient_checkpointing: keep only the stages' outputs for the backward pass.
    """

    def __init__(self, stages: list[nn.Sequential], gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.gradient_checkpointing = gradient_checkpointing
        self.channels = [features.shape[1] for features in _probe(self)]

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Features of frames ``[B * T, 3, H, W]`` at strides 8, 16 and 32, sizes rounded as the model does."""
        features = []
        x = frames
        for stage in self.stages:
            if self.gradient_checkpointing and self.training:
                x = cast(Tensor, checkpoint(stage, x, use_reentrant=False))
            else:
                x = stage(x)
            features.append(x)
        return features


def build_backbone(config: BackboneConfig, gradient_checkpointing: bool = False) -> Backbone:
    """The backbone that the options ask for.

    Raises:
        UserError: torchvision has no such model, it has no features at strides 8, 16 and 32, or the weights do not fit.
    """
    model = _torchvision_model(config)
    from_scratch = config.weights is None
    if not from_scratch and are_read() and _file_of(config).is_file():
        _load_file(model, config)
    _replace_batch_norm(model, _group_norm if from_scratch else _frozen_batch_norm)
    if from_scratch:
        _initialise(model)
    _silence(model)
    stages = _cut(list(_trunk(model)))
    if len(stages) != len(STRIDES):
        raise UserError(f"model.backbone.name: {config.name} has no features at strides 8, 16 and 32")
    return Backbone(stages, gradient_checkpointing)


def _torchvision_model(config: BackboneConfig) -> nn.Module:
    if config.name not in torchvision.models.list_models(module=torchvision.models):
        raise UserError(f"model.backbone.name: torchvision has no classification model named {config.name!r}")
    weights = config.weights
    if weights is None or not are_read() or _file_of(config).is_file():
        return cast(nn.Module, torchvision.models.get_model(config.name, weights=None))
    names = [entry.name for entry in torchvision.models.get_model_weights(config.name)] + ["DEFAULT"]
    if weights not in names:
        raise UserError(f"model.backbone.weights: {weights!r} is neither a file nor one of {', '.join(names)}")
    try:
        return cast(nn.Module, torchvision.models.get_model(config.name, weights=weights))
    except (OSError, RuntimeError) as error:  # no network, no place on the disk, or another file than expected
        raise UserError(
            f"model.backbone.weights: {weights} cannot be downloaded ({error}); give the path of a file"
        ) from error


def _file_of(config: BackboneConfig) -> Path:
    """The file that `weights` names, if it does not name torchvision's."""
    return Path(cast(str, config.weights)).expanduser()


def _load_file(model: nn.Module, config: BackboneConfig) -> None:
    """Load a state dict with torchvision's names; a missing classifier is no loss."""
    state = read_tensors(_file_of(config), "model.backbone.weights")
    needed = {
        f"{prefix}.{name}": value.shape
        for prefix, part in _trunk_parts(model)
        for name, value in part.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    wrong = [name for name, shape in needed.items() if name not in state or state[name].shape != shape]
    if wrong:
        raise UserError(
            f"model.backbone.weights: {config.weights} does not fit {config.name}: "
            f"{len(wrong)} of {len(needed)} tensors are missing or of another shape, such as {wrong[0]!r}"
        )
    model.load_state_dict({name: state[name] for name in needed}, strict=False)


def _trunk_parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The named children that come before the global pooling."""
    if isinstance(getattr(model, "features", None), nn.Module):
        yield "features", cast(nn.Module, model.features)
        return
    for name, child in model.named_children():
        if any(isinstance(module, nn.AdaptiveAvgPool2d | nn.Linear) for module in (child, *_unroll(child))):
            return
        yield name, child


def _trunk(model: nn.Module) -> Iterator[nn.Module]:
    """The steps of the trunk, sequences unrolled."""
    for _, part in _trunk_parts(model):
        yield from _unroll(part)


def _unroll(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for child in module:
            yield from _unroll(child)
    else:
        yield module


def _cut(steps: list[nn.Module]) -> list[nn.Sequential]:
    """Group the steps into stages that end just before the stride grows beyond 8, 16 and 32; empty if it does not."""
    stages: list[list[nn.Module]] = [[]]
    stride = 1
    for step, after in zip(steps, _strides(steps), strict=False):
        if after > STRIDES[len(stages) - 1] and stride == STRIDES[len(stages) - 1]:
            stages.append([])
        stages[-1].append(step)
        stride = after
    complete = len(stages) == len(STRIDES) and stride == STRIDES[-1]
    return [nn.Sequential(*stage) for stage in stages] if complete else []


@torch.no_grad()
def _strides(steps: list[nn.Module]) -> Iterator[int]:
    """The stride after each step; ends early where the steps are no plain sequence of image operations."""
    x = torch.zeros(1, 3, _PROBE_SIZE, _PROBE_SIZE)
    for step in steps:
        try:
            x = step.eval()(x)
        except Exception:  # the model joins its parts in another way, and a part may refuse in any way
            return
        step.train()
        if x.ndim != 4 or _PROBE_SIZE // x.shape[-1] > STRIDES[-1]:
            return
        yield _PROBE_SIZE // x.shape[-1]


@torch.no_grad()
def _probe(backbone: Backbone) -> list[Tensor]:
    training = backbone.training
    features = backbone.eval()(torch.zeros(1, 3, _PROBE_SIZE, _PROBE_SIZE))
    backbone.train(training)
    return cast(list[Tensor], features)


def _replace_batch_norm(module: nn.Module, replacement: Callable[[nn.BatchNorm2d], nn.Module]) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, replacement(child))
        else:
            _replace_batch_norm(child, replacement)


def _silence(model: nn.Module) -> None:
    """Switch off random layers: what a clip gives is a function of that clip."""
    for module in model.modules():
        if isinstance(module, nn.Dropout | StochasticDepth):
            module.p = 0.0


def _group_norm(norm: nn.BatchNorm2d) -> nn.Module:
    """Independent of the batch: two ranks of two clips compute what one rank of four does."""
    channels = norm.num_features
    groups = next(groups for groups in range(min(32, channels // 4 or 1), 0, -1) if channels % groups == 0)
    return nn.GroupNorm(groups, channels)


class _FrozenBatchNorm(FrozenBatchNorm2d):  # type: ignore[misc]
    """As torchvision's, in one operation, which keeps the type of its input: that one widens it under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def _frozen_batch_norm(norm: nn.BatchNorm2d) -> nn.Module:
    frozen = _FrozenBatchNorm(norm.num_features, norm.eps)
    state = {name: value for name, value in norm.state_dict().items() if name != "num_batches_tracked"}
    frozen.load_state_dict(state)
    return frozen


def _initialise(model: nn.Module) -> None:
    """Kaiming initialisation of convolutions, as torchvision's ResNet."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
