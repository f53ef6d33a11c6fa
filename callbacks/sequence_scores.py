"""Scores of whole sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from callbacks.run_folder import run_folder
from scene_model.batch import SceneBatch
from scene_model.errors import UserError
from scene_model.files import seen_from_here
from scene_model.metrics.collector import TrackCollector
from scene_model.metrics.detection import DetectionCollector, average_precision, check_extra
from scene_model.metrics.processes import gather
from scene_model.metrics.report import print_scores, write_scores
from scene_model.metrics.scores import COMBINED, Scores, combine

LOGGED = (
    *("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA"),
    *("MOTA", "MOTP", "CLR_Re", "CLR_Pr", "CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag"),
    *("IDF1", "IDP", "IDR", "IDTP", "IDFN", "IDFP"),
)
_DETECTION_FIELDS = ("map", "map_50")


class SequenceScores(Callback):
    """Scores the tracks of whole sequences as TrackEval does: HOTA, CLEAR and identity.

    The scores of all sequences together are logged as ``mot/<field>``. ``test`` and ``validate`` also print a table and
    write ``test_metrics.json`` and ``.csv`` (``validate_metrics``) into the run's folder, in float64: each sequence,
    each of several classes, and all of it combined. Where faster-coco-eval is installed, they hold COCO's ``map`` and
    ``map_50`` of the boxes as the network gives them, before they become tracks. A validation within ``fit`` only logs
    ``mot/<field>``.

    A sequence that does not end, or that ends without annotations, is not scored, and a warning says so.

    What it needs: batches of type ``SceneBatch`` with ``is_last`` and ``truths``, the windows of a sequence in order
    and on one process; and a ``test_step`` or ``validation_step`` which returns for them a mapping with ``tracks``, a
    list of ``FinalTracks``, and for ``map`` also ``bbox_center[B,T,Q,2]``, ``bbox_size[B,T,Q,2]``,
    ``exist_conf[B,T,Q,1]`` and ``cls_logits[B,T,Q,C]``. What it uses if the LightningModule has it: ``class_names``.

    Args:
        detection: Score detection too, by ``map`` and ``map_50``; false saves the time and memory.
    """

    def __init__(self, detection: bool = True) -> None:
        self.detection = detection
        self._folder = Path()
        self._tracks: TrackCollector | None = None
        self._boxes: DetectionCollector | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settles the folder, for which Lightning needs all ranks together."""
        self._folder = run_folder(trainer)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets what was left unfinished."""
        self._tracks = self._boxes = None

    def on_test_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Mapping[str, Any] | None,
        batch: SceneBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Scores the sequences that end here; steps that return no tracks are left alone."""
        if trainer.sanity_checking or not isinstance(outputs, Mapping) or "tracks" not in outputs:
            return
        if self._tracks is None:
            self._tracks = TrackCollector()
            self._boxes = DetectionCollector() if self._scores_detection(trainer) else None
        self._tracks.update(batch, outputs["tracks"])
        if self._boxes is not None:
            self._boxes.update(batch, outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Combines the sequences of all processes, and reports."""
        if self._tracks is None:
            return
        scores = self._combined(trainer, self._tracks, getattr(pl_module, "class_names", ()))
        self._tracks = self._boxes = None
        if not scores:
            return
        combined = scores[COMBINED]
        detection = {name: combined[name] for name in _DETECTION_FIELDS if name in combined}
        values = {f"mot/{name}": combined[name] for name in LOGGED} | detection
        pl_module.log_dict(values, sync_dist=True, add_dataloader_idx=False)
        if trainer.is_global_zero and not _is_fitting(trainer):
            print_scores(scores)
            if not trainer.fast_dev_run:  # type: ignore[attr-defined]
                command = "test" if trainer.testing else "validate"
                write_scores(self._folder, f"{command}_metrics", scores)
                print(f"Scores: {seen_from_here(self._folder / f'{command}_metrics.json')} and .csv")

    on_validation_epoch_start = on_test_epoch_start
    on_validation_batch_end = on_test_batch_end  # type: ignore[assignment]
    on_validation_epoch_end = on_test_epoch_end

    def _scores_detection(self, trainer: Trainer) -> bool:
        if not self.detection or _is_fitting(trainer):
            return False
        try:
            check_extra()
        except UserError as error:
            rank_zero_warn(f"{error} (left out; scores.detection: false says that they are not wanted)")
            return False
        return True

    def _combined(self, trainer: Trainer, tracks: TrackCollector, class_names: Sequence[str]) -> Scores:
        """The scores, the same on every process; none if no sequence was scored."""
        sums = {name: one for part in gather(tracks.sums) for name, one in part.items()}
        boxes = [] if self._boxes is None else list(chain(*gather(self._boxes.sequences)))
        _warn_of_missing("did not end within the batches that were run", gather(tracks.unfinished))
        _warn_of_missing("have no annotations", gather(tracks.without_truth))
        scores: Scores = combine(dict(sorted(sums.items())), class_names) if sums else {}
        if sums and boxes:
            scores[COMBINED] |= average_precision(boxes)
        broadcast: Scores = trainer.strategy.broadcast(scores)
        return broadcast


def _is_fitting(trainer: Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING


def _warn_of_missing(reason: str, names_of_processes: list[list[str]]) -> None:
    names = sorted(chain(*names_of_processes))
    if names:
        rank_zero_warn(f"Sequences that {reason} are not scored: {len(names)}, such as {names[0]}")
