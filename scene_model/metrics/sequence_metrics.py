"""The scores of the tracking field as `torchmetrics.Metric`s: sums over sequences that add up across processes too."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric

from scene_model.metrics.clear import CLEAR_COUNTS, clear_fields, clear_sums
from scene_model.metrics.hota import ALPHAS, hota_fields, hota_sums
from scene_model.metrics.identity import identity_fields, identity_sums
from scene_model.metrics.sequence import TrackedSequence
from scene_model.mot_text import FloatArray


class _SequenceMetric(Metric):
    """Adds up what a metric is made of, sequence by sequence; a sequence belongs to one process."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, names: tuple[str, ...], shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self._names = names
        for name in names:
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, sequence: TrackedSequence) -> None:
        """Adds a whole sequence; several classes are that many calls, and come out detection-averaged."""
        for name, value in self._sums(sequence).items():
            state: Tensor = getattr(self, name)
            state += torch.as_tensor(value, device=state.device)

    def compute(self) -> dict[str, Tensor]:
        """TrackEval's fields of all sequences combined: float64 scalars."""
        sums = {name: getattr(self, name).numpy(force=True) for name in self._names}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in self._fields(sums).items()}

    def _sums(self, sequence: TrackedSequence) -> Mapping[str, FloatArray]:
        raise NotImplementedError

    def _fields(self, sums: dict[str, FloatArray]) -> dict[str, float]:
        raise NotImplementedError


class HOTA(_SequenceMetric):
    """Higher order tracking accuracy (https://arxiv.org/abs/2009.07736), means over the 19 thresholds.

    Example:
        >>> import numpy as np
        >>> from scene_model.mot_text import MotTable
        >>> frames, ids, boxes = np.arange(3), np.array([4, 4, 4]), np.tile([0.0, 0.0, 10.0, 10.0], (3, 1))
        >>> tracks = MotTable.of_tracks(frames, ids, boxes, np.ones(3))
        >>> metric = HOTA()
        >>> metric.update(TrackedSequence.of(tracks, tracks))
        >>> metric.compute()["HOTA"]
        tensor(1., dtype=torch.float64)
    """

    def __init__(self) -> None:
        counts = ("HOTA_TP", "HOTA_FN", "HOTA_FP")
        super().__init__((*counts, "AssA_sum", "AssRe_sum", "AssPr_sum", "LocA_sum"), ALPHAS.shape)

    def _sums(self, sequence: TrackedSequence) -> Mapping[str, FloatArray]:
        return hota_sums(sequence)

    def _fields(self, sums: dict[str, FloatArray]) -> dict[str, float]:
        return hota_fields(sums)


class CLEAR(_SequenceMetric):
    """CLEAR MOT (https://doi.org/10.1155/2008/246309): MOTA, MOTP, identity switches, fragmentations and the like.

    Args:
        threshold: least IoU of a match, greater than 0.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__((*CLEAR_COUNTS, "MOTP_sum"))
        self.threshold = threshold

    def _sums(self, sequence: TrackedSequence) -> Mapping[str, FloatArray]:
        return clear_sums(sequence, self.threshold)

    def _fields(self, sums: dict[str, FloatArray]) -> dict[str, float]:
        return clear_fields(sums)


class Identity(_SequenceMetric):
    """Identity scores (https://arxiv.org/abs/1609.01775): IDF1, IDP, IDR and their counts.

    Args:
        threshold: least IoU at which boxes count for their identities.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__(("IDTP", "IDFN", "IDFP"))
        self.threshold = threshold

    def _sums(self, sequence: TrackedSequence) -> Mapping[str, FloatArray]:
        return identity_sums(sequence, self.threshold)

    def _fields(self, sums: dict[str, FloatArray]) -> dict[str, float]:
        return identity_fields(sums)
