"""How well looks tell objects apart: the embeddings that linking takes, compared over more and more frames.

    python benchmarks/looks.py CKPT --root PETS09-S2L1 --frame_range 326 525

The windows of each sequence are seen once, and detections matched with the annotated objects (IoU of 0.5). Each figure
is the probability that two detections of one object are more alike than two of different objects, for pairs from
different windows that many frames apart: 0.5 is chance. `raw colours` are those of the stripes that an `IdentityHead`
embeds by default, minus their mean over the sequence.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import mannwhitneyu
from sequences import sequence_parser, sequences_of
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
from datamodules import SceneDataModule
from scene_model import SceneModelLightningModule, TargetFrame
from scene_model.boxes import iou
from scene_model.identity_head import IdentityHead, stripe_colours

STRIPES = IdentityHead().stripes
GAPS = ((1, 3), (4, 10), (11, 50), (51, 200))
MAX_OVERLAP = 0.1


@dataclass
class Detections:
    """Matched detections of a sequence: where they come from, whose they are, and their looks by name."""

    window: list[int]
    frame: list[int]
    owner: list[int]
    alone: list[bool]
    looks: dict[str, list[np.ndarray]]

    def add(
        self,
        window: int,
        frame: int,
        target: TargetFrame,
        boxes: Tensor,
        looks: dict[str, np.ndarray],
        min_iou: float,
    ) -> None:
        """The detections of a frame that are matched with an object."""
        overlap = iou(target.boxes[:, None], boxes)
        alone = iou(target.boxes[:, None], target.boxes).fill_diagonal_(0).sum(1) < MAX_OVERLAP
        for item, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
            if overlap[item, column] >= min_iou:
                self.window.append(window)
                self.frame.append(frame)
                self.owner.append(int(target.track_ids[item]))
                self.alone.append(bool(alone[item]))
                for name, values in looks.items():
                    self.looks[name].append(values[column])


@torch.inference_mode()
def matched(
    module: SceneModelLightningModule, data: SceneDataModule, threshold: float, min_iou: float
) -> dict[str, Detections]:
    found: dict[str, Detections] = {}
    for batch in data.test_dataloader():
        batch = data.on_after_batch_transfer(batch, 0)
        outputs = module(batch.frames, batch.padding_mask)
        boxes = torch.cat([outputs["bbox_center"], outputs["bbox_size"]], dim=-1)
        looks = {
            "decoder": outputs["embeddings"],
            "raw colours": stripe_colours(batch.frames, boxes, STRIPES),
        }
        if "identity_embeddings" in outputs:
            looks["identity head"] = outputs["identity_embeddings"]
        for clip, info in enumerate(batch.sequences):
            rows = found.setdefault(info.name, Detections([], [], [], [], {name: [] for name in looks}))
            window = rows.window[-1] + 1 if rows.window else 0
            for time in (~batch.padding_mask[clip]).nonzero().flatten().tolist():
                target = batch.targets[clip][time]
                queries = (outputs["exist_conf"][clip, time, :, 0] >= threshold).nonzero().flatten()
                of_frame = {name: values[clip, time, queries].numpy() for name, values in looks.items()}
                frame = int(batch.frame_indices[clip, time])
                rows.add(window, frame, target[~target.ignore], boxes[clip, time, queries], of_frame, min_iou)
    return {name: rows for name, rows in found.items() if rows.owner}


def told_apart(found: dict[str, Detections], name: str, gap: tuple[int, int], alone: bool) -> float:
    """The area under the ROC curve, all sequences together."""
    same_pairs, other_pairs = [], []
    for rows in found.values():
        keep = np.array(rows.alone) if alone else np.ones(len(rows.alone), dtype=bool)
        looks = np.array(rows.looks[name])[keep]
        looks = looks - looks.mean(0) if name == "raw colours" else looks
        looks /= np.linalg.norm(looks, axis=1, keepdims=True)
        window, frame, owner = (np.array(column)[keep] for column in (rows.window, rows.frame, rows.owner))
        apart = np.abs(frame[:, None] - frame)
        pairs = np.triu((apart >= gap[0]) & (apart <= gap[1]) & (window[:, None] != window))
        likeness, same = looks @ looks.T, owner[:, None] == owner
        same_pairs.append(likeness[pairs & same])
        other_pairs.append(likeness[pairs & ~same])
    same, other = np.concatenate(same_pairs), np.concatenate(other_pairs)
    if not len(same) or not len(other):
        return float("nan")
    return float(mannwhitneyu(same, other).statistic) / (len(same) * len(other))


def main() -> None:
    parser = sequence_parser(__doc__)
    parser.add_argument("--threshold", type=float, default=0.3, help="existence score of a detection")
    parser.add_argument("--min_iou", type=float, default=0.5, help="overlap of a detection with its object")
    options = parser.parse_args()
    module = SceneModelLightningModule.load_from_checkpoint(options.ckpt, map_location="cpu").eval()
    _, data = sequences_of(options, module.tracking.overlap)
    found = matched(module, data, options.threshold, options.min_iou)
    if not found:
        sys.exit("no detection matches an annotated object")
    names = next(iter(found.values())).looks
    print(f"{'frames apart':>34}" + "".join(f"{first:>5}-{last:<5}" for first, last in GAPS))
    for alone in (False, True):
        for name in names:
            what = f"{name}, {'not overlapped' if alone else 'all'}"
            print(f"{what:>34}" + "".join(f"{told_apart(found, name, gap, alone):>9.3f}  " for gap in GAPS))


if __name__ == "__main__":
    main()
