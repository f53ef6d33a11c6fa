"""What a benchmark's annotation columns mean: which rows are objects, which are ignored, which do not exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scene_model.errors import UserError
from scene_model.mot_text import FloatArray, IntArray

Benchmark = Literal["MOT15", "MOT16", "MOT17", "MOT20", "DanceTrack"]

MOT_CLASSES = (
    "pedestrian",
    "person_on_vehicle",
    "car",
    "bicycle",
    "motorbike",
    "non_mot_vehicle",
    "static_person",
    "distractor",
    "occluder",
    "occluder_on_ground",
    "occluder_full",
    "reflection",
    "crowd",
)
"""The classes of MOT16, 17 and 20; their numbers in the files count from 1."""

_DISTRACTORS = ("person_on_vehicle", "static_person", "distractor", "reflection")


@dataclass(frozen=True)
class ClassRules:
    """Which rows of an annotation file count, by the numbers in its class column.

    Args:
        benchmark: whose rules these are.
        class_ids: numbers of the classes that count, in the order of the labels; none under MOT15, whose files have no
            class column and one class only.
        distractor_ids: numbers of the classes on which a prediction is neither right nor wrong.
    """

    benchmark: Benchmark
    class_ids: tuple[int, ...]
    distractor_ids: tuple[int, ...]

    def labels(self, classes: FloatArray) -> IntArray:
        """The label of each row by its class column ``[N]``: an index into the classes that count, or -1."""
        if self.benchmark == "MOT15":
            return np.zeros(len(classes), dtype=np.int64)
        matches = classes[:, None] == np.asarray(self.class_ids)
        return np.where(matches.any(axis=1), matches.argmax(axis=1), -1)


def class_rules(benchmark: Benchmark, classes: Sequence[str], names: Sequence[str] = MOT_CLASSES) -> ClassRules:
    """Finds the numbers of classes by name.

    Args:
        benchmark: whose rules apply.
        classes: names of the classes that count, in the order of the labels.
        names: the names behind the numbers 1, 2, ... of the class column.

    Raises:
        UserError: a class is not among the names or there twice, or MOT15, which has no class column, is asked for
            several.
    """
    if benchmark == "MOT15":
        if len(classes) != 1:
            raise UserError(f"MOT15 has no class column, so expected one name in `classes`, found {list(classes)}")
        return ClassRules(benchmark, (), ())
    if len(set(classes)) < len(classes):
        raise UserError(f"expected different names in `classes`, found {list(classes)}")
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise UserError(f"expected in `classes` only names out of {', '.join(names)}, found {unknown[0]!r}")
    distractors = (*_DISTRACTORS, "non_mot_vehicle") if benchmark == "MOT20" else _DISTRACTORS
    return ClassRules(
        benchmark,
        class_ids=tuple(names.index(name) + 1 for name in classes),
        distractor_ids=tuple(i for i, name in enumerate(names, 1) if name in distractors and name not in classes),
    )
