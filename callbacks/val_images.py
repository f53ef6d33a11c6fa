"""Pictures of predictions beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import make_grid

from callbacks.drawing import GREY, draw_boxes, identity_color, resize_longer_side, to_uint8
from callbacks.run_folder import run_folder
from scene_model.batch import SceneBatch, TargetFrame
from scene_model.errors import UserError
from scene_model.host import to_host

TILE_SIZE = 320
_OUTPUTS = ("bbox_center", "bbox_size", "exist_conf", "cls_logits")


class ValImageLogger(Callback):
    """Logs one picture per validation run: the first batch's frames, each with its truth above its prediction.

    A row holds a clip's frames in time order. The color is the identity (track in the truth, query in the prediction),
    so tracking works where colors keep to their objects along a row. Ignored objects are grey; where no box reaches the
    threshold, the best ones are drawn thin.

    The picture goes to every logger that takes one (TensorBoard's ``experiment.add_image``, or ``log_image`` as W&B has
    it) and, where none does, to ``val_images`` in the run's folder.

    What it needs: batches of type ``SceneBatch``, and a ``validation_step`` which returns a mapping with
    ``bbox_center[B,T,Q,2]``, ``bbox_size[B,T,Q,2]``, ``exist_conf[B,T,Q,1]`` and ``cls_logits[B,T,Q,C]``. What it uses
    if the LightningModule has it: ``mean`` and ``std``, tensors ``[3]`` that the frames were normalised by, and
    ``class_names``.

    Args:
        max_frames: Largest number of frames in the picture.
        max_boxes: Number of boxes in a frame where none reaches the threshold: the best ones.
        threshold: Existence confidence above which a box is drawn.
        tag: Name of the picture in the log.
    """

    def __init__(
        self, max_frames: int = 8, max_boxes: int = 10, threshold: float = 0.4, tag: str = "val/bbox_predictions"
    ) -> None:
        for name, value, least in (("max_frames", max_frames, 1), ("max_boxes", max_boxes, 0)):
            if value < least:
                raise UserError(f"ValImageLogger: {name}: expected at least {least}, got {value}")
        if not 0 <= threshold <= 1:
            raise UserError(f"ValImageLogger: threshold: expected a number from 0 to 1, got {threshold}")
        self.max_frames = max_frames
        self.max_boxes = max_boxes
        self.threshold = threshold
        self.tag = tag
        self._folder = Path()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settles the folder, for which Lightning needs all ranks together."""
        self._folder = run_folder(trainer) / "val_images"

    def on_validation_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Mapping[str, Tensor],
        batch: SceneBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Logs the picture after the first batch."""
        if batch_idx > 0 or dataloader_idx > 0 or not trainer.is_global_zero:
            return
        if trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        picture = self.picture(pl_module, outputs, batch)
        if picture is not None:
            self._log(trainer, picture)

    def picture(self, pl_module: LightningModule, outputs: Mapping[str, Tensor], batch: SceneBatch) -> Tensor | None:
        """The picture, uint8 ``[3, H, W]`` on the CPU; None if the batch is all padding."""
        mean, std = getattr(pl_module, "mean", None), getattr(pl_module, "std", None)
        names = getattr(pl_module, "class_names", ())
        rows: list[list[Tensor]] = []
        for clip, times in _real_frames(batch.padding_mask, self.max_frames):
            frames = to_uint8(batch.frames[clip, times], mean, std).cpu()
            tiles = [resize_longer_side(frame, TILE_SIZE) for frame in frames]
            numbers = (batch.sequences[clip].first_frame + batch.frame_indices[clip, times]).tolist()
            truths = [batch.targets[clip][t] for t in times]
            center, size, confidence, logits = to_host(*(outputs[key][clip, times] for key in _OUTPUTS))
            boxes, labels = torch.cat([center, size], dim=-1), logits.argmax(-1)
            rows.append([_draw_truth(*frame, names) for frame in zip(tiles, truths, numbers, strict=True)])
            predictions = zip(tiles, boxes, confidence.squeeze(-1), labels, strict=True)
            rows.append([self._draw_prediction(*frame, names) for frame in predictions])
        if not rows:
            return None
        columns = max(map(len, rows))
        blank = torch.full_like(rows[0][0], 255)
        grid: Tensor = make_grid(
            [tile for row in rows for tile in row + [blank] * (columns - len(row))], nrow=columns, pad_value=255
        )
        return grid

    def _draw_prediction(
        self, tile: Tensor, boxes: Tensor, confidence: Tensor, labels: Tensor, names: Sequence[str]
    ) -> Tensor:
        confidence = confidence.nan_to_num()
        queries = (confidence > self.threshold).nonzero().squeeze(-1)
        is_sure = len(queries) > 0
        if not is_sure:
            queries = confidence.topk(min(self.max_boxes, len(confidence))).indices
        shown = zip(queries.tolist(), labels[queries].tolist(), confidence[queries].tolist(), strict=True)
        return draw_boxes(
            tile,
            boxes[queries],
            colors=[identity_color(query) for query in queries.tolist()],
            labels=[f"{query} {_name(label, names)} {score:.2f}" for query, label, score in shown] if is_sure else (),
            width=2 if is_sure else 1,
            caption="prediction" if is_sure else f"prediction, none over {self.threshold:g}",
        )

    def _log(self, trainer: Trainer, picture: Tensor) -> None:
        logged = False
        for logger in trainer.loggers:
            experiment: Any = getattr(logger, "experiment", None)
            if hasattr(logger, "log_image"):
                logger.log_image(key=self.tag, images=[picture.permute(1, 2, 0).numpy()], step=trainer.global_step)
            elif hasattr(experiment, "add_image"):
                experiment.add_image(self.tag, picture, trainer.global_step)
            else:
                continue
            logged = True
        if not logged:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"epoch{trainer.current_epoch:03d}_step{trainer.global_step:06d}.png"
            to_pil_image(picture).save(self._folder / name)


def _real_frames(padding_mask: Tensor, max_frames: int) -> list[tuple[int, list[int]]]:
    """Clips and the times of their real frames, from the first clip on, until there are enough frames."""
    chosen = []
    for clip, padded in enumerate(padding_mask.tolist()):
        times = [t for t, is_padding in enumerate(padded) if not is_padding][:max_frames]
        max_frames -= len(times)
        if times:
            chosen.append((clip, times))
    return chosen


def _draw_truth(tile: Tensor, target: TargetFrame, number: int, names: Sequence[str]) -> Tensor:
    shown = list(zip(target.track_ids.tolist(), target.labels.tolist(), target.ignore.tolist(), strict=True))
    return draw_boxes(
        tile,
        target.boxes,
        colors=[GREY if ignore else identity_color(track) for track, _, ignore in shown],
        labels=[f"{track} {_name(label, names)}" for track, label, _ in shown],
        caption=f"truth, frame {number}",
    )


def _name(label: int, names: Sequence[str]) -> str:
    return names[label] if label < len(names) else ""
