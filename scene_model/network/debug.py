"""Checks for `model.debug`: finiteness after every module, shapes and ranges after every stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scene_model.errors import NonFiniteError
from scene_model.network.backbone import STRIDES

Hook = Callable[[nn.Module, Any, Any], None]


def add_checks(model: nn.Module) -> None:
    """Make a `SceneModel` raise NonFiniteError or ValueError where values first go wrong, naming the module."""
    model.register_forward_pre_hook(_check_input)
    for name, module in model.named_modules():
        if module is not model:
            module.register_forward_hook(_finiteness_check(name))
    for stage, check in (("backbone", _check_levels), ("encoder", _check_levels), ("proposals", _check_proposals)):
        model.get_submodule(stage).register_forward_hook(check(stage))
    model.get_submodule("decoder").register_forward_hook(_check_decoder)
    model.register_forward_hook(_check_output)


def _tensors(value: Any) -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested outputs, with their places."""
    if isinstance(value, Tensor):
        yield "", value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from ((f"[{key!r}]{place}", tensor) for place, tensor in _tensors(item))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from ((f"[{index}]{place}", tensor) for place, tensor in _tensors(item))
    elif hasattr(value, "__dataclass_fields__"):
        yield from _tensors(vars(value))


def _finiteness_check(name: str) -> Hook:
    def check(module: nn.Module, inputs: Any, output: Any) -> None:
        for place, tensor in _tensors(output):
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                kind = type(module).__name__
                raise NonFiniteError(f"model.debug: {name} ({kind}) returned NaN or infinity in output{place}")

    return check


def _expect_shape(what: str, tensor: Tensor, *shape: int | None) -> None:
    """Compare a shape; None stands for any size."""
    if tensor.ndim != len(shape) or any(s not in (None, d) for s, d in zip(shape, tensor.shape, strict=True)):
        raise ValueError(f"model.debug: {what} has shape {list(tensor.shape)}, expected {list(shape)}")


def _expect_unit_range(what: str, tensor: Tensor) -> None:
    if tensor.numel() and (tensor.min() < 0 or tensor.max() > 1):
        raise ValueError(f"model.debug: {what} leaves [0, 1]: {tensor.min():.3g} to {tensor.max():.3g}")


def _rounded(quotient: float, length: int) -> int:
    """A side of a map rounded as the model does, up as most do or down as ConvNeXt does."""
    return length if length == math.floor(quotient) else math.ceil(quotient)


def _check_levels(stage: str) -> Hook:
    """Maps at strides 8, 16 and 32 from frames; as large as the ones given from maps."""

    def check(module: nn.Module, inputs: Any, levels: list[Tensor]) -> None:
        given = inputs[0]
        for index, level in enumerate(levels):
            if isinstance(given, Tensor):
                size = [
                    _rounded(side / STRIDES[index], length)
                    for side, length in zip(given.shape[-2:], level.shape[-2:], strict=True)
                ]
            else:
                size = list(given[index].shape[-2:])
            frames = len(given) if isinstance(given, Tensor) else len(given[index])
            _expect_shape(f"level {index} of the {stage}", level, frames, None, *size)

    return check


def _check_proposals(stage: str) -> Hook:
    def check(module: nn.Module, inputs: Any, proposals: Any) -> None:
        (levels,) = inputs
        shape = (len(levels[0]), sum(level.shape[-1] * level.shape[-2] for level in levels))
        _expect_shape(f"{stage}: boxes", proposals.boxes, *shape, 4)
        _expect_shape(f"{stage}: exist_logits", proposals.exist_logits, *shape)

    return check


def _check_decoder(module: nn.Module, inputs: Any, output: tuple[Tensor, dict[str, Tensor]]) -> None:
    queries, (hidden, layers) = inputs[0], output
    _expect_shape("decoder: features", hidden, *queries.content.shape)
    _expect_unit_range("decoder: reference boxes", queries.boxes)
    _expect_shape("decoder: boxes", layers["boxes"], None, *queries.boxes.shape)
    _expect_unit_range("decoder: boxes", layers["boxes"])


def _check_input(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    frames = inputs[0]
    if frames.ndim not in (4, 5) or frames.shape[-3] != 3 or not frames.is_floating_point():
        raise ValueError(f"model.debug: expected float frames [B, T, 3, H, W], got {frames.dtype} {list(frames.shape)}")
    if not torch.isfinite(frames).all():
        raise NonFiniteError("model.debug: the frames hold NaN or infinity before the first module")


def _check_output(module: nn.Module, inputs: tuple[Any, ...], outputs: dict[str, Tensor]) -> None:
    clips = inputs[0].shape[:2] if inputs[0].ndim == 5 else (None, None)
    queries = (*clips, outputs["bbox_center"].shape[2])
    for name, width in (("bbox_center", 2), ("bbox_size", 2), ("exist_conf", 1), ("cls_logits", None)):
        _expect_shape(name, outputs[name], *queries, width)
    for name in ("bbox_center", "bbox_size", "exist_conf"):
        _expect_unit_range(name, outputs[name])
