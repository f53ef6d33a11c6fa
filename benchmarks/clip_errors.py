"""Which predictions of a checkpoint are false and which objects it misses.

    python benchmarks/clip_errors.py CKPT                                # 8 synthetic test scenes of 300 frames
    python benchmarks/clip_errors.py CKPT --root PETS09-S2L1 --frame_range 326 525

Counts pairs of a query or an object and a frame, in windows that share none, with the matching that the losses use and
the checkpoint's `model.head.exist_threshold`.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import torch
from sequences import sequence_parser, sequences_of
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
from scene_model import SceneModelLightningModule
from scene_model.batch import SceneBatch
from scene_model.boxes import iou
from scene_model.training.head_adapter import IOU_THRESHOLD, on_ignored
from scene_model.training.matching import assign, matching_cost
from scene_model.training.targets import pack

NEAR = 0.1


def errors(module: SceneModelLightningModule, batch: SceneBatch) -> dict[str, Tensor]:
    """Masks ``[B, T, Q]`` of what is right, false and missed, by kind."""
    outputs, packed = module.model(batch.frames, None, batch.padding_mask), pack(batch.targets)
    boxes, logits = outputs["layer_boxes"][-1:], outputs["layer_exist_logits"][-1:].squeeze(-1)
    cost = matching_cost(boxes, logits, outputs["layer_cls_logits"][-1:], packed, module.config.loss)
    objects = assign(cost, packed.num_objects)[0]
    present = packed.present.transpose(1, 2)  # [B, T, N]
    overlap = iou(boxes[0][:, :, :, None], packed.boxes.transpose(1, 2)[:, :, None]) * present[:, :, None]
    row = objects.clamp(min=0)[:, None, :, None].expand(*overlap.shape[:3], 1)
    mine = (objects >= 0)[:, None] & present[:, :, None].expand(overlap.shape).gather(3, row).squeeze(-1)
    placed = mine & (overlap.gather(3, row).squeeze(-1) >= IOU_THRESHOLD)
    counted = ~batch.padding_mask[..., None] & ~(on_ignored(boxes, packed)[0] & ~mine)
    over = (outputs["exist_conf"].squeeze(-1) >= module.config.head.exist_threshold) & counted
    best = overlap.amax(-1)
    return {
        "right": over & placed,
        "false: a second query on an object": over & ~mine & (best >= IOU_THRESHOLD),
        "false: the object's own query, badly placed": over & mine & ~placed,
        "false: near an object": over & ~mine & (best < IOU_THRESHOLD) & (best >= NEAR),
        "false: on nothing": over & ~mine & (best < NEAR),
        "missed: the right box, score below the threshold": placed & ~over,
        "missed: badly placed": mine & ~placed,
        "objects that have a query": mine,
    }


@torch.no_grad()
def main() -> None:
    options = sequence_parser(__doc__).parse_args()
    module = SceneModelLightningModule.load_from_checkpoint(options.ckpt, map_location="cpu").eval()
    _, data = sequences_of(options, overlap=0)
    counts: Counter[str] = Counter()
    for batch in data.test_dataloader():
        found = errors(module, data.on_after_batch_transfer(batch, 0))
        counts.update({name: int(mask.sum()) for name, mask in found.items()})
    for name, count in counts.items():
        print(f"{count:7} {name}")


if __name__ == "__main__":
    main()
