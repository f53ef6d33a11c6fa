"""A ground truth in MOTChallenge's text: what is wrong with it, and whose rules it follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scene_model.errors import UserError
from scene_model.mot_rules import MOT_CLASSES, Benchmark, ClassRules, class_rules
from scene_model.mot_text import MotTable, read_mot


def read_truth(path: Path, num_frames: int) -> MotTable:
    """Read a ground truth.

    Args:
        path: of the text.
        num_frames: of the sequence.

    Raises:
        UserError: a line is malformed, boxes are shares of the frame, or a conf lies between 0 and 1, which official
            scoring takes for 0.
    """
    table = read_mot(path, num_frames)
    if len(table) and table.boxes[:, 2:].max() <= 1:
        raise UserError(f"{path}: no box is larger than a pixel; columns 3 to 6 are pixels, not shares of the frame")
    unclear = (table.conf != 0) & (table.conf.astype(np.int64) == 0)
    if unclear.any():
        row = int(unclear.argmax())
        expected = "expected 1 in column 7 of a ground truth, or 0 for what is to be ignored"
        raise UserError(f"{path}: {expected}, found {table.conf[row]:g} ({_place(table, row)})")
    return table


def choose_rules(
    path: Path, sequence: str, table: MotTable, benchmark: Literal["auto"] | Benchmark, classes: Sequence[str] | None
) -> ClassRules:
    """The rules of a ground truth, by its columns and the names of its classes.

    Args:
        path: of the text; beside it, ``labels.txt`` may name the classes.
        sequence: name of the sequence.
        table: the ground truth.
        benchmark: whose rules apply, or "auto".
        classes: to detect; None: pedestrians.

    Raises:
        UserError: a class number has no name, or a class to detect is none of those named.
    """
    labels = path.with_name("labels.txt")
    names = _lines(labels) if labels.is_file() else MOT_CLASSES
    if benchmark == "auto":
        has_classes = labels.is_file() or _are_classes(table.classes)
        benchmark = _benchmark_of(sequence) if has_classes else "MOT15"
    unknown = ~_is_class(table.classes) | (table.classes > len(names))
    if benchmark != "MOT15" and unknown.any():
        row = int(unknown.argmax())
        expected = f"{benchmark} expects class numbers from 1 to {len(names)} in column 8"
        raise UserError(f"{path}: {expected}, found {table.classes[row]:g} ({_place(table, row)})")
    wanted = classes or [MOT_CLASSES[0]]
    if classes is None and benchmark != "MOT15" and wanted[0] not in names:
        example = f"--data.train.classes '[{names[0]}]' --data.val.classes '[{names[0]}]'"
        raise UserError(f"{labels}: names {', '.join(names)}; say which of them to learn, such as {example}")
    try:
        return class_rules(benchmark, wanted, names)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _place(table: MotTable, row: int) -> str:
    return f"frame {table.frames[row] + 1}, id {table.track_ids[row]}"


def _is_class(column: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the numbers in the class column can be one of a class."""
    return (column == np.rint(column)) & (column >= 1)


def _are_classes(column: NDArray[np.float64]) -> bool:
    """Whether the column holds classes: in most rows, or counted from 0 by mistake; MOT15 has metres there, or -1."""
    is_class = _is_class(column)
    return 2 * is_class.sum() >= len(column) or bool(is_class.any() and ((column == 0) | is_class).all())


def _benchmark_of(name: str) -> Benchmark:
    for benchmark in ("MOT16", "MOT17", "MOT20"):
        if name.upper().startswith(f"{benchmark}-"):
            return benchmark
    return "DanceTrack"


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").rstrip().splitlines()]
