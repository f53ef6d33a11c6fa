"""The data of all stages. Its signature is the `data:` part of the YAML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.augmentation import Augmentation
from datamodules.clips import Clip, ClipDataset, ClipSampling, collate
from datamodules.footage import Footage
from datamodules.loader import ResumableLoader
from datamodules.normalisation import normalise
from datamodules.options import require_that, validate
from datamodules.predict_path import find_footage
from datamodules.sampler import ClipSampler, SequenceSampler
from datamodules.shared_frames import warn_of_shared_frames
from datamodules.source import Source
from datamodules.synthetic import SyntheticScenes
from datamodules.windows import WindowDataset, dealt
from scene_model.batch import SceneBatch
from scene_model.errors import UserError
from scene_model.vetted_loading import VettedLoading


class SceneDataModule(VettedLoading, pl.LightningDataModule):
    """Clips for training and validation from any source, and windows of whole videos to track.

    Args:
        train: source of the training sequences, by class_path; null: the built-in `SyntheticScenes`.
        val: source of the validation sequences; null: other scenes of `SyntheticScenes`.
        test: source of the test sequences; null: those of `val`.
        predict_path: what `predict` runs on: a video file, a folder of images, a sequence in MOTChallenge layout, or a
            folder of any of these. Pictures are turned as their EXIF data say; those of sources are taken as stored.
        predict_originals: the batches of `predict` bring the frames as they are in the videos too, which drawing on
            them takes; linked from the writer of tracks on the command line.
        batch_size: clips per batch and process.
        num_workers: processes that read data; 0 reads in the training process.
        clip_length: frames per clip.
        temporal_stride: least and largest step from one frame of a training clip to the next.
        val_overlap: frames that neighbouring validation clips share.
        val_sequences: track the whole validation sequences too, as `test` does.
        window_length: frames per window where whole videos are tracked; null: `clip_length`.
        window_overlap: frames that neighbouring windows share there; linked from the model's tracking on the command
            line. Short windows share all their frames but one.
        clips_per_epoch: training clips per epoch; null: as many as fit side by side into the sequences.
        image_size: (height, width) of the frames that the model sees; originals are letterboxed.
        mean: of the channels, in [0, 1]; subtracted on the device.
        std: of the channels; divided by on the device.
        augmentation: of training clips; null for none.
        seed: of sample order and augmentation.
    """

    def __init__(
        self,
        train: Source | None = None,
        val: Source | None = None,
        test: Source | None = None,
        predict_path: str | None = None,
        predict_originals: bool = True,
        batch_size: int = 4,
        num_workers: int = 0,
        clip_length: int = 4,
        temporal_stride: tuple[int, int] = (1, 2),
        val_overlap: int = 0,
        val_sequences: bool = False,
        window_length: int | None = None,
        window_overlap: int = 2,
        clips_per_epoch: int | None = None,
        image_size: tuple[int, int] = (128, 128),
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        augmentation: Augmentation | None = Augmentation(),
        seed: int = 0,
    ) -> None:
        super().__init__()
        # Not logged: model and data share names such as mean, and Lightning refuses to merge them.
        self.save_hyperparameters(logger=False)
        self._describe_sources()
        self.train = train or SyntheticScenes(split="train", num_scenes=1024)
        self.val = val or SyntheticScenes(split="val", num_scenes=24)
        self.test = test or self.val
        self.batch_size, self.num_workers = batch_size, num_workers
        self.clip_length, self.val_overlap = clip_length, val_overlap
        self.temporal_stride, self.clips_per_epoch = temporal_stride, clips_per_epoch
        self.val_sequences = val_sequences
        self.predict_path, self.predict_originals = predict_path, predict_originals
        self._footage: list[Footage] | None = None
        self.window_length = clip_length if window_length is None else window_length
        self.window_overlap = min(window_overlap, self.window_length - 1)
        self.image_size, self.augmentation, self.seed = image_size, augmentation, seed
        self.mean, self.std = mean, std
        validate(self)

    def _describe_sources(self) -> None:
        """Of sources that were built in Python, a checkpoint keeps the class: objects take code to load."""
        for key in ("train", "val", "test"):
            source = self.hparams.get(key)
            if isinstance(source, Source):
                self.hparams[key] = {"class_path": f"{type(source).__module__}.{type(source).__qualname__}"}

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the labels."""
        return self.train.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def check(self, stage: str) -> None:
        """Find what is wrong with the data before any work starts, and before processes are launched.

        Args:
            stage: fit, validate, test or predict; what the stage does not use is left alone.

        Raises:
            UserError: a source is missing, malformed, or has other classes than the training data; there is nothing
                to run `predict` on.
        """
        if stage == "predict":
            self._find_footage()
        for key, source in self._sources(stage):
            require_that(
                source.class_names == self.class_names,
                f"data.{key}: has the classes {source.class_names}, but data.train has {self.class_names}",
            )
            try:
                num_sequences = len(source.sequences())
            except UserError as error:
                raise UserError(f"data.{key}: {error}") from error
            require_that(num_sequences > 0, f"data.{key}: holds no sequences")
        if stage == "fit":
            warn_of_shared_frames(self.train, self.val)

    @property
    def predict_inputs(self) -> list[Path]:
        """The video files, and the folders of images, that `predict` reads on all processes."""
        return [footage.path for footage in self._find_footage()]

    @property
    def num_predict_frames(self) -> int:
        """About how many frames `predict` reads on this process; 0 where that of any video is unknown."""
        num_replicas, rank = self._processes
        counts = [footage.info.num_frames for footage in dealt(self._find_footage(), num_replicas, rank)]
        return sum(counts) if all(counts) else 0

    def _find_footage(self) -> list[Footage]:
        """The videos of `predict_path`, never none, looked for once."""
        if self._footage is None:
            try:
                self._footage = find_footage(self.predict_path)
            except UserError as error:
                raise UserError(f"data.predict_path: {error}") from error
        return self._footage

    def _sources(self, stage: str) -> Iterator[tuple[str, Source]]:
        stages = {"train": ("fit",), "val": ("fit", "validate"), "test": ("test",)}
        for key, used_in in stages.items():
            if stage in used_in:
                yield key, getattr(self, key)

    def train_dataloader(self) -> DataLoader[Clip]:
        """Shuffled, augmented clips with random temporal stride."""
        sampling = ClipSampling(
            length=self.clip_length,
            size=self.image_size,
            seed=self.seed,
            stride=self.temporal_stride,
            jitter=True,
            augmentation=self.augmentation,
        )
        return self._clip_loader(ClipDataset(self.train, sampling), self.clips_per_epoch, shuffle=True)

    def val_dataloader(self) -> DataLoader[Clip] | list[DataLoader[Clip]]:
        """All clips in order and, if `val_sequences` asks for them, the windows of whole sequences."""
        sampling = ClipSampling(self.clip_length, self.image_size, overlap=self.val_overlap)
        clips = self._clip_loader(ClipDataset(self.val, sampling))
        return [clips, self._sequence_loader(self.val)] if self.val_sequences else clips

    def test_dataloader(self) -> DataLoader[Clip]:
        """The windows of whole sequences, in order."""
        return self._sequence_loader(self.test)

    def predict_dataloader(self) -> DataLoader[Clip]:
        """The windows of all videos at `predict_path`, those of each in order, as they are decoded."""
        num_replicas, rank = self._processes
        dataset = WindowDataset(
            dealt(self._find_footage(), num_replicas, rank),
            self.window_length,
            self.window_overlap,
            self.image_size,
            with_originals=self.predict_originals,
        )
        return self._loader(dataset)

    def _clip_loader(
        self, dataset: ClipDataset, num_clips: int | None = None, shuffle: bool = False
    ) -> DataLoader[Clip]:
        num_replicas, rank = self._processes
        sampler = ClipSampler(
            dataset, num_clips=num_clips, shuffle=shuffle, seed=self.seed, num_replicas=num_replicas, rank=rank
        )
        if not shuffle or self.trainer is None:
            return self._loader(dataset, sampler)
        return self._loader(dataset, sampler, partial(ResumableLoader, num_batches_seen=self._num_batches_seen))

    def _num_batches_seen(self) -> int:
        """How many batches of its epoch training has taken."""
        assert self.trainer is not None
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def _sequence_loader(self, source: Source) -> DataLoader[Clip]:
        sampling = ClipSampling(self.window_length, self.image_size, overlap=self.window_overlap, with_truth=True)
        dataset = ClipDataset(source, sampling)
        return self._loader(dataset, SequenceSampler(dataset, *self._processes))

    @property
    def _processes(self) -> tuple[int, int]:
        """How many processes run, and the number of this one."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _loader(
        self,
        dataset: Dataset[Clip],
        sampler: Sampler[Any] | None = None,
        make: Callable[..., DataLoader[Clip]] = DataLoader,
    ) -> DataLoader[Clip]:
        return make(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            persistent_workers=self.num_workers > 0,
            generator=torch.Generator(),  # else each epoch would draw from the global one
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalise the frames on the device."""
        if isinstance(batch, SceneBatch) and not batch.frames.is_floating_point():
            batch.frames = normalise(batch.frames, self.mean, self.std)
        return batch
