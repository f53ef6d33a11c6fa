"""A DataLoader that a resumed training goes on with where it stopped, in the middle of an epoch too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader

from datamodules.clips import Clip
from datamodules.sampler import ClipSampler


class ResumableLoader(DataLoader[Clip]):
    """Lightning stores its state in every checkpoint, and gives it back before the first batch of a resumed epoch.

    What an epoch holds is a function of its number, so the state is one number: the clips of the epoch that all
    processes have seen. What workers have read ahead does not count, which is why the trainer is asked.

    Args:
        args: of DataLoader; the sampler is a `ClipSampler`.
        num_batches_seen: asks the trainer how many batches of the epoch it has taken.
        options: of DataLoader.
    """

    def __init__(self, *args: Any, num_batches_seen: Callable[[], int], **options: Any) -> None:
        super().__init__(*args, **options)
        self.num_batches_seen = num_batches_seen

    def __iter__(self) -> Iterator[Clip]:  # type: ignore[override]
        """The batches of an epoch; workers begin when the first is asked for.

        Lightning makes this iterator before it tells the sampler of a resumed run the epoch, and workers would begin at
        once with the first clips of another one.
        """
        yield from super().__iter__()

    def state_dict(self) -> dict[str, int]:
        """Where training is in its epoch."""
        return {"num_clips_seen": self.num_batches_seen() * (self.batch_size or 1) * self._num_processes}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Has the next epoch that is begun leave out what training has seen."""
        if isinstance(self.sampler, ClipSampler):  # and not what Lightning puts in its place to overfit
            self.sampler.skip(state["num_clips_seen"] // self._num_processes)

    @property
    def _num_processes(self) -> int:
        return getattr(self.sampler, "num_replicas", 1)
