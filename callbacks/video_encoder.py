"""Video files, written frame by frame."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType

import numpy as np
from numpy.typing import NDArray

from scene_model.errors import UserError

_MIN_FPS, _MAX_FPS, _UNKNOWN_FPS = 0.1, 240.0, 25
_MAX_TIME_BASE = 65535  # of MPEG-4
_MAX_THREADS = 4  # each keeps frames of its own
# Colors are converted by the rule of standard definition, which players must be told of.
_COLORS = {"colorspace": "smpte170m", "color_range": "tv"}
_X264 = {"preset": "veryfast", "crf": "23"}
_MPEG4 = {"flags": "+qscale", "global_quality": str(4 * 118)}


def import_pyav() -> ModuleType:
    """PyAV, which is needed for videos only.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(f"videos need PyAV ({error}): pip install -e '.[video]'") from error
    return av


class VideoEncoder:
    """Writes an mp4 file: a context manager, inside which `write` adds frames.

    The file appears under its name when the context ends, whole, and not at all when it ends with an exception or holds
    no frame. It is H.264, or MPEG-4 Part 2 where this build of PyAV has no libx264. Of odd sides, which neither can
    hold, the last row or column is doubled.

    Args:
        path: the file; its folder is made where it is missing.
        size: (height, width) of the frames in pixels.
        fps: frames per second; what no player could show is brought into bounds.

    Raises:
        UserError: PyAV is missing, or the file cannot be written.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], fps: float) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._size, self._rate = size, frame_rate(fps)
        self._num_frames = 0

    def __enter__(self) -> VideoEncoder:
        self._av = import_pyav()
        has_x264 = "libx264" in self._av.codecs_available
        with file_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = self._av.open(str(self._part), "w", format="mp4")
        codec, options = ("libx264", _X264) if has_x264 else ("mpeg4", _MPEG4)
        self._stream = self._container.add_stream(codec, rate=self._rate, options=options | _COLORS)
        self._stream.height, self._stream.width = (side + side % 2 for side in self._size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
        return self

    def write(self, picture: NDArray[np.uint8]) -> None:
        """Adds a frame: uint8 ``[h, w, 3]``, RGB."""
        height, width, _ = picture.shape
        if height % 2 or width % 2:
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = self._num_frames
        self._num_frames += 1
        with file_errors(self.path):
            self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._num_frames:
                self._complete()
            else:
                with suppress(Exception):  # what has gone wrong before is what matters
                    self._container.close()
        finally:
            self._part.unlink(missing_ok=True)

    def _complete(self) -> None:
        with file_errors(self.path):
            self._container.mux(self._stream.encode())  # the frames that the encoder has kept back
            self._container.close()
            os.replace(self._part, self.path)


def frame_rate(fps: float) -> Fraction:
    """Frames per second as a fraction that video files can hold.

    >>> frame_rate(29.97002997), frame_rate(7), frame_rate(0), frame_rate(1e6)
    (Fraction(30000, 1001), Fraction(7, 1), Fraction(25, 1), Fraction(240, 1))
    """
    if not math.isfinite(fps) or fps <= 0:
        return Fraction(_UNKNOWN_FPS)
    bounded = min(max(fps, _MIN_FPS), _MAX_FPS)
    return Fraction(bounded).limit_denominator(min(1001, int(_MAX_TIME_BASE / bounded)))


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turns a full disk, missing permissions and the like into one sentence.

    Raises:
        UserError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
