"""Video files as footage, decoded by PyAV, the optional extra [video]."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from datamodules.footage import DEFAULT_FPS, Footage
from scene_model.batch import SequenceInfo
from scene_model.errors import UserError

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    }
)
"""What files in a folder end in that are taken for videos."""

_MAX_FPS = 1000
_LIKELY = 0.95  # share of the frames estimated from a duration that a whole video has at least
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
            num_packets, announced = 0, self.info.num_frames
            for packet in _packets(container, stream):
                num_packets += packet is not None
                for frame in _decode(stream, packet):
                    yield None if frame is None else _picture(frame)
            if num_packets < (stream.frames or _LIKELY * announced):
                found = f"found {num_packets} of the {announced} frames that its header announces"
                warnings.warn(f"{self.path}: {found}: it seems to be damaged or cut off", stacklevel=2)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file and the first video in it."""
    require_pyav()
    import av

    try:
        container = av.open(str(path), metadata_errors="replace")  # text in any encoding
    except av.error.FFmpegError as error:
        raise UserError(f"{path}: cannot be read as a video ({error.strerror})") from error
    with container:
        if not container.streams.video or container.format.name == "tty":  # which draws any text
            raise UserError(f"{path}: expected a video, found a file without pictures")
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "AUTO", _NUM_THREADS
        yield container, stream


def require_pyav() -> None:
    """Check that PyAV is installed.

    Raises:
        UserError: it is not; the sentence holds the command that installs it.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise UserError('reading video files needs PyAV: pip install -e ".[video]"') from error


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
    """uint8 ``[3, h, w]``, RGB, turned upright where the installed PyAV knows how."""
    picture = torch.from_numpy(frame.to_ndarray(format="rgb24"))
    quarter_turns = round(getattr(frame, "rotation", 0) / 90)  # PyAV >= 14.1
    if quarter_turns:
        picture = picture.rot90(quarter_turns)
    return picture.permute(2, 0, 1)


def _fps(stream: VideoStream) -> float:
    rates = (stream.average_rate, stream.guessed_rate)
    return next((float(rate) for rate in rates if rate and 0 < rate <= _MAX_FPS), DEFAULT_FPS)


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds, as far as the header says; else 0."""
    import av

    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base
