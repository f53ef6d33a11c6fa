"""Frames per second of `predict`, where the time goes, and whether memory grows with the video.

    python benchmarks/predict_speed.py CKPT VIDEO [--repeat 4] [-- flags of predict]

The video is played `--repeat` times over, as one file. Resident memory is read at every hundredth frame. Drawing and
encoding run in a thread beside the network, so parts may add up to more than the whole.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import av

sys.path.insert(0, str(Path(__file__).parent.parent))
from callbacks import PredictProgress
from callbacks.annotation import Annotator
from callbacks.video_encoder import VideoEncoder
from datamodules.footage import Footage
from main import main as run
from scene_model.mot_text import MotWriter
from scene_model.network.model import SceneModel
from scene_model.placement import Placement
from scene_model.tracking import VideoTracker

PARTS = {
    "letterbox": (Placement, ("cut", "frame")),
    "network": (SceneModel, ("forward",)),
    "linking": (VideoTracker, ("update",)),
    "drawing": (Annotator, ("draw",)),
    "encoding": (VideoEncoder, ("write",)),
    "text": (MotWriter, ("append",)),
}


class Clock:
    """Seconds of each part, and the memory at some frames."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.threads: dict[str, set[str]] = defaultdict(set)
        self.memory: dict[int, float] = {}
        self.num_frames = 0
        self.began = self.ended = 0.0

    def timed(self, part, function):
        def call(*args, **kwargs):
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] += time.perf_counter() - begin
                self.threads[part].add(threading.current_thread().name)

        return call

    def frames(self, read):
        def frames(footage: Footage) -> Iterator:
            stream = read(footage)
            self.began = time.perf_counter()
            while True:
                begin = time.perf_counter()
                frame = next(stream, self)
                self.seconds["decoding"] += time.perf_counter() - begin
                if frame is self:
                    return
                if self.num_frames % 100 == 0:
                    self.memory[self.num_frames] = resident_mib()
                self.num_frames += 1
                yield frame

        return frames


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def repeated(video: Path, times: int, target: Path) -> Path:
    """The packets of a video, so many times over."""
    with av.open(str(target), "w") as copy:
        offset, stream = 0, None
        for _ in range(times):
            with av.open(str(video)) as original:
                source = original.streams.video[0]
                stream = stream or copy.add_stream_from_template(source)
                end = 0
                for packet in original.demux(source):
                    if packet.dts is None:
                        continue
                    end = max(end, packet.dts + (packet.duration or 1))
                    packet.pts = packet.dts = packet.dts + offset
                    packet.stream = stream
                    copy.mux(packet)
                offset += end
    return target


def main() -> None:
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--repeat", type=int, default=4)
    options = parser.parse_args(arguments[:split])
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        video = repeated(options.video, options.repeat, Path(folder) / f"video{options.video.suffix}")
        stack.enter_context(mock.patch.object(Footage, "frames", clock.frames(Footage.frames)))
        for part, (owner, names) in PARTS.items():
            for name in names:
                stack.enter_context(mock.patch.object(owner, name, clock.timed(part, getattr(owner, name))))
        stack.enter_context(mock.patch.object(PredictProgress, "setup"))
        flags = ["--trainer.default_root_dir", folder, "--trainer.logger", "false", *arguments[split + 1 :]]
        run(["predict", "--ckpt_path", str(options.ckpt), "--data.predict_path", str(video), *flags])
        clock.ended = time.perf_counter()
    report(clock)


def report(clock: Clock) -> None:
    whole, number = clock.ended - clock.began, clock.num_frames
    print(f"{number} frames in {whole:.1f} s: {number / whole:.1f} frames/s")
    for part, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1]):
        beside = "" if clock.threads[part] <= {"MainThread"} else "  in a thread beside"
        print(f"{part:>10} {1000 * seconds / number:7.2f} ms/frame {100 * seconds / whole:6.1f} %{beside}")
    marks = [mark for mark in (100, 300, 1000, 3000) if mark in clock.memory]
    print("resident:", ", ".join(f"frame {mark}: {clock.memory[mark]:.0f} MiB" for mark in marks))


if __name__ == "__main__":
    main()
