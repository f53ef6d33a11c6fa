"""Lightning callbacks, each of use in any project."""

from callbacks.backbone_unfreeze import BackboneUnfreeze
from callbacks.checkpoint import BestAndLast
from callbacks.ema import EMA
from callbacks.epoch_lines import EpochLines
from callbacks.finite_guard import FiniteGuard
from callbacks.lr_monitor import LRMonitor
from callbacks.predict_progress import PredictProgress
from callbacks.sequence_scores import SequenceScores
from callbacks.track_writer import TrackWriter
from callbacks.val_images import ValImageLogger

__all__ = [
    "EMA",
    "BackboneUnfreeze",
    "BestAndLast",
    "EpochLines",
    "FiniteGuard",
    "LRMonitor",
    "PredictProgress",
    "SequenceScores",
    "TrackWriter",
    "ValImageLogger",
]
