"""Sequences to score from MOTChallenge text files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from scene_model.errors import UserError
from scene_model.metrics.rules import apply_rules, apply_rules_per_class
from scene_model.metrics.sequence import TrackedSequence
from scene_model.mot_rules import Benchmark, ClassRules, class_rules
from scene_model.mot_text import MotTable, read_mot

_MOST_FRAMES = 10_000_000  # four days at 30 frames per second

Tables = tuple[MotTable, MotTable]
SplitClasses = Callable[[MotTable, MotTable], Iterable[Tables]]


@dataclass(frozen=True)
class FilePair:
    """A ground truth file and the tracker's file for the same sequence."""

    name: str
    truth: Path
    tracker: Path


def pair_files(truth: Path, tracker: Path) -> tuple[list[FilePair], list[Path]]:
    """Pairs two files, or the same-named ``.txt`` files of two folders.

    Returns:
        The pairs by name, and the tracker's files for which there is no ground truth.

    Raises:
        UserError: a path is missing, one is a file and the other a folder, or a tracker's file is missing.
    """
    for path in (truth, tracker):
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
    if truth.is_dir() != tracker.is_dir():
        raise UserError(f"{truth} and {tracker}: expected two files or two folders, found one of each")
    if not truth.is_dir():
        return [FilePair(truth.stem, truth, tracker)], []
    names = {path.name for path in truth.glob("*.txt")}
    if not names:
        raise UserError(f"{truth}: expected ground truth files named *.txt, found none")
    pairs = [FilePair(Path(name).stem, truth / name, tracker / name) for name in sorted(names)]
    missing = [str(pair.tracker) for pair in pairs if not pair.tracker.is_file()]
    if missing:
        raise UserError(f"{', '.join(missing)}: no such file, though {truth} has a ground truth of that name")
    return pairs, sorted(path for path in tracker.glob("*.txt") if path.name not in names)


def read_sequences(
    pairs: list[FilePair], num_frames: int | None = None, split: SplitClasses | None = None
) -> Iterator[tuple[str, TrackedSequence]]:
    """Reads, one after another, what `score` scores; the two files of a pair are read at the same time.

    Args:
        pairs: the files.
        num_frames: length of each sequence; None: up to the last frame that holds a box.
        split: what is scored of a ground truth and a tracker's rows, class by class; None: all of it, as one class.

    Raises:
        UserError: a file is malformed, or has a class that it cannot have, or frames without end.
    """
    with ThreadPoolExecutor(max_workers=2) as readers:
        for pair in pairs:
            reading = readers.submit(read_mot, pair.tracker, num_frames, ground_truth=False)
            truth = read_mot(pair.truth, num_frames)
            tracker = reading.result()
            length = num_frames or _length_of_all({pair.truth: truth, pair.tracker: tracker})
            try:
                for tables in [(truth, tracker)] if split is None else split(truth, tracker):
                    yield pair.name, TrackedSequence.of(*tables, length)
            except UserError as error:
                raise UserError(f"{pair.name}: {error}") from error


def split_classes(benchmark: Benchmark | None, classes: Sequence[str] | None) -> SplitClasses | None:
    """How `read_sequences` tells classes apart.

    Args:
        benchmark: whose rules say what is left out, and which numbers the ground truth has for classes.
        classes: names of the labels, by which a tracker counts classes from 1; so does the ground truth where there is
            no benchmark. None: pedestrians alone, under their number in the benchmark; without one, nothing is told
            apart.

    Raises:
        UserError: the benchmark has no such class, or a name comes twice.
    """
    if classes is None:
        return None if benchmark is None else partial(_pedestrians, class_rules(benchmark, ["pedestrian"]))
    repeated = next((name for name in classes if classes.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f"expected in `classes` each name once, found {repeated!r} again")
    rules = class_rules("DanceTrack", classes, names=classes) if benchmark is None else class_rules(benchmark, classes)
    return partial(_labelled, rules, len(classes))


def _pedestrians(rules: ClassRules, truth: MotTable, tracker: MotTable) -> list[Tables]:
    return [apply_rules(truth, tracker, rules)]


def _labelled(rules: ClassRules, num_classes: int, truth: MotTable, tracker: MotTable) -> Iterator[Tables]:
    strange = tracker.classes[~np.isin(tracker.classes, np.arange(num_classes) + 1)]
    if len(strange):
        raise UserError(f"tracker: expected in column 8 a class from 1 to {num_classes}, found {strange[0]:g}")
    yield from apply_rules_per_class(truth, tracker, rules)


def _length_of_all(tables: Mapping[Path, MotTable]) -> int:
    length = 0
    for path, table in tables.items():
        length = max(length, int(table.frames.max(initial=-1)) + 1)
        if length > _MOST_FRAMES:
            expected = f"expected frames to be counted from 1, in column 1, up to {_MOST_FRAMES} of them"
            raise UserError(f"{path}: {expected}, found {length}; num_frames says that it is meant")
    return length
