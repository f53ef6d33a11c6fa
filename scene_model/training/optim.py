"""Parameter groups and the learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from scene_model.config import OptimizerConfig, SchedulerConfig
from scene_model.training.muon import MuonAdamW, matrix_shape

_THINNEST = 32  # rows and columns of what Muon moves; thinner matrices, of box predictors say, have few directions


def build_optimizer(model: nn.Module, backbone: nn.Module, config: OptimizerConfig, fused: bool = False) -> MuonAdamW:
    """Muon and AdamW over all parameters, frozen ones included: they are skipped while they have no gradient.

    Args:
        model: all parameters.
        backbone: the part of `model` that has its own learning rate, and AdamW alone.
        config: rates and decay.
        fused: one kernel for all parameters of AdamW; not where gradients are scaled, as under float16.
    """
    in_backbone = {id(p) for p in backbone.parameters()}
    no_decay = {id(p) for p in _undecayed(model)}
    of_matrices = 1.0 if config.muon_lr_ratio is None else config.muon_lr_ratio
    ratios = {"backbone": config.backbone_lr_ratio, "matrices": of_matrices, "rest": 1.0}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        undecayed = id(parameter) in no_decay
        is_matrix = not undecayed and min(matrix_shape(parameter)) >= _THINNEST
        part = "backbone" if id(parameter) in in_backbone else "matrices" if is_matrix else "rest"
        groups.setdefault((part, undecayed), []).append(parameter)
    optimizer = MuonAdamW(
        [
            {
                "params": parameters,
                "lr": config.lr * ratios[part],
                "weight_decay": 0.0 if undecayed else config.weight_decay,
                "muon": part == "matrices" and config.muon_lr_ratio is not None,
            }
            for (part, undecayed), parameters in groups.items()
        ],
        betas=config.betas,
        fused=fused or None,  # False would also rule out updates of many parameters at once
    )
    # Lightning takes a fused optimiser for one that unscales gradients itself, and refuses to clip them under bfloat16.
    optimizer._step_supports_amp_scaling = False
    return optimizer


def _undecayed(model: nn.Module) -> Iterable[nn.Parameter]:
    """Biases, norms and embeddings."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim <= 1 or isinstance(module, nn.Embedding) or name.endswith("bias"):
                yield parameter


def cosine_schedule(optimizer: Optimizer, config: SchedulerConfig, max_epochs: int) -> LambdaLR:
    """CosineAnnealingLR's closed form per epoch, for every group from its own rate to `min_ratio` of it.

    torch's CosineAnnealingLR has one `eta_min` for all groups and steps recursively from the current rate.
    """

    def factor(epoch: int) -> float:
        progress = min(epoch / max_epochs, 1.0)
        return config.min_ratio + (1 - config.min_ratio) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, factor)


def follow_options(optimizer: Optimizer, fresh: Optimizer, schedule: LambdaLR | None) -> None:
    """Let a resumed optimiser go on with today's options, where Lightning has restored those of the checkpoint.

    Args:
        optimizer: with the restored state.
        fresh: an optimiser of the same parameters, built from today's options.
        schedule: of `optimizer`, at the epoch to go on with.
    """
    rates = [group["lr"] for group in fresh.param_groups]
    factors = [factor(schedule.last_epoch) for factor in schedule.lr_lambdas] if schedule else [1.0] * len(rates)
    for group, new, rate, factor in zip(optimizer.param_groups, fresh.param_groups, rates, factors, strict=True):
        group |= {key: new[key] for key in ("weight_decay", "betas", "fused", "muon")}
        group |= {"initial_lr": rate, "lr": rate * factor}
    if schedule:
        schedule.base_lrs = rates
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if group["muon"] != ("momentum" in optimizer.state.get(parameter, {})):
                optimizer.state.pop(parameter, None)  # what the other of Muon and AdamW remembers
    for parameter, state in optimizer.state.items():
        if "step" in state:  # a fused optimiser counts steps on the device, others on the host
            state["step"] = state["step"].to(parameter.device if optimizer.param_groups[0]["fused"] else "cpu")


@contextmanager
def warmed_up(optimizer: Optimizer, step: int, warmup_steps: int) -> Iterator[None]:
    """Scale the learning rates for one step of a linear warm-up; the schedule, and what logs it, never see the factor.

    Args:
        optimizer: whose groups are scaled.
        step: number of optimiser steps done so far.
        warmup_steps: steps until the factor is 1.
    """
    rates: list[Any] = [group["lr"] for group in optimizer.param_groups]
    factor = min(1.0, (step + 1) / max(1, warmup_steps))
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
