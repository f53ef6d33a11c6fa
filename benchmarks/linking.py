"""Identity over whole sequences: our linking of windows beside the same detections linked by overlap alone.

    python benchmarks/linking.py CKPT                                # 8 synthetic test scenes of 300 frames
    python benchmarks/linking.py CKPT --root PETS09-S2L1 --frame_range 596 795
    python benchmarks/linking.py CKPT --root ... --frame_range ... --max_age 10 30 --birth_threshold 0.3 0.4 0.5 0.6

The network sees every window once; the rows below differ in linking only:

- windows: `WindowLinker` as the checkpoint's `model.tracking` sets it
- windows, IoU only: the same, without embeddings, classes and motion: shared frames must overlap
- frames, IoU only: boxes of single frames, each joined to the track whose last box overlaps it most (Hungarian, IoU
  of 0.3 at least, tracks wait as long as ours and start at the same score); a query's identity over its window is not
  used

With any value of `max_age` or `birth_threshold` there is a row for each pair of them instead, `windows` alone, and a
row of means over the thresholds for each `max_age`: where few identities decide the score, one threshold tells little.
A given `birth_threshold` sets `keep_threshold` to 0.6 of it. Other options of linking go before the checkpoint's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sequences import sequence_parser, sequences_of
from torchvision.ops import box_convert, box_iou

sys.path.insert(0, str(Path(__file__).parent.parent))
from datamodules import SceneDataModule, Source
from scene_model import SceneModelLightningModule
from scene_model.metrics import TrackedSequence, apply_rules_per_class, score, scores_table
from scene_model.mot_text import MotTable
from scene_model.placement import letterbox
from scene_model.tracking import LinkingConfig, TrackRows, Window, WindowLinker


@torch.inference_mode()
def windows_of(module: SceneModelLightningModule, data: SceneDataModule) -> dict[str, list[Window]]:
    windows: dict[str, list[Window]] = {}
    for batch in data.test_dataloader():
        batch = data.on_after_batch_transfer(batch, 0)
        outputs = module(batch.frames, batch.padding_mask)
        of_batch = Window.of_outputs(outputs, batch.frame_indices, batch.padding_mask)
        for info, window in zip(batch.sequences, of_batch, strict=True):
            windows.setdefault(info.name, []).append(window)
    return windows


def linked_windows(windows: Iterable[Window], config: LinkingConfig) -> TrackRows:
    linker = WindowLinker(config)
    parts = [linker.update(window) for window in windows] + [linker.finish()]
    rows = parts[0]
    for part in parts[1:]:
        rows = rows.followed_by(part)
    return rows


def linked_frames(windows: Iterable[Window], config: LinkingConfig, min_iou: float = 0.3) -> TrackRows:
    """Detections are those of each query and frame over `keep_threshold`, duplicates dropped as our linker does."""
    detections = linked_windows(windows, replace(config, birth_threshold=config.keep_threshold))
    ids = np.zeros(len(detections), dtype=np.int64)  # 0: of no track
    last_boxes, last_seen = torch.zeros(0, 4), np.zeros(0, dtype=np.int64)
    for frame in np.unique(detections.frames):
        rows = np.flatnonzero(detections.frames == frame)
        boxes = box_convert(torch.from_numpy(detections.boxes[rows]), "cxcywh", "xyxy").float()
        iou = box_iou(last_boxes, boxes).numpy() * (frame - last_seen <= config.max_age + 1)[:, None]
        tracks, columns = linear_sum_assignment(iou, maximize=True)
        linked = iou[tracks, columns] >= min_iou
        owner = np.full(len(rows), -1)
        owner[columns[linked]] = tracks[linked]
        born = np.flatnonzero((owner < 0) & (detections.scores[rows] >= config.birth_threshold))
        owner[born] = len(last_seen) + np.arange(len(born))
        last_boxes = torch.cat([last_boxes, boxes[born]])
        last_seen = np.concatenate([last_seen, np.zeros(len(born), dtype=np.int64)])
        owned = owner >= 0
        last_boxes[owner[owned]], last_seen[owner[owned]] = boxes[owned], frame
        ids[rows] = owner + 1
    return replace(detections, track_ids=ids)[np.flatnonzero(ids)]


def scored(source: Source, size: tuple[int, int], rows_of: dict[str, TrackRows]) -> dict[str, float]:
    sequences = []
    for number, info in enumerate(source.sequences()):
        rows = rows_of[info.name]
        boxes = letterbox((info.height, info.width), size).to_original_pixels(torch.from_numpy(rows.boxes)).numpy()
        tracker = MotTable.of_tracks(rows.frames, rows.track_ids, boxes, rows.scores, rows.classes + 1.0)
        truth = source.truth(number)
        for of_class in apply_rules_per_class(truth.table, tracker[(boxes[:, 2:] > 0).all(1)], truth.rules):
            sequences.append((info.name, TrackedSequence.of(*of_class, info.num_frames)))
    return score(sequences, source.class_names)["COMBINED"]


def compared(
    source: Source, size: tuple[int, int], windows: dict[str, list[Window]], config: LinkingConfig
) -> dict[str, dict[str, float]]:
    """Scores of the three ways of linking."""
    iou_only = replace(config, embedding_weight=0.0, class_weight=0.0, max_distance=0.0, min_shared_affinity=0.0)
    ways = {
        "windows": lambda parts: linked_windows(parts, config),
        "windows, IoU only": lambda parts: linked_windows(parts, iou_only),
        "frames, IoU only": lambda parts: linked_frames(parts, config),
    }
    return {
        name: scored(source, size, {key: way(parts) for key, parts in windows.items()}) for name, way in ways.items()
    }


def swept(
    source: Source, size: tuple[int, int], windows: dict[str, list[Window]], configs: dict[str, list[LinkingConfig]]
) -> dict[str, dict[str, float]]:
    """Scores of each configuration, and the mean of each group."""
    rows = {}
    for name, group in configs.items():
        scores = [scored(source, size, {key: linked_windows(w, c) for key, w in windows.items()}) for c in group]
        rows |= {f"{name}, birth {c.birth_threshold}": row for c, row in zip(group, scores, strict=True)}
        rows[f"{name}, mean"] = {field: float(np.mean([row[field] for row in scores])) for field in scores[0]}
    return rows


def main() -> None:
    parser = sequence_parser(__doc__)
    parser.add_argument("--window_length", type=int)
    parser.add_argument("--overlap", type=int)
    parser.add_argument("--embedding_weight", type=float)
    parser.add_argument("--exchange_margin", type=float)
    parser.add_argument("--duplicate_iou", type=float)
    parser.add_argument("--min_shared_affinity", type=float)
    parser.add_argument("--max_age", type=int, nargs="+")
    parser.add_argument("--birth_threshold", type=float, nargs="+")
    options = parser.parse_args()
    module = SceneModelLightningModule.load_from_checkpoint(options.ckpt, map_location="cpu").eval()
    names = ("overlap", "embedding_weight", "exchange_margin", "duplicate_iou", "min_shared_affinity")
    given = {name: getattr(options, name) for name in names}
    config = replace(module.tracking, **{name: value for name, value in given.items() if value is not None})
    source, data = sequences_of(options, config.overlap, options.window_length)
    windows = windows_of(module, data)
    if options.max_age or options.birth_threshold:
        linkings = [
            replace(config, birth_threshold=threshold, keep_threshold=round(0.6 * threshold, 4))
            for threshold in options.birth_threshold or []
        ] or [config]
        ages = options.max_age or [config.max_age]
        configs = {f"max_age {age}": [replace(linking, max_age=age) for linking in linkings] for age in ages}
        rows = swept(source, data.image_size, windows, configs)
    else:
        rows = compared(source, data.image_size, windows, config)
    from rich.console import Console

    Console(width=140).print(scores_table(rows))


if __name__ == "__main__":
    main()
