"""All scores of many sequences: one row of fields each, and all of them combined."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import TYPE_CHECKING

from scene_model.metrics.clear import clear_fields, clear_fields_of_one, clear_sums
from scene_model.metrics.hota import hota_fields, hota_sums
from scene_model.metrics.identity import identity_fields, identity_sums
from scene_model.metrics.sequence import TrackedSequence
from scene_model.mot_text import FloatArray

if TYPE_CHECKING:
    from rich.table import Table

Sums = dict[str, FloatArray]
Scores = dict[str, dict[str, float]]

COMBINED = "COMBINED"
_PERCENTAGES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR")
_COUNTS = ("IDSW", "Frag", "MT", "ML", "CLR_FN", "CLR_FP")


def score(sequences: Iterable[tuple[str, TrackedSequence]]) -> Scores:
    """Scores sequences one by one and combined, in float64.

    Combining adds up what the fields are made of, over sequences and likewise over classes: TrackEval's combination of
    sequences and its detection-averaged combination of classes ("cls_comb_det_av") are this same sum. A name that comes
    several times, once per class, makes one row.

    Args:
        sequences: names, and what stands under them; at least one.

    Returns:
        Per name and, last, under "COMBINED": TrackEval's fields, and the number of frames as num_timesteps.
    """
    sums_of: dict[str, Sums] = {}
    lengths: dict[str, float] = {}
    for name, sequence in sequences:
        sums_of[name] = _add(sums_of.get(name, {}), _sums(sequence))
        lengths[name] = float(sequence.num_frames)
    scores = {
        name: _fields(sums) | clear_fields_of_one(sums) | {"num_timesteps": lengths[name]}
        for name, sums in sums_of.items()
    }
    combined = _fields(reduce(_add, sums_of.values()))
    return scores | {COMBINED: combined | {"num_timesteps": sum(lengths.values())}}


def scores_table(scores: Scores) -> Table:
    """A rich table of the best known fields, ratios in percent: a sequence per row, COMBINED last."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("sequence", no_wrap=True)
    for name in (*_PERCENTAGES, *_COUNTS):
        table.add_column(name.removeprefix("CLR_"), justify="right", no_wrap=True)
    for name, fields in scores.items():
        ratios = (f"{100 * fields[field]:.2f}" for field in _PERCENTAGES)
        counts = (f"{fields[field]:.0f}" for field in _COUNTS)
        if name == COMBINED:
            table.add_section()
        table.add_row(name, *ratios, *counts)
    return table


def _sums(sequence: TrackedSequence) -> Sums:
    return hota_sums(sequence) | clear_sums(sequence) | identity_sums(sequence)


def _add(first: Sums, second: Sums) -> Sums:
    return {name: first[name] + value if first else value for name, value in second.items()}


def _fields(sums: Sums) -> dict[str, float]:
    return hota_fields(sums) | clear_fields(sums) | identity_fields(sums)
