"""Sequences in MOTChallenge layout: MOT15, 16, 17, 20, DanceTrack, and what annotation tools export in their manner."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.image_files import FrameCache, read_image, scaled_to
from datamodules.mot_folder import SequenceFolder, find_sequences, read_folder
from datamodules.mot_truth import choose_rules, read_truth
from datamodules.source import Source
from scene_model.batch import SequenceInfo, SequenceTruth, TargetFrame
from scene_model.errors import UserError
from scene_model.mot_rules import MOT_CLASSES, Benchmark, ClassRules
from scene_model.mot_text import IntArray, MotTable


class MOTChallenge(Source):
    """One sequence folder in MOTChallenge layout, or a folder of them.

    A sequence holds ``img1/000001.jpg, ...`` (jpg or png) and ``gt/gt.txt``. ``seqinfo.ini`` is optional: what it does
    not say comes from the images (and 30 frames per second), what it says must agree with the first of them; those of
    another size are scaled, with a warning. Where ``gt/labels.txt`` names the classes, one per line, as CVAT's export
    "MOT 1.1" does, those names hold instead of MOTChallenge's.

    Objects of `classes` are targets. Those with conf 0 and the benchmark's distractors (people on vehicles, static
    people, reflections, ...) are targets with ``ignore`` set, labelled 0 where their own class does not count; other
    rows are left out. MOT16 and 17 set conf to 0 on every class but the pedestrian. Boxes are clipped to the frame,
    those outside it are left out.

    Args:
        root: a sequence folder, a folder of sequence folders, or a folder of splits that hold them.
        frame_range: first and last frame to use, of each sequence, counted from 1; null uses all.
        classes: names of the classes to detect, in the order of the labels; null means pedestrians only.
        rules: the benchmark whose columns and ignore rules apply. "auto" decides per sequence: MOT15 where the class
            column holds no class numbers, else by the beginning of the folder's name (MOT16-, MOT17-, MOT20-), else
            DanceTrack.
        require_annotations: false accepts sequences without gt/gt.txt and gives them empty targets.
        cache_bytes: memory for decoded frames, over all workers of a DataLoader together; 0 decodes each time.
    """

    def __init__(
        self,
        root: str = "",
        frame_range: tuple[int, int] | None = None,
        classes: list[str] | None = None,
        rules: Literal["auto", Benchmark] = "auto",
        require_annotations: bool = True,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        self.root = root
        self.frame_range = frame_range
        self.classes = classes
        self.rules = rules
        self.require_annotations = require_annotations
        self.cache_bytes = cache_bytes
        self._cache = FrameCache(cache_bytes)
        self._told_of_sizes: set[int] = set()

    @property
    def class_names(self) -> list[str]:  # noqa: D102
        return self.classes or [MOT_CLASSES[0]]

    def sequences(self) -> list[SequenceInfo]:  # noqa: D102
        return [sequence.info for sequence in self._sequences]

    def frame(self, sequence: int, index: int) -> Tensor:
        """Frame `index` (0-based): uint8 ``[3, H, W]``, RGB, shared with the cache: not to be changed in place.

        Raises:
            UserError: the image is damaged.
        """
        return self._cache.get((sequence, index), lambda: self._read_frame(sequence, index))

    def _read_frame(self, sequence: int, index: int) -> Tensor:
        source = self._sequences[sequence]
        path, size = source.folder.image(source.first + index), (source.info.height, source.info.width)
        frame = read_image(path)
        if frame.shape[1:] == size:
            return frame
        if sequence not in self._told_of_sizes:
            self._told_of_sizes.add(sequence)
            warnings.warn(
                f"{path}: expected {size[1]}x{size[0]} pixels as before, found {frame.shape[2]}x{frame.shape[1]}; such "
                "frames are scaled, and their boxes taken to be in the pixels of the others",
                stacklevel=2,
            )
        return scaled_to(frame, size)

    def targets(self, sequence: int, index: int) -> TargetFrame:  # noqa: D102
        return self._sequences[sequence].objects.frame(index)

    def truth(self, sequence: int) -> SequenceTruth | None:
        """The rows of gt/gt.txt within `frame_range`, as they are, frames counted from 0 at its start."""
        found = self._sequences[sequence]
        return SequenceTruth(found.table, found.rules) if found.folder.annotations.is_file() else None

    def origin(self, sequence: int) -> tuple[str, range]:
        """The folder of the images, and `frame_range`."""
        found = self._sequences[sequence]
        return os.path.realpath(found.folder.images), range(found.first, found.first + found.info.num_frames)

    @cached_property
    def _sequences(self) -> list[_Sequence]:
        sequences = [self._read(read_folder(path)) for path in find_sequences(self.root)]
        self._warn_of_absent_classes(sequences)
        return sequences

    def _warn_of_absent_classes(self, sequences: list[_Sequence]) -> None:
        if not any(len(s.table) for s in sequences) and any(s.folder.annotations.is_file() for s in sequences):
            found = "no box in gt/gt.txt for the frames that are used, so there is nothing to learn or to score"
            warnings.warn(f"{self.root}: {found}", stacklevel=2)
        for label, name in enumerate(self.class_names):
            ignored = np.concatenate([(s.table.conf == 0)[s.rules.labels(s.table.classes) == label] for s in sequences])
            if not len(ignored) and any(len(s.table) for s in sequences):
                numbers = ", ".join(f"{n:g}" for n in np.unique(np.concatenate([s.table.classes for s in sequences])))
                warnings.warn(
                    f"{self.root}: no box is a {name}, so it is neither learnt nor scored; the class "
                    f"numbers, column 8, are {numbers}, which gt/labels.txt can name",
                    stacklevel=2,
                )
            if len(ignored) and ignored.all():
                warnings.warn(
                    f"{self.root}: all {len(ignored)} boxes of {name} are to be ignored, so it is neither learnt nor "
                    "scored; MOT16 and MOT17 set conf, column 7, to 0 for every class but the pedestrian",
                    stacklevel=2,
                )

    def _read(self, folder: SequenceFolder) -> _Sequence:
        first, last = self._range_within(folder.info)
        table = self._read_table(folder)
        rules = choose_rules(folder.annotations, folder.path.name, table, self.rules, self.classes)
        table = table[(first <= table.frames) & (table.frames < last)]
        table = replace(table, frames=table.frames - first)
        info = replace(folder.info, num_frames=last - first, first_frame=first + 1)
        return _Sequence(folder, info, first, table, rules, _Objects.pack(table, rules, info))

    def _range_within(self, info: SequenceInfo) -> tuple[int, int]:
        """`frame_range` counted from 0, its end excluded."""
        first, last = self.frame_range or (1, info.num_frames)
        if not 1 <= first <= last <= info.num_frames:
            expected = f"expected a frame_range [first, last] within the frames 1 to {info.num_frames} of {info.name}"
            raise UserError(f"{self.root}: {expected}, found [{first}, {last}]")
        return first - 1, last

    def _read_table(self, folder: SequenceFolder) -> MotTable:
        if folder.annotations.is_file():
            return read_truth(folder.annotations, folder.info.num_frames)
        if self.require_annotations:
            raise UserError(
                f"{folder.annotations}: expected annotations, found no file; choose a folder where all sequences "
                "have them (with require_annotations: false those without count as empty of objects)"
            )
        nothing = np.zeros(0)
        return MotTable(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), nothing, nothing, nothing)


@dataclass(frozen=True)
class _Sequence:
    folder: SequenceFolder
    info: SequenceInfo
    first: int
    table: MotTable
    rules: ClassRules
    objects: _Objects


@dataclass(frozen=True)
class _Objects:
    """The targets of a whole sequence in flat arrays: frame i has the rows ``offsets[i]:offsets[i + 1]``."""

    offsets: IntArray
    boxes: NDArray[np.float32]
    labels: IntArray
    track_ids: IntArray
    ignore: NDArray[np.bool_]

    @classmethod
    def pack(cls, table: MotTable, rules: ClassRules, info: SequenceInfo) -> _Objects:
        labels = rules.labels(table.classes)
        distractor = np.isin(table.classes, rules.distractor_ids)
        size = np.array([info.width, info.height])
        top_left = (table.boxes[:, :2] / size).clip(0, 1)
        bottom_right = ((table.boxes[:, :2] + table.boxes[:, 2:]) / size).clip(0, 1)
        boxes = np.concatenate([(top_left + bottom_right) / 2, bottom_right - top_left], axis=1)
        keep = ((labels >= 0) | distractor) & (boxes[:, 2:] > 0).all(axis=1)
        rows = np.flatnonzero(keep)[np.argsort(table.frames[keep], kind="stable")]
        return cls(
            offsets=np.searchsorted(table.frames[rows], np.arange(info.num_frames + 1)),
            boxes=boxes[rows].astype(np.float32),
            labels=labels[rows].clip(min=0),
            track_ids=table.track_ids[rows],
            ignore=distractor[rows] | (table.conf[rows] == 0),
        )

    def frame(self, index: int) -> TargetFrame:
        rows = slice(self.offsets[index], self.offsets[index + 1])
        columns = (self.boxes, self.labels, self.track_ids, self.ignore)
        return TargetFrame(*(torch.from_numpy(column[rows].copy()) for column in columns))
