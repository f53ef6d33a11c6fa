"""Video files as footage, decoded by PyAV, the optional extra [video]."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from datamodules.footage import DEFAULT_FPS, Footage
from scene_model.batch import SequenceInfo
from scene_model.errors import UserError
from scene_model.optional import require

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    }
)
"""What files in a folder end in that are taken for videos."""

_MAX_FPS = 1000
_DURATION_IN_HEADER = frozenset({"asf", "flv", "matroska,webm"})  # of others it is guessed from what is there
_LIKELY = 0.95  # share of its duration that a whole video lasts at least
_NUM_THREADS = 4  # as many frames are in memory, and may be lost with damage at the very end


class VideoFile(Footage):
    """A video file, turned upright as players do. Damage costs the frames that it hits, and no more."""

    @classmethod
    def open(cls, path: Path, name: str) -> VideoFile:
        """Reads the header and decodes the first frame.

        Raises:
            UserError: PyAV is missing, or the file cannot be read or is no video.
        """
        with _opened(path) as (container, stream):
            fps = _fps(stream)
            num_frames = stream.frames or round(_duration(container, stream) * fps)
            frames = (frame for packet in _packets(container, stream) for frame in _decode(stream, packet))
            first = next(filter(None, frames), None)
            if first is None:
                raise UserError(f"{path}: expected a video, found not one frame that can be decoded")
            height, width = _picture(first).shape[1:]
        return cls(path, SequenceInfo(name, num_frames, height, width, fps))

    def read(self) -> Iterator[Tensor | None]:
        """See `Footage.read`; warns of a video that is shorter than its header says."""
        with _opened(self.path) as (container, stream):
            extent = _Extent()
            for packet in _packets(container, stream):
                if packet is not None:
                    extent.add(packet)
                for frame in _decode(stream, packet):
                    yield None if frame is None else _picture(frame)
            shortfall = extent.shortfall(container, stream)
        if shortfall:
            warnings.warn(f"{self.path}: {shortfall}", stacklevel=2)


@dataclass
class _Extent:
    """How many packets of a stream there were, and from when to when they last in seconds, in any order."""

    count: int = 0
    begin: float = math.inf
    end: float = -math.inf

    def add(self, packet: Packet[VideoStream]) -> None:
        self.count += 1
        if packet.pts is not None and packet.time_base:
            tick = float(packet.time_base)
            self.begin = min(self.begin, packet.pts * tick)
            self.end = max(self.end, (packet.pts + (packet.duration or 0)) * tick)

    def shortfall(self, container: InputContainer, stream: VideoStream) -> str | None:
        """What is missing of what the header says. Rates say nothing of counts: they may vary."""
        announced, seconds = _duration(container, stream), self.end - self.begin
        if self.count < stream.frames:
            found = f"found {self.count} of the {stream.frames} frames that its header announces"
            return f"{found}: the others are damaged, cut off, or were never recorded"
        if container.format.name in _DURATION_IN_HEADER and seconds < _LIKELY * announced:
            found = f"ends after {max(seconds, 0):.1f} of the {announced:.1f} seconds that its header announces"
            return f"{found}: it seems to be damaged or cut off"
        return None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file and the main video in it."""
    require("av", "reading video files", "video")
    import av

    any_text: dict[str, Any] = {"metadata_errors": "replace"}
    if int(av.__version__.split(".")[0]) >= 19:  # which takes text in any encoding by itself
        any_text = {}
    try:
        container = av.open(str(path), "r", **any_text)
    except av.error.FFmpegError as error:
        raise UserError(f"{path}: cannot be read as a video ({error.strerror})") from error
    with container:
        stream = container.streams.best("video")  # rather than a cover picture
        if stream is None or container.format.name == "tty":  # which draws any text
            raise UserError(f"{path}: expected a video, found a file without pictures")
        stream.thread_type, stream.thread_count = "AUTO", _NUM_THREADS
        yield container, stream


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream] | None]:
    """The packets of a stream, then None, which asks the decoder for the frames that it has kept back.

    Behind damage, reading goes on for as long as anything comes.
    """
    from av.error import FFmpegError

    at_end = False
    while not at_end:
        at_end = True
        try:
            for packet in container.demux(stream):
                if packet.size:  # PyAV adds an empty one at the end
                    at_end = False
                    yield packet
            at_end = True
        except FFmpegError:
            pass
    yield None


def _decode(stream: VideoStream, packet: Packet[VideoStream] | None) -> list[VideoFrame] | list[None]:
    """The frames that are complete with a packet, in the order of their display; None for what is damaged."""
    from av.error import FFmpegError

    try:
        return stream.decode(packet)
    except FFmpegError:
        return [None]


def _picture(frame: VideoFrame) -> Tensor:
    """uint8 ``[3, h, w]``, RGB, turned upright."""
    picture = torch.from_numpy(frame.to_ndarray(format="rgb24"))
    quarter_turns = round(frame.rotation / 90)
    if quarter_turns:
        picture = picture.rot90(quarter_turns)
    return picture.permute(2, 0, 1)


def _fps(stream: VideoStream) -> float:
    rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
    return next((rate for rate in rates if 0 < rate <= _MAX_FPS), DEFAULT_FPS)


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds, as far as the header says; else 0."""
    import av

    if stream.duration and stream.time_base:
        return stream.duration * float(stream.time_base)
    return (container.duration or 0) / av.time_base
