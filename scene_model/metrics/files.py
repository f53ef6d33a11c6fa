"""Sequences to score from MOTChallenge text files."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scene_model.errors import UserError
from scene_model.metrics.rules import apply_rules
from scene_model.metrics.sequence import TrackedSequence
from scene_model.mot_rules import Benchmark, class_rules
from scene_model.mot_text import MotTable, read_mot


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
    pairs: list[FilePair], num_frames: int | None = None, benchmark: Benchmark | None = None
) -> Iterator[tuple[str, TrackedSequence]]:
    """Reads, one after another, what `score` scores; the two files of a pair are read at the same time.

    Args:
        pairs: the files.
        num_frames: length of each sequence; None: up to the last frame that holds a box.
        benchmark: whose rules say what is left out before scoring pedestrians; None: nothing is.

    Raises:
        UserError: a file is malformed.
    """
    with ThreadPoolExecutor(max_workers=2) as readers:
        for pair in pairs:
            reading = readers.submit(read_mot, pair.tracker, num_frames, ground_truth=False)
            truth = read_mot(pair.truth, num_frames)
            tracker = reading.result()
            if benchmark is not None:
                truth, tracker = _pedestrians(pair.name, truth, tracker, benchmark)
            yield pair.name, TrackedSequence.of(truth, tracker, num_frames)


def _pedestrians(name: str, truth: MotTable, tracker: MotTable, benchmark: Benchmark) -> tuple[MotTable, MotTable]:
    try:
        return apply_rules(truth, tracker, class_rules(benchmark, ["pedestrian"]))
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
