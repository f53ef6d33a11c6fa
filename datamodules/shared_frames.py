"""Frames that are trained on and validated on as well."""

from __future__ import annotations

from collections.abc import Iterator

from lightning.pytorch.utilities import rank_zero_warn

from datamodules.source import Source
from scene_model.batch import SequenceInfo


def warn_of_shared_frames(train: Source, val: Source) -> None:
    """Says of each validation sequence which of its frames are trained on."""
    for info, frames in shared_frames(train, val):
        rank_zero_warn(
            f"data.val: {info.name}: frames {frames[0] + 1} to {frames[-1] + 1} are trained on as well, so scores "
            "of them say nothing of other videos; give training and validation frames of their own"
        )


def shared_frames(one: Source, other: Source) -> Iterator[tuple[SequenceInfo, range]]:
    """The sequences of `other` that have frames of `one`, and which, counted from 0 in what both are taken from."""
    taken: dict[str, list[range]] = {}
    for number in range(len(one.sequences())):
        origin = one.origin(number)
        if origin is not None:
            taken.setdefault(origin[0], []).append(origin[1])
    for number, info in enumerate(other.sequences()):
        place, frames = other.origin(number) or ("", range(0))
        for trained in taken.get(place, ()):
            both = range(max(trained.start, frames.start), min(trained.stop, frames.stop))
            if both:
                yield info, both
