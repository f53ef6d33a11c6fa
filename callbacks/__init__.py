"""Lightning callbacks, each of use in any project."""

from callbacks.backbone_unfreeze import BackboneUnfreeze
from callbacks.checkpoint import BestAndLast
from callbacks.ema import EMA
from callbacks.lr_monitor import LRMonitor
from callbacks.sequence_scores import SequenceScores
from callbacks.val_images import ValImageLogger

__all__ = ["EMA", "BackboneUnfreeze", "BestAndLast", "LRMonitor", "SequenceScores", "ValImageLogger"]
