"""Training of a SceneModel: steps, optimiser, schedule and logging. Its signature is the `model:` part of the YAML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.parsing import AttributeDict
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from scene_model.batch import SceneBatch
from scene_model.config import (
    BackboneConfig,
    DecoderConfig,
    DenoiserConfig,
    EncoderConfig,
    LossConfig,
    OptimizerConfig,
    SceneModelConfig,
    SchedulerConfig,
)
from scene_model.errors import UserError
from scene_model.heads import BBoxHead, Head
from scene_model.metrics.clip_identity import ClipIdentity
from scene_model.network.initial_weights import weights_to_follow
from scene_model.network.model import build_scene_model
from scene_model.tracking import LinkingConfig, VideoTracker
from scene_model.trainer_check import check_precision, check_training
from scene_model.training.denoiser import DinoDenoiser
from scene_model.training.head_adapter import COUNTS, HeadAdapter
from scene_model.training.optim import build_optimizer, cosine_schedule, follow_options, warmed_up
from scene_model.vetted_loading import VettedLoading


class SceneModelLightningModule(VettedLoading, pl.LightningModule):
    """End-to-end multi-object tracking of clips.

    Args:
        backbone: image backbone.
        encoder: hybrid encoder.
        decoder: clip decoder.
        head: boxes, existence and classes.
        extra_heads: further heads by class_path.
        loss: weights of the loss terms.
        denoiser: contrastive denoising; null switches it off.
        optimizer: AdamW and Muon.
        scheduler: cosine with warm-up; null keeps the learning rate constant.
        tracking: how the windows of a video are linked, in test and predict.
        weights: checkpoint of an earlier run to start from, with a schedule of its own; null: none. The backbone must
            be the same (`backbone.weights` null or not, and not read); other parts that do not fit, such as the scores
            of more classes, start anew. Not read where ``--ckpt_path`` gives the weights.
        num_classes: number of classes; linked from the data on the command line.
        class_names: their names; linked from the data.
        mean: of the frames' channels, in [0, 1], for showing pictures; linked from the data.
        std: of the frames' channels, likewise.
        debug: check shapes, ranges and finiteness after every module, and name the first that broke.
        compile: compile the network with torch.compile, in place; state dict keys do not change.
        gradient_checkpointing: recompute the backbone in the backward pass to save memory.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: BackboneConfig = BackboneConfig(),
        encoder: EncoderConfig = EncoderConfig(),
        decoder: DecoderConfig = DecoderConfig(),
        head: BBoxHead = BBoxHead(),
        extra_heads: list[Head] | None = None,
        loss: LossConfig = LossConfig(),
        denoiser: DenoiserConfig | None = DenoiserConfig(),
        optimizer: OptimizerConfig = OptimizerConfig(),
        scheduler: SchedulerConfig | None = SchedulerConfig(),
        tracking: LinkingConfig = LinkingConfig(),
        weights: str | None = None,
        num_classes: int = 1,
        class_names: list[str] | None = None,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        debug: bool = False,
        compile: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.config = SceneModelConfig(
            backbone=backbone,
            encoder=encoder,
            decoder=decoder,
            head=head,
            extra_heads=tuple(extra_heads or ()),
            loss=loss,
            num_classes=num_classes,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.optimizer_config, self.scheduler_config = optimizer, scheduler
        self.class_names = class_names or [f"class_{index}" for index in range(num_classes)]
        if len(self.class_names) != num_classes:
            raise UserError(f"model.class_names: expected {num_classes} names, got {self.class_names}")
        self.compile_model = compile
        self.model = build_scene_model(self.config, debug, weights)
        self.head_adapter = HeadAdapter(self.config)
        self.denoiser = DinoDenoiser(denoiser, num_classes)
        self.metric_state = ClipIdentity()
        self.tracking = tracking
        self.tracker = VideoTracker(tracking)
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32), persistent=False)

    @classmethod
    def load_from_checkpoint(cls, *args: Any, **kwargs: Any) -> SceneModelLightningModule:
        """Lightning's, without reading initial weights, which the checkpoint replaces."""
        with weights_to_follow():
            return super().load_from_checkpoint(*args, **kwargs)

    @property
    def hparams_initial(self) -> AttributeDict:
        """What loggers store: plain values, also where the module was built in Python from dataclasses."""
        return AttributeDict(
            {
                name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
                for name, value in super().hparams_initial.items()
            }
        )

    def check(self, trainer: pl.Trainer, command: str = "fit") -> None:
        """Find what is wrong with the trainer's options for a command before its work starts.

        Raises:
            UserError: see `trainer_check`.
        """
        check_precision(trainer)
        if command == "fit":
            check_training(trainer, has_schedule=self.scheduler_config is not None)

    def setup(self, stage: str) -> None:
        """Compile once, in place."""
        if self.compile_model and self.model._compiled_call_impl is None:
            self.model.compile(dynamic=False)  # all batches but an epoch's last are alike

    def forward(self, frames: Tensor, padding_mask: Tensor | None = None) -> dict[str, Tensor]:
        """See `SceneModel.forward`."""
        return cast(dict[str, Tensor], self.model(frames, padding_mask=padding_mask))

    def training_step(self, batch: SceneBatch, batch_idx: int) -> Tensor:
        """The weighted sum of all loss terms."""
        _, losses = self.predict_and_compare(batch)
        terms = {f"train/{name}": value.detach() for name, value in losses.items() if name not in COUNTS}
        self.log_dict(terms, batch_size=len(batch))
        return losses["total"]

    def validation_step(self, batch: SceneBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Log losses and count matches; the outputs go to callbacks such as the one that draws pictures.

        Where there is a second dataloader, it holds whole sequences to track, as in `test_step`.
        """
        if dataloader_idx:
            return self._track(batch)
        outputs, losses = self.predict_and_compare(batch)
        self.metric_state.update(*(losses.pop(name) for name in COUNTS))
        terms = {f"val/{name}": value for name, value in losses.items()}
        num_targets = sum(int((~frame.ignore).sum()) for clip in batch.targets for frame in clip)  # on the host
        self.log_dict(
            terms,
            batch_size=max(num_targets, sum(map(len, batch.real_frames()))),  # what they are divided by; 0: blank clips
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            add_dataloader_idx=False,
        )
        return outputs

    def test_step(self, batch: SceneBatch, batch_idx: int) -> dict[str, Any]:
        """Track the videos of a batch of windows; see `VideoTracker` on their order.

        Returns:
            the outputs for each window and, as ``tracks``, the `FinalTracks` of the videos; callbacks score them.
        """
        return self._track(batch)

    def predict_step(self, batch: SceneBatch, batch_idx: int) -> dict[str, Any]:
        """As `test_step`; callbacks write the tracks."""
        return self._track(batch)

    def _track(self, batch: SceneBatch) -> dict[str, Any]:
        if self.compile_model:  # for shapes that never change
            outputs = self.model(batch.frames, padding_mask=batch.padding_mask)
        else:
            frames, frame_of = batch.distinct_frames()
            outputs = self.model(frames, padding_mask=batch.padding_mask, frame_of=frame_of)
        return outputs | {"tracks": self.tracker.update(batch, outputs)}

    def on_validation_epoch_start(self) -> None:
        """Forget videos that were left unfinished."""
        self.tracker = VideoTracker(self.tracking)

    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all clips together."""
        scores = self.metric_state.compute()
        self.metric_state.reset()
        for name, value in scores.items():
            self.log(f"val/{name}", value, prog_bar=name == "clip_idf1", sync_dist=True)

    def predict_and_compare(self, batch: SceneBatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The model's outputs for a batch, with denoising, and what `HeadAdapter.compute_loss` makes of them."""
        dn_state = self.denoiser.make_noise(batch.targets, batch.seeds)
        if dn_state is not None:
            dn_state = dn_state.to(batch.frames.device)
        outputs = self.model(batch.frames, dn_state, batch.padding_mask)
        return outputs, self.head_adapter.compute_loss(outputs, batch.targets, batch.padding_mask, dn_state)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW and Muon, with the cosine per epoch unless `scheduler` is null."""
        self.check(self.trainer)
        optimizer = self._build_optimizer()
        if self.scheduler_config is None:
            return optimizer
        assert self.trainer.max_epochs
        schedule = cosine_schedule(optimizer, self.scheduler_config, self.trainer.max_epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def on_train_start(self) -> None:
        """Where a run is resumed, its options hold, not those that Lightning restored with the optimiser's state."""
        schedule = self.lr_schedulers() if self.scheduler_config else None
        optimizer = cast(Optimizer, self.optimizers(use_pl_optimizer=False))
        follow_options(optimizer, self._build_optimizer(), cast(LambdaLR | None, schedule))

    def _build_optimizer(self) -> Optimizer:
        fused = self.trainer.scaler is None  # which expects to skip whole steps
        return build_optimizer(self.model, self.model.backbone, self.optimizer_config, fused)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """One step at the schedule's rate times the warm-up's factor."""
        warmup_steps = self.scheduler_config.warmup_steps if self.scheduler_config else 0
        with warmed_up(cast(Optimizer, optimizer), self.trainer.global_step, warmup_steps):
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
