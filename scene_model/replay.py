"""Replays a training step that went wrong: `python -m scene_model.replay runs/version_0/bad_step_7.pt`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from scene_model.bad_step import BadStep, read_bad_step, where
from scene_model.cli.user_errors import user_errors
from scene_model.errors import NonFiniteError, UserError
from scene_model.lightning_module import SceneModelLightningModule
from scene_model.network.backward_checks import add_backward_checks
from scene_model.training.head_adapter import COUNTS

_MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def replay(path: Path) -> str | None:
    """Find where the numbers of a saved step go wrong first: in the weights, the forward pass, the loss or backwards.

    It runs on a GPU where the training did and there is one, else on the CPU; in the training's precision where that is
    32-true or mixed, without its loss scaling.

    Args:
        path: of the file that `callbacks.FiniteGuard` wrote.

    Returns:
        what is wrong, which names the module, the loss term or the parameter; None where all numbers are finite here.

    Raises:
        UserError: the file is none of a bad step.
    """
    step = read_bad_step(path)
    device = step.device if step.device == "cuda" and torch.cuda.is_available() else "cpu"
    module = SceneModelLightningModule.load_from_checkpoint(
        path, map_location=device, debug=True, compile=False, gradient_checkpointing=False
    ).train()
    bad_weights = _bad(module.model.state_dict())
    if bad_weights:
        return f"the weights {_listed(bad_weights)} hold NaN or infinity before the step"
    add_backward_checks(module.model)
    try:
        _run(module, step, device)
    except NonFiniteError as error:
        return str(error)
    return None


def _run(module: SceneModelLightningModule, step: BadStep, device: str) -> None:
    """One step, term by term.

    Raises:
        NonFiniteError: where numbers first go wrong.
    """
    mixed = _MIXED.get(step.precision)
    with torch.autocast(device, dtype=mixed or torch.bfloat16, enabled=mixed is not None):
        outputs, losses = module.predict_and_compare(step.batch.to(device))
    terms = {name: value for name, value in losses.items() if name not in (*COUNTS, "total")}
    bad_terms = _bad(terms) or _bad({"total": losses["total"]})
    if bad_terms:
        raise NonFiniteError(
            f"the loss is NaN or infinite in {_listed(bad_terms)}; every module returned finite numbers"
        )
    differentiable = {name: value for name, value in outputs.items() if value.requires_grad}
    for name, term in terms.items():
        found = torch.autograd.grad(
            term, list(differentiable.values()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        bad_outputs = _bad(dict(zip(differentiable, found, strict=True)))
        if bad_outputs:
            raise NonFiniteError(f"the gradient of the loss term {name} is NaN or infinite for {_listed(bad_outputs)}")
    losses["total"].backward()


def _bad(values: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [name for name, value in values.items() if not torch.isfinite(value).all()]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"--import {module}: {error}") from error


def main(args: Sequence[str] | None = None) -> int:
    """The command line; returns 0 where something was found, 1 where all numbers are finite here."""
    parser = argparse.ArgumentParser(
        prog="python -m scene_model.replay",
        description="Replay a training step that went wrong, and name the first module that returns NaN or infinity.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="bad_step_<step>.pt, from the folder of the run")
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of your own whose classes the model uses, such as extra heads; may be repeated",
    )
    options = parser.parse_args(args)
    path: Path = options.file
    with user_errors():
        for module in options.modules:
            _import(module)
        found = replay(path)
        step = read_bad_step(path)
    print(f"batch: {where(step.batch)}")
    print(found or f"All numbers are finite here; the step was taken on {step.device}, in {step.precision}.")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
