"""MOTChallenge text: the one place where it is parsed, checked and written.

A row is ``frame,id,left,top,width,height[,conf[,class[,visibility[,...]]]]``, frames counted from 1, boxes in pixels.
Here and everywhere behind it frames are counted from 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from scene_model.errors import UserError
from scene_model.files import NewFile, file_errors
from scene_model.plain_numbers import parse_plain

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MIN_COLUMNS, _COLUMNS = 6, 9
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class MotTable:
    """The rows of a MOTChallenge file, in its order; what the last three columns mean is the benchmark's business.

    Args:
        frames: int64 ``[N]``, counted from 0.
        track_ids: int64 ``[N]``.
        boxes: float64 ``[N, 4]``, (left, top, width, height) in pixels.
        conf: float64 ``[N]``, a tracker's confidence; in ground truth 0 marks objects that are not to be considered.
        classes: float64 ``[N]``, class numbers; in MOT15 a world coordinate or -1.
        visibility: float64 ``[N]``, visible fraction of the object; in MOT15 a world coordinate or -1.
    """

    frames: IntArray
    track_ids: IntArray
    boxes: FloatArray
    conf: FloatArray
    classes: FloatArray
    visibility: FloatArray

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, keep: NDArray[np.bool_] | IntArray) -> MotTable:
        """The rows selected by a mask or by indices."""
        return MotTable(*(getattr(self, field.name)[keep] for field in fields(self)))

    @classmethod
    def of_tracks(
        cls,
        frames: IntArray,
        track_ids: IntArray,
        boxes: FloatArray,
        conf: FloatArray,
        classes: FloatArray | None = None,
    ) -> MotTable:
        """A tracker's output: visibility, and the class where it is not given, is -1, as the benchmarks ask for."""
        unknown = np.full(len(frames), -1.0)
        return cls(frames, track_ids, boxes, conf, unknown if classes is None else classes, unknown)

    @classmethod
    def joined(cls, tables: Sequence[MotTable]) -> MotTable:
        """The rows of at least one table, one table's after the other's."""
        return cls(*(np.concatenate([getattr(table, field.name) for table in tables]) for field in fields(cls)))


def read_mot(path: str | Path, num_frames: int | None = None, ground_truth: bool = True) -> MotTable:
    """Reads and checks a MOTChallenge file.

    Columns may be separated by commas or by white space; blank lines, trailing commas, Windows line ends and a byte
    order mark are accepted. Missing columns for confidence, class and visibility count as 1, further ones are left out.

    Args:
        path: the file.
        num_frames: length of the sequence, where it is known.
        ground_truth: True where boxes must have a positive size; a tracker's may be empty, but never negative.

    Raises:
        UserError: the file is missing or a row is malformed; the sentence names file, line and what was expected.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    text = content.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    numbers = parse_plain(text)
    if numbers is None or numbers.shape[1] < _MIN_COLUMNS:
        numbers = _parse_lines(text, path)
    rows = np.ones((len(numbers), _COLUMNS), order="F")  # whole columns are what everybody asks for
    rows[:, : numbers.shape[1]] = numbers[:, :_COLUMNS]
    problem = _find_problem(rows, num_frames, ground_truth)
    if problem is not None:
        index, sentence = problem
        raise UserError(f"{path}, line {_data_lines(text)[index][0]}: {sentence}")
    frames, track_ids = rows[:, 0].astype(np.int64) - 1, rows[:, 1].astype(np.int64)
    return MotTable(frames, track_ids, rows[:, 2:6], rows[:, 6], rows[:, 7], rows[:, 8])


def _parse_lines(text: bytes, path: Path) -> FloatArray:
    """Parses line by line whatever is accepted, and says what is wrong with the first line that is not."""
    lines = _data_lines(text)
    rows = np.ones((len(lines), _COLUMNS))
    for row, (number, line) in zip(rows, lines, strict=True):
        cells = [cell.strip() for cell in line.split(",")] if "," in line else line.split()
        if len(cells) < _MIN_COLUMNS:
            expected = f"at least {_MIN_COLUMNS} columns (frame,id,left,top,width,height)"
            raise UserError(f"{path}, line {number}: expected {expected}, found {len(cells)}")
        for column, cell in enumerate(cells[:_COLUMNS]):
            if not _NUMBER.fullmatch(cell):
                raise UserError(f"{path}, line {number}: expected a number in column {column + 1}, found {cell[:40]!r}")
            row[column] = float(cell)
    return rows


def _data_lines(text: bytes) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers in the file and without trailing separators."""
    lines = (line.rstrip(", \t") for line in text.decode("utf-8", errors="replace").split("\n"))
    return [(number, line) for number, line in enumerate(lines, start=1) if line]


def _find_problem(rows: FloatArray, num_frames: int | None, ground_truth: bool) -> tuple[int, str] | None:
    """The index of a row that breaks a rule, and the sentence that says which."""
    frame, track_id, smaller_side = rows[:, 0], rows[:, 1], rows[:, 4:6].min(axis=1)
    last_frame = np.inf if num_frames is None else num_frames
    too_small = smaller_side <= 0 if ground_truth else smaller_side < 0
    positive = "positive" if ground_truth else "non-negative"
    rules = (
        (~np.isfinite(rows).all(axis=1), "expected finite numbers"),
        (~_is_whole(frame) | (frame < 1), "expected in column 1 a whole frame number, 1 or more, found {0:.12g}"),
        (frame > last_frame, f"expected at most the {num_frames} frames of the sequence, found frame {{0:.12g}}"),
        (~_is_whole(track_id), "expected in column 2 a whole track id, found {1:.12g}"),
        (too_small, f"expected in columns 5 and 6 a {positive} width and height, found {{4:g}} and {{5:g}}"),
        (_is_repeated(frame, track_id), "expected an id once per frame, found id {1:.0f} again in frame {0:.0f}"),
    )
    for broken, sentence in rules:
        if broken.any():
            index = int(broken.argmax())
            return index, sentence.format(*rows[index])
    return None


def _is_whole(numbers: FloatArray) -> NDArray[np.bool_]:
    """Where a number is an integer that float64 tells apart from its neighbours."""
    whole: NDArray[np.bool_] = (numbers == np.rint(numbers)) & (np.abs(numbers) < 2**53)
    return whole


def _is_repeated(frame: FloatArray, track_id: FloatArray) -> NDArray[np.bool_]:
    """Where a (frame, id) pair stands that an earlier row holds already."""
    order = np.lexsort((track_id, frame))
    same = (np.diff(frame[order]) == 0) & (np.diff(track_id[order]) == 0)
    repeated = np.zeros(len(frame), dtype=bool)
    repeated[order[1:][same]] = True
    return repeated


class MotWriter:
    """Writes a MOTChallenge file piece by piece: a context manager, inside which `append` adds rows.

    The file appears under its name when the context ends, whole, and not at all when it ends with an exception.
    Numbers are written as the shortest decimals that read back as the same float64, so scores survive the round trip.

    Args:
        path: the file; its folder is made where it is missing.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> MotWriter:
        self._new = NewFile(self.path)
        with file_errors(self.path):
            self._file = self._new.part.open("w", encoding="ascii", newline="\n")
        return self

    def append(self, table: MotTable) -> None:
        """Adds rows ``frame,id,left,top,width,height,conf,class,visibility,-1``, frames counted from 1."""
        lines = []
        floats = np.column_stack([table.boxes, table.conf, table.classes, table.visibility]).astype(np.float64)
        for frame, track_id, row in zip(table.frames.tolist(), table.track_ids.tolist(), floats.tolist(), strict=True):
            numbers = ",".join(repr(number).removesuffix(".0") for number in row)
            lines.append(f"{frame + 1},{track_id},{numbers},-1\n")
        with file_errors(self.path):
            self._file.writelines(lines)

    def close(self) -> None:
        """Completes the file, which the end of the context then shows; no rows can follow."""
        with file_errors(self.path):
            self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._new:
            if kind is None:
                self.close()
                self._new.place()
            else:
                with suppress(UserError):  # what has gone wrong before is what matters
                    self.close()


def write_mot(path: str | Path, table: MotTable) -> None:
    """Writes a MOTChallenge file at once, in the way of `MotWriter`."""
    with MotWriter(path) as writer:
        writer.append(table)
