"""The options of linking, as a frozen dataclass: they are the YAML schema and its documentation."""

from __future__ import annotations

from dataclasses import dataclass

from scene_model.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LinkingConfig:
    """How the windows of a video become tracks.

    Args:
        overlap: frames that neighbouring windows share, at most all but one. More of them make links safer and cost
            time; with 0, tracks go on by predicted motion, looks and class alone.
        birth_threshold: existence score that a query must reach in a frame of its window to start a track.
        keep_threshold: existence score from which a track counts as seen in a frame, and is reported there.
        max_age: frames in a row in which a track may go unseen and still come back.
        position_weight: of the IoU on shared frames, or of the predicted motion where there are none to compare.
        embedding_weight: of the cosine similarity of the query embeddings; 0: they serve for nothing.
        class_weight: of the agreement of the class scores.
        min_iou: least IoU, averaged over the shared frames in which both are seen, of what may be linked.
        min_shared_affinity: least weighted mean of all similarities, from 0 to 1, of what is linked on shared frames;
            0: `min_iou` alone decides.
        max_distance: greatest distance from where its motion leads at which a track may come back, in sizes of its box
            (both in shares of the frame's width and height) per square root of the frames since it was seen; 0 links on
            shared frames only.
        min_affinity: least weighted mean of all similarities, from 0 to 1, of a track that comes back.
        min_agreement: least agreement of the class scores, from 0 to 1, of a track that comes back.
        exchange_margin: two tracks that met exchange their identities where each then looks more like itself before, by
            more than this in the sum of both cosines (each times the agreement of the classes); 2 and more: never.
        duplicate_iou: IoU over time, times agreement of the classes, from which the weaker of two queries of a window
            is taken for a duplicate and dropped.
    """

    overlap: int = 2
    birth_threshold: float = 0.5
    keep_threshold: float = 0.3
    max_age: int = 30
    position_weight: float = 2.0
    embedding_weight: float = 1.0
    class_weight: float = 0.5
    min_iou: float = 0.2
    min_shared_affinity: float = 0.0
    max_distance: float = 2.0
    min_affinity: float = 0.7
    min_agreement: float = 0.5
    exchange_margin: float = 0.3
    duplicate_iou: float = 0.7

    def __post_init__(self) -> None:
        for name in ("overlap", "max_age"):
            self._require(name, getattr(self, name) >= 0, "a whole number >= 0")
        for name in ("birth_threshold", "keep_threshold", "duplicate_iou"):
            self._require(name, 0 < getattr(self, name) <= 1, "a number above 0 and up to 1")
        for name in ("min_iou", "min_shared_affinity", "min_affinity", "min_agreement"):
            self._require(name, 0 <= getattr(self, name) <= 1, "a number from 0 to 1")
        for name in ("position_weight", "embedding_weight", "class_weight", "max_distance", "exchange_margin"):
            self._require(name, 0 <= getattr(self, name) < float("inf"), "a number >= 0")
        self._require("position_weight", self.total_weight > 0, "a weight > 0 here or on another similarity")
        lowest = self.keep_threshold
        self._require("birth_threshold", self.birth_threshold >= lowest, f"at least the keep_threshold {lowest}")

    @property
    def total_weight(self) -> float:
        """Sum of the weights of all similarities."""
        return self.position_weight + self.embedding_weight + self.class_weight

    def _require(self, name: str, condition: bool, expected: str) -> None:
        if not condition:
            raise UserError(f"model.tracking.{name}: expected {expected}, got {getattr(self, name)}")
