"""Which clips are read, in what order, on which process: of an epoch a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data.distributed import DistributedSampler

from datamodules.clips import ClipDataset, ClipRequest, mixed_seed

# Both are DistributedSamplers: any other sampler Lightning replaces by its own where several processes run.


class ClipSampler(DistributedSampler[Any]):
    """Deals the windows of a dataset out to the processes.

    Training sweeps over all windows again and again, in another order each time, and an epoch takes the next
    `num_clips` of them. The number of each draw goes on from epoch to epoch, so a window is never augmented twice
    alike. Evaluation takes every window in order. All processes get equally many clips: training repeats the epoch's
    first ones, while evaluation fills up with blank clips, so that its scores are those of a single process.

    Args:
        dataset: whose windows are dealt.
        num_clips: per training epoch over all processes, also more than there are windows; null: as many as those.
        shuffle: for training; else `num_clips` does not matter.
        seed: of the order.
        num_replicas: number of processes.
        rank: of this process.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        *,
        num_clips: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=shuffle, seed=seed)
        self.num_windows = len(dataset)
        self.num_clips = (num_clips if shuffle else None) or self.num_windows
        self._num_skipped = 0

    def __len__(self) -> int:
        return -(-self.num_clips // self.num_replicas)

    def __iter__(self) -> Iterator[ClipRequest]:
        first, self._num_skipped = self._num_skipped, 0
        for number in range(first, len(self)):
            position = number * self.num_replicas + self.rank
            yield self._training_request(position) if self.shuffle else self._evaluation_request(position)

    def skip(self, num_clips: int) -> None:
        """Has the epoch that is begun next leave out the first clips of this process."""
        self._num_skipped = num_clips

    def _training_request(self, position: int) -> ClipRequest:
        draw = self.epoch * self.num_clips + position % self.num_clips
        sweep, place = divmod(draw, self.num_windows)
        return ClipRequest(int(_permutation(self.num_windows, self.seed, sweep)[place]), draw)

    def _evaluation_request(self, position: int) -> ClipRequest:
        window = min(position, self.num_windows - 1)
        return ClipRequest(window, window, blank=position >= self.num_windows)


class SequenceSampler(DistributedSampler[Any]):
    """Deals whole sequences out to the processes: all windows of a sequence go to one of them, in order.

    The longest sequences are dealt first, each to the process that has least to do so far. All processes get equally
    many clips; those that have fewer fill up with blank ones.

    Args:
        dataset: whose windows are dealt.
        num_replicas: number of processes.
        rank: of this process.
    """

    def __init__(self, dataset: ClipDataset, num_replicas: int = 1, rank: int = 0) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)
        sequence_of = dataset.windows[:, 0]
        num_windows = np.bincount(sequence_of)
        loads = np.zeros(num_replicas, dtype=np.int64)
        owners = np.zeros(len(num_windows), dtype=np.int64)
        for sequence in np.argsort(-num_windows, kind="stable"):
            owners[sequence] = loads.argmin()
            loads[owners[sequence]] += num_windows[sequence]
        self._windows = np.flatnonzero(owners[sequence_of] == rank)
        self._length = int(loads.max())

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[ClipRequest]:
        for window in self._windows.tolist():
            yield ClipRequest(window, window)
        for _ in range(self._length - len(self._windows)):
            yield ClipRequest(0, 0, blank=True)


@lru_cache(maxsize=2)
def _permutation(length: int, seed: int, sweep: int) -> NDArray[np.int64]:
    return np.random.RandomState(mixed_seed(seed, sweep, length) % 2**32).permutation(length)
