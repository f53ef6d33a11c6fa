"""What a model that sees nothing scores: K constant boxes with confidence 1, fitted to the training boxes.

python benchmarks/constant_floor.py config/base.yaml [config/mot.yaml ...]
"""

from __future__ import annotations

import sys
from itertools import islice

import torch
from configured import configured
from scipy.cluster.vq import kmeans2

from scene_model import HeadAdapter, SceneModelConfig
from scene_model.metrics.clip_identity import ClipIdentity


def constant_outputs(boxes: torch.Tensor, clips: int, frames: int, classes: int) -> dict[str, torch.Tensor]:
    shape = (1, clips, frames, len(boxes))
    return {
        "layer_boxes": boxes.expand(*shape, 4),
        "layer_exist_logits": torch.full((*shape, 1), 10.0),
        "layer_cls_logits": torch.zeros(*shape, classes),
        "exist_conf": torch.ones(*shape[1:], 1),
        "enc_boxes": torch.full((clips, frames, 1, 4), 0.5),
        "enc_exist_logits": torch.zeros(clips, frames, 1),
        "enc_cls_logits": torch.zeros(clips, frames, 1, classes),
        "enc_centers": torch.full((1, 2), 0.5),
    }


def main() -> None:
    _, data = configured(sys.argv[1:])
    adapter = HeadAdapter(SceneModelConfig(num_classes=data.num_classes))
    batches = islice(data.train_dataloader(), 100)
    training = torch.cat([frame.boxes for batch in batches for clip in batch.targets for frame in clip])
    print(f"{'boxes':>6} {'val/idf1':>9} {'val/clip_idf1':>14} {'val/clip_idp':>13}")
    for count in (1, 2, 4, 8, 24, 100, 300):
        boxes = torch.from_numpy(kmeans2(training.numpy(), count, minit="++", rng=0)[0]).float()
        metric = ClipIdentity()
        for batch in data.val_dataloader():
            outputs = constant_outputs(boxes, *batch.padding_mask.shape, data.num_classes)
            losses = adapter.compute_loss(outputs, batch.targets, batch.padding_mask)
            metric.update(losses["num_matches"], losses["num_targets"], losses["num_predictions"])
        scores = metric.compute()
        print(f"{count:>6} {scores['idf1']:>9.3f} {scores['clip_idf1']:>14.3f} {scores['clip_idp']:>13.3f}")


if __name__ == "__main__":
    main()
