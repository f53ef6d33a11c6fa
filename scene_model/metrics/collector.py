"""Tracks in as they become final, sums of scored sequences out."""

from __future__ import annotations

from collections.abc import Sequence

from scene_model.batch import SceneBatch, SequenceTruth
from scene_model.metrics.rules import apply_rules_per_class
from scene_model.metrics.scores import SequenceSums, check_name
from scene_model.metrics.sequence import TrackedSequence
from scene_model.mot_text import MotTable
from scene_model.tracking import FinalTracks


class TrackCollector:
    """Keeps the tracks of sequences until they end, then scores them and keeps their sums alone.

    A sequence that ends without a truth is not scored: nobody knows what was there. A truth without any rows says
    that nothing was there, so all tracks are false.

    Attributes:
        sums: of the sequences that have ended, by name.
        without_truth: names of those that ended without annotations.
    """

    def __init__(self) -> None:
        self.sums: dict[str, SequenceSums] = {}
        self.without_truth: list[str] = []
        self._tables: dict[str, list[MotTable]] = {}

    @property
    def unfinished(self) -> list[str]:
        """Names of the sequences that have not ended."""
        return list(self._tables)

    def update(self, batch: SceneBatch, tracks: Sequence[FinalTracks]) -> None:
        """Takes what has become final with a batch.

        Args:
            batch: windows of sequences.
            tracks: parts of the tracks, each sequence's in order.

        Raises:
            UserError: a sequence has a name that means all of them.
        """
        clips = zip(batch.sequences, batch.is_last, batch.truths, strict=True)
        truths = {sequence.name: truth for sequence, is_last, truth in clips if is_last}
        for part in tracks:
            name = part.sequence.name
            check_name(name)
            self._tables.setdefault(name, []).append(part.table)
            if part.is_last:
                self._finish(name, part.end, truths.get(name))

    def _finish(self, name: str, num_frames: int, truth: SequenceTruth | None) -> None:
        tracks = MotTable.joined(self._tables.pop(name))
        if truth is None:
            self.without_truth.append(name)
            return
        self.sums[name] = SequenceSums(num_frames)
        for of_class in apply_rules_per_class(truth.table, tracks, truth.rules):
            self.sums[name].add(TrackedSequence.of(*of_class, num_frames))
