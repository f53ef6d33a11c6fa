"""The linker: windows in, final rows of tracks out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scene_model.tracking.assignment import assign
from scene_model.tracking.columns import Columns, FloatArray, IntArray
from scene_model.tracking.config import LinkingConfig
from scene_model.tracking.exchange import exchange
from scene_model.tracking.tracklets import find_tracklets
from scene_model.tracking.tracks import Tracks
from scene_model.tracking.window import Window

_HISTORY = 8  # frames whose boxes are remembered at least, to tell velocities and meetings from


@dataclass
class TrackRows(Columns):
    """Tracked boxes, ordered by frame and then by track.

    Args:
        frames: int64 ``[N]``, counted from 0.
        track_ids: int64 ``[N]``, counted from 1.
        boxes: ``[N, 4]``, (cx, cy, w, h), normalised as those of the windows.
        scores: ``[N]``, existence.
        classes: int64 ``[N]``, the best class of the track so far.
    """

    frames: IntArray
    track_ids: IntArray
    boxes: FloatArray
    scores: FloatArray
    classes: IntArray


class WindowLinker:
    """Links the windows of one video; the next video takes a new linker.

    The rows of a frame are final, and returned once, when the last window that covers it has come: `update` returns all
    frames of its window but the last `overlap`, which the next one covers too. So a frame waits for at least `overlap`
    and at most T - 1 later frames, or `overlap` where that is more. In frames where a live track is not seen there is
    no row of it.

    Windows may share more frames than `overlap` says: those that are final serve for linking as long as they are
    remembered, and are not returned again. Where they share fewer, frames wait for longer than needed.

    Memory holds live tracks, each with the frames that are not final and a few before; it does not grow.

    Args:
        config: how windows become tracks.

    Example:
        >>> def window(*frames):
        ...     ones = np.ones((len(frames), 1))
        ...     return Window(np.array(frames), np.tile(0.5, (*ones.shape, 4)), ones, ones[..., None], ones[..., None])
        >>> linker = WindowLinker(LinkingConfig(overlap=1))
        >>> for frames in (0, 1, 2), (2, 3, 4):
        ...     rows = linker.update(window(*frames))
        ...     print(rows.frames, rows.track_ids)
        [0 1] [1 1]
        [2 3] [1 1]
        >>> linker.finish().frames
        array([4])
    """

    def __init__(self, config: LinkingConfig) -> None:
        self._config = config
        self._frames = np.zeros(0, dtype=np.int64)
        self._num_final = 0
        self._next_id = 1
        self._tracks: Tracks | None = None

    def update(self, window: Window) -> TrackRows:
        """Takes the next window and returns the rows of the frames that are final with it.

        Raises:
            ValueError: the window does not go on where those before it end.
        """
        if not len(window.frames):
            return _no_rows()
        _check_order(window.frames, self._frames)
        window = window[window.frames >= self._frames[0]] if len(self._frames) else window
        shared = self._advance(window.frames)
        tracklets = find_tracklets(window, self._frames, self._config)
        nobody = tracklets[np.zeros(len(tracklets), dtype=bool)]
        self._tracks = self._linked(nobody if self._tracks is None else self._tracks, tracklets, shared)
        num_pending = min(self._config.overlap, len(window.frames))
        rows = self._finalise(max(len(self._frames) - num_pending, self._num_final))
        self._forget(max(num_pending, len(window.frames), _HISTORY))
        return rows

    @property
    def next_frame(self) -> int:
        """The first frame whose rows are not final."""
        if self._num_final < len(self._frames):
            return int(self._frames[self._num_final])
        return int(self._frames[-1]) + 1 if len(self._frames) else 0

    def finish(self) -> TrackRows:
        """The rows of all frames that are not final yet: the video has ended."""
        return self._finalise(len(self._frames))

    def _advance(self, frames: IntArray) -> slice:
        """Moves the time axis on, so that it ends with a window; returns the part that it knew before."""
        start, end = int(np.searchsorted(self._frames, frames[0])), len(self._frames)
        self._frames = np.concatenate([self._frames[:start], frames])
        if self._tracks is not None:
            self._tracks.shift(drop=0, add=len(self._frames) - end)
        return slice(start, end)

    def _linked(self, tracks: Tracks, tracklets: Tracks, shared: slice) -> Tracks:
        """Live tracks, gone on by the tracklets that were assigned to them, and the tracks that the others begin."""
        rows, columns = assign(tracks, tracklets, shared, self._config)
        owner = exchange(tracks, tracklets[columns], rows, self._config)
        tracks[rows] = tracks[rows].continued_by(tracklets[columns], self._frames, self._config.keep_threshold)
        tracks.take_identities(owner)
        is_birth = tracklets.scores.max(1) >= self._config.birth_threshold
        is_birth &= tracklets.motion.last >= self.next_frame  # in final frames alone there is nothing to report
        is_birth[columns] = False
        births = tracklets[is_birth]
        births.ids = np.arange(self._next_id, self._next_id + len(births))
        self._next_id += len(births)
        return tracks.followed_by(births)

    def _finalise(self, end: int) -> TrackRows:
        """The rows of the frames before a column of the time axis that were not returned before."""
        if self._tracks is None:
            return _no_rows()
        tracks, part = self._tracks[np.argsort(self._tracks.ids)], slice(self._num_final, end)
        scores = tracks.seen_scores(self._config.keep_threshold)[:, part]
        frames, rows = np.nonzero(scores.T)
        self._num_final = end
        return TrackRows(
            self._frames[part][frames],
            tracks.ids[rows],
            tracks.boxes[:, part][rows, frames],
            scores[rows, frames],
            tracks.class_sums.argmax(1)[rows],
        )

    def _forget(self, num_frames: int) -> None:
        """Drops all but the last frames, and the tracks that have waited too long to come back in a later window."""
        if self._tracks is None:
            return
        drop = max(len(self._frames) - num_frames, 0)
        unseen = self.next_frame - self._tracks.motion.last - 1
        self._tracks = self._tracks[unseen <= self._config.max_age]
        self._tracks.shift(drop, add=0)
        self._frames = self._frames[drop:]
        self._num_final -= drop


def _check_order(frames: IntArray, known: IntArray) -> None:
    """Frames must ascend, and go on where the known ones end: with all of those that do not come before them."""
    if (np.diff(frames) <= 0).any():
        raise ValueError(f"expected the frames of a window in ascending order, got {frames.tolist()}")
    if not len(known):
        return
    shared = known[known >= frames[0]]
    begins_alike = np.array_equal(frames[frames >= known[0]][: len(shared)], shared)
    if frames[-1] <= known[-1] or not begins_alike:
        expected = f"that goes beyond frame {known[-1]} and, of the frames up to there, has all from its first one on"
        raise ValueError(f"expected a window {expected}, got {frames.tolist()}")


def _no_rows() -> TrackRows:
    nothing = np.zeros(0, dtype=np.int64)
    return TrackRows(nothing, nothing, np.zeros((0, 4)), np.zeros(0), nothing)
