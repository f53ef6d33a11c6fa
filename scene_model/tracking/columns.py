"""Tables whose columns are arrays: what is known of N things, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Self

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ComplexArray = NDArray[np.complex128]


@dataclass
class Columns:
    """Base of dataclasses whose fields are arrays ``[N, ...]``, or such tables themselves."""

    def __len__(self) -> int:
        return len(next(iter(vars(self).values())))

    def __getitem__(self, rows: BoolArray | IntArray) -> Self:
        """A copy of the rows selected by a mask or by indices."""
        return type(self)(*(column[rows] for column in vars(self).values()))

    def __setitem__(self, rows: BoolArray | IntArray, values: Self) -> None:
        for column, new in zip(vars(self).values(), vars(values).values(), strict=True):
            column[rows] = new

    def followed_by(self, other: Self) -> Self:
        """The rows of both tables."""
        return type(self)(*map(_joined, vars(self).values(), vars(other).values()))


def _joined(first: Any, second: Any) -> Any:
    return first.followed_by(second) if isinstance(first, Columns) else np.concatenate([first, second])
