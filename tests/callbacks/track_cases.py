"""Videos whose tracks are known, as a foreign module's `predict_step` tells them."""

from dataclasses import dataclass

import av
import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import Logger
from torch.utils.data import DataLoader

from scene_model.batch import SceneBatch, SequenceInfo, TargetFrame
from scene_model.mot_text import MotTable
from scene_model.tracking import FinalTracks

SIZE = (96, 128)
LENGTH, OVERLAP = 4, 2
LEFT, TOP, WIDTH, HEIGHT = BOX = (16, 32, 48, 32)
TRACK = 5


@dataclass
class Video:
    """Frames that grow brighter, with one object that stays in its place.

    Args:
        name: of the video.
        num_frames: it has.
        missing: frames that cannot be read.
        is_empty: whether the object is missing.
        size: of the frames.
        is_noisy: whether the frames are noise, which takes much room.
    """

    name: str = "street"
    num_frames: int = 10
    missing: tuple[int, ...] = ()
    is_empty: bool = False
    size: tuple[int, int] = SIZE
    is_noisy: bool = False

    @property
    def sequence(self):
        return SequenceInfo(self.name, self.num_frames, *self.size, fps=12.5)

    def frame(self, number):
        if self.is_noisy:
            noise = torch.Generator().manual_seed(number)
            return torch.randint(0, 256, (3, *self.size), dtype=torch.uint8, generator=noise)
        return torch.full((3, *self.size), brightness(number), dtype=torch.uint8)

    def rows(self, first, end):
        seen = [n for n in range(first, end) if n not in self.missing and not self.is_empty]
        numbers = np.array(seen, dtype=np.int64)
        ones = np.ones(len(numbers))
        boxes = np.tile(np.array(BOX, dtype=np.float64), (len(numbers), 1))
        return MotTable.of_tracks(numbers, np.full(len(numbers), TRACK), boxes, 0.75 * ones, ones)

    def windows(self):
        """(video, numbers, whether it is the last) of each window, in order."""
        numbers = [n for n in range(self.num_frames) if n not in self.missing]
        while True:
            yield self, numbers[:LENGTH], len(numbers) <= LENGTH
            if len(numbers) <= LENGTH:
                return
            numbers = numbers[LENGTH - OVERLAP :]


def brightness(number):
    return 20 + 15 * (number % 15)


def batch_of(*windows, originals=True):
    """A batch of windows; None stands for one that is all padding."""
    blank = (Video("blank"), [-1] * LENGTH, False)
    clips = [window or blank for window in windows]
    stacks = [torch.stack([video.frame(max(n, 0)) for n in numbers]) for video, numbers, _ in clips]
    return SceneBatch(
        frames=torch.zeros(len(clips), LENGTH, 3, 32, 32),
        targets=[[TargetFrame.empty()] * LENGTH for _ in clips],
        padding_mask=torch.tensor(
            [[window is None or t >= len(window[1]) for t in range(LENGTH)] for window in windows]
        ),
        sequences=[video.sequence for video, _, _ in clips],
        frame_indices=torch.tensor([numbers + numbers[-1:] * (LENGTH - len(numbers)) for _, numbers, _ in clips]),
        seeds=torch.zeros(len(clips), dtype=torch.int64),
        is_last=[is_last for *_, is_last in clips],
        truths=[None] * len(clips),
        originals=stacks if originals else None,
    )


def batches_of(*videos, originals=True):
    """One window per batch, video after video."""
    return [batch_of(window, originals=originals) for video in videos for window in video.windows()]


def loader(batches):
    return DataLoader(batches, batch_size=None)


class Tracker(LightningModule):
    """Finds the objects of the given videos, final as soon as no further window shows a frame.

    Args:
        videos: of the batches.
        on_batch: called with each batch's number, to make trouble.
    """

    def __init__(self, *videos, on_batch=None):
        super().__init__()
        self.class_names = ["bicycle"]
        self.on_batch = on_batch
        self._videos = {video.name: video for video in videos}
        self._ends = {}

    def predict_step(self, batch, batch_idx):
        if self.on_batch:
            self.on_batch(batch_idx)
        return {"tracks": self.tracks(batch)}

    validation_step = test_step = lambda self, batch, batch_idx: {"tracks": self.tracks(batch)}

    def tracks(self, batch):
        parts = []
        for clip, sequence in enumerate(batch.sequences):
            numbers = batch.frame_indices[clip, ~batch.padding_mask[clip]].tolist()
            if numbers:
                is_last = batch.is_last[clip]
                first, end = self._ends.get(sequence.name, 0), numbers[-1] + 1 if is_last else numbers[-OVERLAP]
                self._ends[sequence.name] = end
                rows = self._videos[sequence.name].rows(first, end)
                parts.append(FinalTracks(sequence, end, is_last, rows))
        return parts


class ServiceLogger(Logger):
    """One that sends values somewhere, as W&B's does."""

    name = version = "service"
    save_dir = "."

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def decode(path):
    """The pictures of a video file ``[F, h, w, 3]``, and its rate."""
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]), rate


def visible_and_hidden(folder):
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    return [name for name in names if name[0] != "."], [name for name in names if name[0] == "."]
