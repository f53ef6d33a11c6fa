"""Video files, written frame by frame."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from scene_model.errors import UserError
from scene_model.files import NewFile, file_errors
from scene_model.optional import require

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_MIN_FPS, _MAX_FPS, _UNKNOWN_FPS = 0.1, 240.0, 25
_MAX_TIME_BASE = 65535  # of MPEG-4
_MAX_THREADS = 4  # each keeps frames of its own
# Colors are converted by the rule of standard definition, which players must be told of.
_COLORS = {"colorspace": "smpte170m", "color_range": "tv"}
_X264 = {"preset": "veryfast", "crf": "23"}
_MPEG4 = {"flags": "+qscale", "global_quality": str(4 * 118)}
_MAX_SIDES = {"libx264": 16384, "mpeg4": 8190}  # in pixels, even


def require_pyav() -> None:
    """Checks that PyAV is installed.

    Raises:
        UserError: it is not.
    """
    require("av", "writing video files", "video")


class VideoEncoder:
    """Writes an mp4 file: a context manager, inside which `write` adds frames.

    The file appears under its name when the context ends, whole, and not at all when it ends with an exception or holds
    no frame. It is H.264, or MPEG-4 Part 2 where this build of PyAV has no libx264. Of odd sides, which neither can
    hold, the last row or column is doubled; frames larger than either can hold are shown smaller.

    Args:
        path: the file; its folder is made where it is missing.
        size: (height, width) of the frames in pixels.
        fps: frames per second; what no player could show is brought into bounds.

    Raises:
        UserError: PyAV is missing, or the file cannot be written.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], fps: float) -> None:
        self.path = Path(path)
        self._size, self._rate = size, frame_rate(fps)
        self._num_frames = 0
        self._is_closed = False

    def __enter__(self) -> VideoEncoder:
        require_pyav()
        import av

        self._av = av
        self._new = NewFile(self.path)
        with ExitStack() as stack, self._errors():
            stack.enter_context(self._new)
            self._container = av.open(str(self._new.part), "w", format="mp4")
            self._stream = self._add_stream()
            stack.pop_all()
        return self

    def _add_stream(self) -> VideoStream:
        codec = "libx264" if "libx264" in self._av.codecs_available else "mpeg4"
        options = (_X264 if codec == "libx264" else _MPEG4) | _COLORS
        stream = cast("VideoStream", self._container.add_stream(codec, rate=self._rate, options=options))
        stream.height, stream.width = video_size(self._size, _MAX_SIDES[codec])
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
        return stream

    def write(self, picture: NDArray[np.uint8]) -> None:
        """Adds a frame: uint8 ``[h, w, 3]``, RGB."""
        height, width, _ = picture.shape
        if height % 2 or width % 2:
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = self._num_frames
        self._num_frames += 1
        with self._errors():
            self._container.mux(self._stream.encode(frame))  # which also brings it to the video's size

    def close(self) -> None:
        """Completes the file, which the end of the context then shows; no frames can follow."""
        if self._is_closed or not self._num_frames:
            return
        with self._errors():
            self._container.mux(self._stream.encode())  # the frames that the encoder has kept back
            self._container.close()
        self._is_closed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._new:
            if kind is None and self._num_frames:
                self.close()
                self._new.place()
            else:
                with suppress(Exception):  # what has gone wrong before is what matters
                    self._container.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns what the system or the encoder refuses into one sentence."""
        try:
            with file_errors(self.path):
                yield
        except self._av.error.FFmpegError as error:
            sentence = f"the encoder refuses it ({error.strerror}), --tracks.video false writes text alone"
            raise UserError(f"{self.path}: {sentence}") from error


def video_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """(height, width) of a video for frames of a size, both even and at most `max_side`, in the same proportion.

    >>> video_size((480, 641), 16384), video_size((64, 32768), 16384)
    ((480, 642), (32, 16384))
    """
    longest = max(*size, max_side)
    height, width = (2 * math.ceil(Fraction(side * max_side, 2 * longest)) for side in size)
    return height, width


def frame_rate(fps: float) -> Fraction:
    """Frames per second as a fraction that video files can hold.

    >>> frame_rate(29.97002997), frame_rate(7), frame_rate(0), frame_rate(1e6)
    (Fraction(30000, 1001), Fraction(7, 1), Fraction(25, 1), Fraction(240, 1))
    """
    if not math.isfinite(fps) or fps <= 0:
        return Fraction(_UNKNOWN_FPS)
    bounded = min(max(fps, _MIN_FPS), _MAX_FPS)
    return Fraction(bounded).limit_denominator(min(1001, int(_MAX_TIME_BASE / bounded)))
