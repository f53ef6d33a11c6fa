"""Which clips an epoch consists of, in what order, on which process: a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data.distributed import DistributedSampler

from datamodules.clips import ClipDataset, ClipRequest


class ClipSampler(DistributedSampler[Any]):
    """Deals the windows of a dataset out to the processes.

    In training, each epoch is a fresh permutation; the number of each draw goes on from epoch to epoch, so a window
    is never augmented twice alike. All processes get equally many clips: the training order wraps around, while
    evaluation fills up with blank clips, so that its scores are those of a single process.

    Args:
        dataset: whose windows are dealt.
        num_clips: per epoch over all processes; null takes every window once. In training it may exceed their number.
        shuffle: for training.
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
        self.num_clips = num_clips or self.num_windows

    def __len__(self) -> int:
        return -(-self.num_clips // self.num_replicas)

    def __iter__(self) -> Iterator[ClipRequest]:
        for position in range(self.rank, len(self) * self.num_replicas, self.num_replicas):
            yield self._training_request(position) if self.shuffle else self._evaluation_request(position)

    def _training_request(self, position: int) -> ClipRequest:
        drawn = self.epoch * self.num_clips + position % self.num_clips
        sweep, place = divmod(drawn, self.num_windows)
        return ClipRequest(int(self._permutation(sweep)[place]), drawn)

    def _evaluation_request(self, position: int) -> ClipRequest:
        blank = position >= self.num_clips
        window = self.num_windows - 1 if blank else position
        return ClipRequest(window, window, blank)

    def _permutation(self, sweep: int) -> torch.Tensor:
        if getattr(self, "_sweep", None) != sweep:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + sweep)
            self._sweep, self._order = sweep, torch.randperm(self.num_windows, generator=generator)
        return self._order
