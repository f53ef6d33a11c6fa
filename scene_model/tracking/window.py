"""What the network says about one window of a video, and where windows begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scene_model.tracking.columns import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Window:
    """The network's outputs for one window, on the host; without padding.

    Args:
        frames: int64 ``[T]``, ascending numbers of the frames in the video, counted from 0; frames may be missing.
        boxes: ``[T, Q, 4]``, (cx, cy, w, h); a box that is not finite or has no area counts as not seen.
        scores: ``[T, Q]``, existence in [0, 1].
        class_probs: ``[T, Q, C]``, probabilities of the classes.
        embeddings: ``[T, Q, D]``, query embeddings, of any length.
    """

    frames: IntArray
    boxes: FloatArray
    scores: FloatArray
    class_probs: FloatArray
    embeddings: FloatArray

    def __getitem__(self, keep: BoolArray) -> Window:
        """The frames selected by a mask ``[T]``; where that is all of them, without a copy."""
        return self if keep.all() else Window(*(column[keep] for column in vars(self).values()))

    @classmethod
    def of_outputs(
        cls, outputs: Mapping[str, Tensor], frame_indices: Tensor, padding_mask: Tensor | None = None
    ) -> list[Window]:
        """The windows of a batch of B clips.

        Args:
            outputs: what `SceneModel` returns, on any device.
            frame_indices: int64 ``[B, T]``, as in `SceneBatch`.
            padding_mask: bool ``[B, T]``, True on frames that are to be left out.
        """
        columns = (
            outputs["bbox_center"],
            outputs["bbox_size"],
            outputs["exist_conf"],
            outputs["cls_logits"].float().softmax(-1),
            outputs["embeddings"],
        )
        centers, sizes, scores, class_probs, embeddings = (c.detach().float().cpu().numpy() for c in columns)
        frames = frame_indices.cpu().numpy()
        real = np.ones(frames.shape, dtype=bool) if padding_mask is None else ~padding_mask.cpu().numpy()
        boxes = np.concatenate([centers, sizes], axis=-1)
        clips = zip(real, frames, boxes, scores[..., 0], class_probs, embeddings, strict=True)
        return [cls(*(values[keep] for values in clip)) for keep, *clip in clips]


def window_starts(num_frames: int, length: int, overlap: int) -> range:
    """First frames of the windows that cover a video.

    They begin every ``length - overlap`` frames, as in a stream whose end is not known; the last may be shorter than
    `length`, but holds at least one frame that the window before it does not.

    Args:
        num_frames: length of the video.
        length: frames per window.
        overlap: frames that neighbouring windows share.

    Raises:
        ValueError: the windows would not advance.

    Example:
        >>> [(start, min(start + 8, 21)) for start in window_starts(21, length=8, overlap=2)]
        [(0, 8), (6, 14), (12, 20), (18, 21)]
    """
    if not 0 <= overlap < length:
        raise ValueError(f"windows of {length} frames can share 0 to {length - 1} of them, got {overlap}")
    return range(0, max(min(num_frames, 1), num_frames - overlap), length - overlap)
