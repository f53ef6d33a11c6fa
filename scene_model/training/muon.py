"""Muon for weight matrices beside AdamW for everything else, as one optimiser."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from scene_model.errors import UserError

_MOMENTUM = 0.95
_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_SIZE_OF_ADAMW = 0.2  # root mean square of AdamW's usual update, as a share of the learning rate
_TINY = 1e-7


class MuonAdamW(AdamW):
    """AdamW, but Muon in the groups whose option ``muon`` is true.

    Muon moves a weight matrix along its momentum with all singular values made about equal, so that rare directions
    learn as fast as frequent ones (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon). The update is scaled
    to the size that AdamW's has at the same learning rate (arXiv 2502.16982). The kernels of a convolution count as a
    matrix, with a row per output channel.

    Like fused AdamW, it leaves all as it is in a step for which `found_inf` is set to 1.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all groups."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        for group in groups:
            if group["muon"]:
                self._move_matrices(group)
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the state of an earlier optimiser of the same groups.

        Raises:
            UserError: its groups are others.
        """
        saved, own = (
            [len(group["params"]) for group in groups] for groups in (state_dict["param_groups"], self.param_groups)
        )
        if saved != own:
            raise UserError(
                f"the checkpoint's optimiser has groups of {saved} parameters, expected {own}: "
                "another version of SceneModel began that training, and it alone can go on with it"
            )
        super().load_state_dict(state_dict)

    @torch.no_grad()
    def _move_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape[matrix_shape(parameter)].append(parameter)
        for shape, parameters in by_shape.items():
            direction = orthogonalised(torch.stack([self._direction(p).flatten(1) for p in parameters]))
            direction *= _SIZE_OF_ADAMW * max(shape) ** 0.5
            for parameter, part in zip(parameters, direction, strict=True):
                change = group["lr"] * (part.view_as(parameter) + group["weight_decay"] * parameter)
                parameter.sub_(self._unless_bad(change, 0.0))

    def _direction(self, parameter: nn.Parameter) -> Tensor:
        """Nesterov's momentum, of which the state is an exponential average."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # AdamW expects it where it restores a state
            state["momentum"] = torch.zeros_like(parameter)
        before: Tensor = state["momentum"]
        state["momentum"] = self._unless_bad(before.lerp(parameter.grad, 1 - _MOMENTUM), before)
        return parameter.grad.lerp(state["momentum"], _MOMENTUM)

    def _unless_bad(self, value: Tensor, otherwise: Tensor | float) -> Tensor:
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        return value if found_inf is None else torch.where(found_inf > 0, otherwise, value)


def matrix_shape(weight: Tensor) -> tuple[int, int]:
    """Rows and columns of a weight ``[R, ...]`` as a matrix.

    Example:
        >>> matrix_shape(torch.zeros(64, 8, 3, 3))
        (64, 72)
    """
    return weight.shape[0], weight[0].numel()


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices ``[N, R, C]`` with the same singular vectors and singular values of about 1, from 0.7 to 1.2.

    Newton and Schulz's iteration, in float32; singular values below about a thousandth of the matrix's norm stay
    smaller.

    Example:
        >>> orthogonalised(torch.diag(torch.tensor([5.0, -0.5]))[None]).round(decimals=1)
        tensor([[[ 0.7000,  0.0000],
                 [ 0.0000, -0.7000]]])
    """
    rows, columns = matrices.shape[1:]
    wide = (matrices if rows <= columns else matrices.mT).float()
    wide = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=_TINY)
    first, third, fifth = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = wide @ wide.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        wide = torch.baddbmm(wide, polynomial, wide, beta=first)
    return (wide if rows <= columns else wide.mT).to(matrices.dtype)
