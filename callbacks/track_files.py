"""The files that hold a video's tracks."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from torch import Tensor

from callbacks.annotation import Annotator, Picture
from callbacks.input_files import InputFiles
from callbacks.video_encoder import VideoEncoder
from scene_model.batch import SequenceInfo
from scene_model.errors import UserError
from scene_model.mot_text import MotTable, MotWriter


class TrackFiles:
    """``<name>.txt``, the tracks of a video in MOTChallenge format, and ``<name>.mp4``, its frames with them drawn on.

    Both are hidden until `finish` renames them, over older ones of these names; `discard` leaves nothing of them.

    Args:
        folder: where they go.
        sequence: the video.
        annotator: what draws; None: text only.
        inputs: files that stay as they are.

    Raises:
        UserError: the video's name is none for a file, or the files cannot be written.
    """

    def __init__(self, folder: Path, sequence: SequenceInfo, annotator: Annotator | None, inputs: InputFiles) -> None:
        name = _file_name(sequence.name)
        self._annotator = annotator
        self._inputs = inputs
        with ExitStack() as stack:
            self._text = stack.enter_context(MotWriter(folder / f"{name}.txt"))
            self._files: list[MotWriter | VideoEncoder] = [self._text]
            if annotator is not None:
                size = (sequence.height, sequence.width)
                self._last_picture: Picture = np.zeros((*size, 3), dtype=np.uint8)
                self._video = stack.enter_context(VideoEncoder(folder / f"{name}.mp4", size, sequence.fps))
                self._files.append(self._video)
            self._open_files = stack.pop_all()

    @property
    def has_video(self) -> bool:
        """Whether frames are drawn."""
        return self._annotator is not None

    def append(self, table: MotTable) -> None:
        """Adds rows to the text."""
        self._text.append(table)

    def show(self, frame: Tensor | None, number: int, rows: MotTable) -> None:
        """Adds a frame to the video; in place of one that could not be read, the last picture once more.

        Args:
            frame: uint8 ``[3, h, w]`` on the CPU.
            number: of the frame in the video.
            rows: its tracks.
        """
        assert self._annotator is not None
        if frame is not None:
            self._last_picture = self._annotator.draw(frame, number, rows)
        self._video.write(self._last_picture)

    def finish(self) -> None:
        """Puts the files in their places, once both are complete.

        Raises:
            UserError: a file cannot be written, or stands in the place of an input.
        """
        for file in self._files:
            file.close()
        for file in self._files:
            self._inputs.check(file.path)
        self._open_files.close()

    def discard(self) -> None:
        """Removes what is not in its place."""
        with suppress(_UnfinishedError), self._open_files:
            raise _UnfinishedError


class _UnfinishedError(Exception):
    """Makes the files' contexts end as unfinished ones."""


def _file_name(name: str) -> str:
    if name in ("", "..") or "\0" in name or name != Path(name).name:
        raise UserError(f"tracks: the video's name {name!r} was expected to be that of a file, without a folder")
    return name
