"""One run over videos, whose tracks go into files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn

from callbacks.annotation import Annotator
from callbacks.background import Background
from callbacks.held_frames import HeldFrames
from callbacks.input_files import InputFiles
from callbacks.track_files import TrackFiles
from scene_model.batch import SceneBatch, SequenceInfo
from scene_model.tracking import FinalTracks


@dataclass
class _Video:
    """A video in progress.

    Args:
        files: of its tracks.
        held: its frames of which the tracks are not final.
        end: the frames before this one are final.
        identities: of its tracks.
    """

    files: TrackFiles
    held: HeldFrames = field(default_factory=HeldFrames)
    end: int = 0
    identities: set[int] = field(default_factory=set)


class TrackSession:
    """Writes the tracks of videos as they become final, in a thread; several videos may be in progress.

    Args:
        folder: of the files.
        make_annotator: makes what draws the tracks of a video; None: text only.
        inputs: files that stay as they are.
    """

    def __init__(
        self, folder: Path, make_annotator: Callable[[], Annotator] | None, inputs: InputFiles = InputFiles()
    ) -> None:
        self.num_videos = 0
        self.num_frames = 0
        self.num_tracks = 0
        self._folder = folder
        self._make_annotator = make_annotator
        self._inputs = inputs
        self._videos: dict[str, _Video] = {}
        self._open_files: set[TrackFiles] = set()  # also those that the thread has yet to complete
        self._background = Background()

    @property
    def num_held(self) -> int:
        """Frames in memory that wait for their tracks."""
        return sum(len(video.held) for video in self._videos.values())

    def update(self, batch: SceneBatch, parts: Iterable[FinalTracks]) -> None:
        """Goes on by a batch.

        Args:
            batch: of windows.
            parts: what has become final with it.

        Raises:
            UserError: a file cannot be written, now or a few frames ago.
        """
        self._hold(batch)
        for part in parts:
            self._write(part)

    def finish(self) -> dict[str, int]:
        """Completes all files, also those of videos that have not ended; of these without a final frame there is none.

        Returns:
            how many frames the files hold, by name, of the videos that have not ended.
        """
        unfinished = {name: video for name, video in self._videos.items() if video.end}
        for name in unfinished:
            self._complete(name)
        self._background.finish()
        self._discard_open_files()
        return {name: video.end for name, video in unfinished.items()}

    def discard(self) -> None:
        """Leaves nothing of videos that have not ended."""
        self._background.abandon()
        self._discard_open_files()

    def _hold(self, batch: SceneBatch) -> None:
        for clip, (sequence, numbers) in enumerate(zip(batch.sequences, batch.real_frames(), strict=True)):
            if not numbers:
                continue
            if sequence.name not in self._videos:
                self._videos[sequence.name] = self._open(sequence, batch.originals is not None)
            video = self._videos[sequence.name]
            if video.files.has_video and batch.originals is not None:
                video.held.add(numbers, batch.originals[clip])

    def _open(self, sequence: SequenceInfo, has_originals: bool) -> _Video:
        if self._make_annotator and not has_originals:
            self._make_annotator = None
            rank_zero_warn("tracks.video: the batches hold no original frames, so only text is written")
        files = TrackFiles(self._folder, sequence, self._make_annotator and self._make_annotator(), self._inputs)
        self._open_files.add(files)
        return _Video(files)

    def _write(self, part: FinalTracks) -> None:
        name, table = part.sequence.name, part.table
        video = self._videos[name]
        self._background.submit(video.files.append, table)
        if video.files.has_video:
            for number, frame in video.held.take(part.end):
                self._background.submit(video.files.show, frame, number, table[table.frames == number])
        video.identities.update(table.track_ids.tolist())
        self.num_frames += part.end - video.end
        video.end = part.end
        if part.is_last:
            self._complete(name)

    def _complete(self, name: str) -> None:
        video = self._videos.pop(name)
        self._background.submit(self._finish_files, video.files)
        self.num_videos += 1
        self.num_tracks += len(video.identities)

    def _finish_files(self, files: TrackFiles) -> None:
        files.finish()
        self._open_files.discard(files)

    def _discard_open_files(self) -> None:
        for files in self._open_files:
            files.discard()
