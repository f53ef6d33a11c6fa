"""The cheap identity score of clips that training is watched by."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class ClipIdentity(Metric):
    """Recall, F1 and precision of (object, frame) pairs, with one identity per query for the whole clip.

    A pair is matched where the query that the clip's assignment gave to the object is confident and overlaps it with
    IoU >= 0.5. `idf1` is matches / targets: a recall in spite of its name; `clip_idf1` is
    2 * matches / (targets + predictions); `clip_idp` is matches / predictions. Nothing counted gives 0.

    >>> metric = ClipIdentity()
    >>> metric.update(torch.tensor(6), torch.tensor(8), torch.tensor(12))
    >>> {name: round(float(value), 2) for name, value in metric.compute().items()}
    {'idf1': 0.75, 'clip_idf1': 0.6, 'clip_idp': 0.5}
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    num_matches: Tensor
    num_targets: Tensor
    num_predictions: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("num_matches", "num_targets", "num_predictions"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, num_matches: Tensor, num_targets: Tensor, num_predictions: Tensor) -> None:
        """Add the counts of a batch."""
        self.num_matches += num_matches
        self.num_targets += num_targets
        self.num_predictions += num_predictions

    def compute(self) -> dict[str, Tensor]:
        """The scores: `idf1`, `clip_idf1` and `clip_idp`, each in [0, 1]."""
        matches = self.num_matches.float()
        return {
            "idf1": matches / self.num_targets.clamp(min=1),
            "clip_idf1": 2 * matches / (self.num_targets + self.num_predictions).clamp(min=1),
            "clip_idp": matches / self.num_predictions.clamp(min=1),
        }
