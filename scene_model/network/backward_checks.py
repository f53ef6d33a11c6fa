"""Which module's backward pass first returns a gradient that is NaN or infinite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from scene_model.errors import NonFiniteError


def add_backward_checks(model: nn.Module) -> None:
    """Make the backward pass through a model raise NonFiniteError where numbers first go wrong, naming the module.

    Each module gets copies of its inputs and gives copies of its outputs, so that their gradients come from the module
    alone, or from what its parent does with them. Hooks of torch on whole modules forbid operations in place.
    """
    model.register_forward_hook(_copy_output)
    for name, module in model.named_modules():
        if module is not model:
            label = f"{name} ({type(module).__name__})"
            module.register_forward_pre_hook(_watch_inputs(label), with_kwargs=True)
            module.register_forward_hook(_watch_output(f"{_parent(model, name)}, outside of its {name},"))
        for parameter_name, parameter in module.named_parameters(recurse=False):
            owner = f"{name or 'the model itself'} ({type(module).__name__})"
            parameter.register_hook(_check(owner, f"its {parameter_name}"))


def _parent(model: nn.Module, name: str) -> str:
    """The module that calls another one; lists of modules call none."""
    while name:
        name = name.rpartition(".")[0]
        module = model.get_submodule(name)
        if not isinstance(module, nn.ModuleList | nn.ModuleDict):
            break
    return f"{name or 'the model itself'} ({type(module).__name__})"


def _watch_inputs(label: str) -> Callable[..., Any]:
    def watch(module: nn.Module, args: Any, kwargs: Any) -> Any:
        return _mapped((args, kwargs), lambda tensor: _watched(tensor, label, "its input"))

    return watch


def _watch_output(parent: str) -> Callable[..., Any]:
    def watch(module: nn.Module, args: Any, output: Any) -> Any:
        return _mapped(output, lambda tensor: _watched(tensor, parent, "that output"))

    return watch


def _copy_output(module: nn.Module, args: Any, output: Any) -> Any:
    """Whoever asks for a loss's gradient for the outputs gets it unchecked."""
    return _mapped(output, torch.clone)


def _watched(tensor: Tensor, label: str, what: str) -> Tensor:
    if not (tensor.is_floating_point() and tensor.requires_grad and torch.is_grad_enabled()):
        return tensor
    copy = tensor.clone()
    copy.register_hook(_check(label, what))
    return copy


def _check(label: str, what: str) -> Callable[[Tensor], None]:
    def check(gradient: Tensor) -> None:
        if not torch.isfinite(gradient).all():
            raise NonFiniteError(f"the backward pass of {label} returned NaN or infinity as the gradient of {what}")

    return check


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Nested values with a function applied to their tensors."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: _mapped(item, function) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(item, function) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _mapped(getattr(value, f.name), function) for f in fields(value)})
    return value
