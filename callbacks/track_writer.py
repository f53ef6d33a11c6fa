"""Tracks of whole videos, as text and as annotated video."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from callbacks.annotation import Annotator
from callbacks.input_files import InputFiles
from callbacks.run_folder import run_folder
from callbacks.track_session import TrackSession
from callbacks.video_encoder import require_pyav
from scene_model.batch import SceneBatch
from scene_model.errors import UserError
from scene_model.files import seen_from_here

_NO_TRACK = (
    "No track: is the model trained for what the video shows? "
    "Lower --model.tracking.birth_threshold and keep_threshold show what it nearly saw."
)


class TrackWriter(Callback):
    """Writes the tracks of videos in ``predict``: ``<name>.txt`` in MOTChallenge format and ``<name>.mp4``, annotated.

    Rows are written and frames drawn as they become final, in a thread beside the network; memory holds only frames
    that are not final yet. The files appear under their names when their video ends, over older ones of these names.
    Where predict fails or is interrupted, videos that have ended stay, and nothing is left of the others. Where it ends
    before a video does, as under ``trainer.limit_predict_batches``, the files hold what was final: a preview.

    A frame that could not be read repeats the last picture, so that the video keeps its time; it is black before the
    first one that can be read, and left out after the last.

    What it needs: batches of type ``SceneBatch``, with ``originals`` if there are to be pictures, and a
    ``predict_step`` which returns a mapping with ``tracks``, a list of ``FinalTracks``. What it uses if the
    LightningModule has it: ``class_names``; and of the data module: ``predict_inputs``, paths that predict reads, which
    are never written over. Of several processes each writes, and speaks of, its own videos.

    Args:
        output_dir: Folder of the files; null: ``tracks`` in the run's folder.
        video: Whether to write annotated videos too.
        trail: Number of frames over which an object leaves a line; 0: no lines.
        line_width: Of boxes and trails, in pixels; null: as fits the frame.
    """

    def __init__(
        self, output_dir: str | None = None, video: bool = True, trail: int = 30, line_width: int | None = None
    ) -> None:
        if trail < 0:
            raise UserError(f"tracks.trail: expected at least 0, got {trail}")
        if line_width is not None and line_width < 1:
            raise UserError(f"tracks.line_width: expected at least 1, got {line_width}")
        self.output_dir = output_dir
        self.video = video
        self.trail = trail
        self.line_width = line_width
        self._folder = Path()
        self._session: TrackSession | None = None
        self._start = 0.0

    @rank_zero_only
    def check(self, command: str, folder: Path, data: object = None) -> None:
        """Finds what would keep ``predict`` from writing, before any work starts; leaves nothing behind.

        Args:
            command: what is to be run.
            folder: of the run.
            data: the data module.

        Raises:
            UserError: the output folder cannot be written to, a file there could replace an input, or PyAV is missing.
        """
        if command != "predict":
            return
        if self.video:
            try:
                require_pyav()
            except UserError as error:
                raise UserError(f"tracks.video: {error}, or --tracks.video false") from error
        output = self._output_in(folder)
        self._inputs(output, data)
        given = getattr(data, "predict_path", None)
        if self.video and given and os.path.realpath(given) == os.path.realpath(output):
            raise UserError(
                f"tracks.output_dir: {output} is what data.predict_path names too, and the next predict would track "
                "the videos that this one writes there; choose another folder"
            )
        try:
            _try_to_write(output)
        except OSError as error:
            raise UserError(f"tracks.output_dir: cannot write to {output} ({error.strerror})") from error

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settles the folder, for which Lightning needs all ranks together."""
        self._folder = self._output_in(run_folder(trainer))

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins anew."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        names = getattr(pl_module, "class_names", ())
        make_annotator = partial(Annotator, names, self.trail, self.line_width)
        inputs = self._inputs(self._folder, trainer.datamodule)  # type: ignore[attr-defined]
        self._session = TrackSession(self._folder, make_annotator if self.video else None, inputs)
        self._start = perf_counter()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Mapping[str, Any],
        batch: SceneBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Writes what is final with a batch."""
        if trainer.received_sigterm:  # Lightning looks for it between batches of all stages but this one
            raise SIGTERMException
        if self._session is not None:
            self._session.update(batch, outputs["tracks"])

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Completes all files and says what was written."""
        if self._session is None:
            return
        session = self._session
        unfinished = session.finish()
        self._session = None
        seconds = perf_counter() - self._start
        if unfinished:
            parts = ", ".join(f"{name} ({end} frames)" for name, end in unfinished.items())
            warnings.warn(
                f"predict ended before these videos did, so their files hold the beginning: {parts}", stacklevel=2
            )
        if session.num_videos or trainer.world_size == 1:
            print(_report(session, seconds, self._folder))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves nothing of videos that have not ended."""
        if self._session is not None:
            self._session.discard()
            self._session = None

    def _output_in(self, folder: Path) -> Path:
        return folder / "tracks" if self.output_dir is None else Path(self.output_dir).expanduser()

    def _inputs(self, output: Path, data: object) -> InputFiles:
        """What predict reads, none of which lies where it writes."""
        inputs = InputFiles(getattr(data, "predict_inputs", ()))
        inputs.check_folder(output, {".txt", ".mp4"} if self.video else {".txt"})
        return inputs


def _try_to_write(folder: Path) -> None:
    """Creates a folder and a file in it, and removes what it created."""
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    finally:
        for path in created:
            with suppress(OSError):  # it was not created, or another process has put something there
                path.rmdir()


def _report(session: TrackSession, seconds: float, folder: Path) -> str:
    counts = (session.num_videos, "video"), (session.num_frames, "frame"), (session.num_tracks, "track")
    parts = [_counted(*count) for count in counts]
    line = f"{', '.join(parts)}, {session.num_frames / seconds:.1f} frames/s -> {seen_from_here(folder)}"
    return line if session.num_tracks or not session.num_frames else f"{line}\n{_NO_TRACK}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
