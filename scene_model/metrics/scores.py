"""All scores of many sequences: one row of fields each, and all of them combined.

What a field is made of adds up, over sequences and likewise over classes: TrackEval's combination of sequences and its
detection-averaged combination of classes ("cls_comb_det_av") are this same sum. So a sequence is scored once, to sums,
which are small and can be kept, sent between processes and combined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

from scene_model.errors import UserError
from scene_model.metrics.clear import clear_fields, clear_fields_of_one, clear_sums
from scene_model.metrics.hota import hota_fields, hota_sums
from scene_model.metrics.identity import identity_fields, identity_sums
from scene_model.metrics.sequence import TrackedSequence
from scene_model.mot_text import FloatArray

Sums = dict[str, FloatArray]
Scores = dict[str, dict[str, float]]

COMBINED = "COMBINED"


@dataclass
class SequenceSums:
    """What the scores of one sequence are made of.

    Args:
        num_frames: length of the sequence.
        by_class: the sums of each class, in the order of the labels.
    """

    num_frames: int
    by_class: list[Sums] = field(default_factory=list)

    def add(self, tracked: TrackedSequence) -> None:
        """Adds the next class."""
        self.by_class.append(hota_sums(tracked) | clear_sums(tracked) | identity_sums(tracked))


def score(sequences: Iterable[tuple[str, TrackedSequence]], class_names: Sequence[str] = ()) -> Scores:
    """Scores sequences one by one and combined, in float64.

    Args:
        sequences: names, and what stands under them; at least one. A name that comes several times, once per class,
            makes one row.
        class_names: names of these classes; of several, each gets a row.

    Returns:
        Per name and, last, under "COMBINED": TrackEval's fields, and the number of frames as num_timesteps. Before
        "COMBINED" also each class of several over all sequences, under "COMBINED:<class name>".

    Raises:
        UserError: a sequence is called as these rows are.
    """
    sums: dict[str, SequenceSums] = {}
    for name, tracked in sequences:
        check_name(name)
        sums.setdefault(name, SequenceSums(tracked.num_frames)).add(tracked)
    return combine(sums, class_names)


def is_combined(name: str) -> bool:
    """Whether a row of this name is not of one sequence, but of all of them."""
    return name.split(":")[0] == COMBINED


def check_name(name: str) -> None:
    """Keeps sequences out of the rows that are of all of them.

    Raises:
        UserError: a sequence is called as these rows are.
    """
    if is_combined(name):
        raise UserError(f"{name}: no sequence can be scored under this name, it means all of them; rename the sequence")


def combine(sequences: Mapping[str, SequenceSums], class_names: Sequence[str] = ()) -> Scores:
    """The fields of sequences, and of all of them together.

    Args:
        sequences: the sums of at least one sequence, by name.
        class_names: names of the classes that were added to each; of several, each gets a row.

    Returns:
        As `score`.

    Raises:
        UserError: a sequence is called as the rows of all of them.
    """
    for name in sequences:
        check_name(name)
    totals = {name: reduce(_add, sums.by_class) for name, sums in sequences.items()}
    num_frames = {name: float(sums.num_frames) for name, sums in sequences.items()}
    scores = {
        name: _fields(total) | clear_fields_of_one(total) | {"num_timesteps": num_frames[name]}
        for name, total in totals.items()
    }
    groups = {COMBINED: list(totals.values())}
    if len(class_names) > 1:
        by_class = zip(*(sums.by_class for sums in sequences.values()), strict=True)
        groups = {f"{COMBINED}:{name}": list(sums) for name, sums in zip(class_names, by_class, strict=True)} | groups
    length = {"num_timesteps": sum(num_frames.values())}
    return scores | {name: _fields(reduce(_add, sums)) | length for name, sums in groups.items()}


def _add(first: Sums, second: Sums) -> Sums:
    return {name: first[name] + value for name, value in second.items()}


def _fields(sums: Sums) -> dict[str, float]:
    return hota_fields(sums) | clear_fields(sums) | identity_fields(sums)
