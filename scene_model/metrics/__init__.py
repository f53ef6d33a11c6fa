"""The tracking field's own scores, exactly as TrackEval defines them, computed for all frames of a sequence at once.

Each metric is a pair of pure functions, ``*_sums`` of one sequence and ``*_fields`` of added sums, and a thin
`torchmetrics.Metric` around them. Only the latter need PyTorch, which is imported when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scene_model.metrics.clear import clear_fields, clear_sums
from scene_model.metrics.hota import hota_curves, hota_fields, hota_sums
from scene_model.metrics.identity import identity_fields, identity_sums
from scene_model.metrics.report import print_scores, scores_table, write_scores
from scene_model.metrics.rules import apply_rules, apply_rules_per_class
from scene_model.metrics.scores import SequenceSums, combine, score
from scene_model.metrics.sequence import TrackedSequence

if TYPE_CHECKING:
    from scene_model.metrics.sequence_metrics import CLEAR, HOTA, Identity

__all__ = [
    "CLEAR",
    "HOTA",
    "Identity",
    "SequenceSums",
    "TrackedSequence",
    "apply_rules",
    "apply_rules_per_class",
    "clear_fields",
    "clear_sums",
    "combine",
    "hota_curves",
    "hota_fields",
    "hota_sums",
    "identity_fields",
    "identity_sums",
    "print_scores",
    "score",
    "scores_table",
    "write_scores",
]

_NEED_TORCH = {"HOTA", "CLEAR", "Identity"}


def __getattr__(name: str) -> Any:
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("scene_model.metrics.sequence_metrics"), name)
