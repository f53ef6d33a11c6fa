"""Checks for `model.debug`: after every module, that what it returns is finite; at the ends, shapes and ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def add_checks(model: nn.Module) -> None:
    """Make a `SceneModel` raise FloatingPointError or ValueError where values first go wrong, naming the module."""
    model.register_forward_pre_hook(_check_input)
    for name, module in model.named_modules():
        if module is not model:
            module.register_forward_hook(_finiteness_check(name))
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


def _finiteness_check(name: str) -> Any:
    def check(module: nn.Module, inputs: Any, output: Any) -> None:
        for place, tensor in _tensors(output):
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                kind = type(module).__name__
                raise FloatingPointError(f"model.debug: {name} ({kind}) returned NaN or infinity in output{place}")

    return check


def _check_input(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    frames = inputs[0]
    if frames.ndim != 5 or frames.shape[2] != 3 or not frames.is_floating_point():
        raise ValueError(f"model.debug: expected float frames [B, T, 3, H, W], got {frames.dtype} {list(frames.shape)}")
    if not torch.isfinite(frames).all():
        raise FloatingPointError("model.debug: the frames hold NaN or infinity before the first module")


def _check_output(module: nn.Module, inputs: tuple[Any, ...], outputs: dict[str, Tensor]) -> None:
    clips, frames = inputs[0].shape[:2]
    for name, width in (("bbox_center", 2), ("bbox_size", 2), ("exist_conf", 1)):
        value = outputs[name]
        if value.shape[:2] != (clips, frames) or value.shape[-1] != width:
            raise ValueError(
                f"model.debug: {name} has shape {list(value.shape)}, expected [{clips}, {frames}, Q, {width}]"
            )
        if value.min() < 0 or value.max() > 1:
            raise ValueError(f"model.debug: {name} leaves [0, 1]: {value.min():.3g} to {value.max():.3g}")
