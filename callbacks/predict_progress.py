"""How far a prediction on videos is."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from scene_model.batch import SceneBatch, SequenceInfo


@dataclass
class FrameCount:
    """Counts the frames of videos, which say about how many they have, or 0 where they do not know.

    Args:
        estimate: frames of all videos to come; 0 where it is not known.
    """

    estimate: int = 0
    _ended: int = field(init=False, default=0)
    _current: dict[str, tuple[int, int]] = field(init=False, default_factory=dict)

    def update(self, sequence: SequenceInfo, seen: int, is_last: bool) -> None:
        """Goes on to the first `seen` frames of a video."""
        if not is_last:
            self._current[sequence.name] = (seen, sequence.num_frames)
            return
        self._current.pop(sequence.name, None)
        self._ended += seen
        if self.estimate and sequence.num_frames:
            self.estimate += seen - sequence.num_frames

    @property
    def done(self) -> int:
        """Frames seen."""
        return self._ended + sum(seen for seen, _ in self._current.values())

    @property
    def total(self) -> int | None:
        """Frames of all videos: the estimate, else those of the videos begun; None where one does not know."""
        known = self._ended + sum(max(video) for video in self._current.values())
        if self.estimate:
            return max(self.estimate, known)
        return known if all(num_frames for _, num_frames in self._current.values()) else None


class PredictProgress(Callback):
    """Shows one line in ``predict`` in place of Lightning's: the video, frames done, frames per second and time left.

    Lightning counts batches, of which nobody knows how many a video gives. The line is shown where Lightning's bar is
    enabled, by the first process for its own videos; where the console is none, but a file, once, at the end.

    What it needs: batches of type ``SceneBatch``. What it uses if the data module has it: ``num_predict_frames``, about
    how many frames this process will see; else the total grows with the videos that have begun.
    """

    def __init__(self) -> None:
        self._replaced: ProgressBar | None = None
        self._line: _Line | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes the place of Lightning's bar."""
        bar = trainer.progress_bar_callback
        if stage != "predict" or bar is None or trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        bar.disable()
        self._replaced = bar

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows that something is going on."""
        if self._replaced is not None:
            data: object = trainer.datamodule  # type: ignore[attr-defined]
            self._line = _Line(FrameCount(getattr(data, "num_predict_frames", 0)))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: SceneBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Counts the frames of a batch."""
        if self._line is not None:
            self._line.update(batch)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the line as it is."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves the line as it is."""
        self._close()

    def _close(self) -> None:
        if self._line is not None:
            self._line.stop()
            self._line = None
        if self._replaced is not None:
            self._replaced.enable()
            self._replaced = None


class _Line:
    """The line on the console."""

    def __init__(self, count: FrameCount) -> None:
        self._count = count
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(),
            _Frames(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._task = self._progress.add_task("predict", total=count.total or None)
        self._progress.start()

    def update(self, batch: SceneBatch) -> None:
        name = None
        for sequence, numbers, is_last in zip(batch.sequences, batch.real_frames(), batch.is_last, strict=True):
            if numbers:
                self._count.update(sequence, numbers[-1] + 1, is_last)
                name = sequence.name
        self._progress.update(self._task, description=name, completed=self._count.done, total=self._count.total)

    def stop(self) -> None:
        self._progress.stop()


class _Frames(ProgressColumn):
    """How many frames are done, of how many, and how many in a second."""

    def render(self, task: Task) -> Text:
        total = f"/{task.total:.0f}" if task.total else ""
        speed = task.completed / task.elapsed if task.elapsed else 0
        return Text(f"{task.completed:.0f}{total} frames, {speed:.1f} frames/s", style="progress.download")
