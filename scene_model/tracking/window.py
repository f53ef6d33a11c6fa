"""What the network says about one window of a video, and where windows begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scene_model.host import to_host
from scene_model.tracking.columns import BoolArray, FloatArray, IntArray


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
            outputs: what `SceneModel` returns, on any device; embeddings of an `IdentityHead` go before the decoder's.
            frame_indices: int64 ``[B, T]``, as in `SceneBatch`.
            padding_mask: bool ``[B, T]``, True on frames that are to be left out.
        """
        if padding_mask is None:
            padding_mask = torch.zeros(frame_indices.shape, dtype=torch.bool)
        class_probs = outputs["cls_logits"].detach().float().softmax(-1)
        look = "identity_embeddings" if "identity_embeddings" in outputs else "embeddings"
        names = ("bbox_center", "bbox_size", "exist_conf", look)
        tensors = to_host(*(outputs[name] for name in names), class_probs, padding_mask)
        centers, sizes, scores, embeddings, probs, is_padding = (tensor.numpy() for tensor in tensors)
        boxes = np.concatenate([centers, sizes], axis=-1)
        columns = (frame_indices.cpu().numpy(), boxes, scores[..., 0], probs, embeddings)
        return [cls(*clip)[keep] for keep, *clip in zip(is_padding == 0, *columns, strict=True)]


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
