"""The process that imports ultralytics: trains, detects or tracks, as a job file says, and reports."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from datamodules.mot_folder import find_sequences
from scene_model.cli import keep_freed_memory
from scene_model.metrics.detection import MAX_BOXES, MIN_SCORE
from scene_model.mot_text import MotTable, write_mot


def prepare_settings() -> None:
    """Keeps ultralytics off the network, and its settings beside the runs; a font in place needs no download."""
    import matplotlib

    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    folder = Path(os.environ["YOLO_CONFIG_DIR"]) / "Ultralytics"
    folder.mkdir(parents=True, exist_ok=True)
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    (folder / "Arial.ttf").write_bytes(font.read_bytes())
    from ultralytics import settings

    settings.update({"sync": False})


class Stopwatch:
    """Seconds of each epoch's batches and of its validation, taken by callbacks of the trainer."""

    def __init__(self) -> None:
        self.epochs: list[tuple[float, float]] = []
        self.batches = 0
        self._begin = self._trained = 0.0

    def attach(self, model: Any) -> None:
        model.add_callback("on_train_epoch_start", self._on_begin)
        model.add_callback("on_train_batch_end", self._on_batch)
        model.add_callback("on_train_epoch_end", self._on_trained)
        model.add_callback("on_model_save", self._on_saved)

    def _on_begin(self, trainer: Any) -> None:
        self._begin = time.perf_counter()

    def _on_batch(self, trainer: Any) -> None:
        self.batches += 1

    def _on_trained(self, trainer: Any) -> None:
        self._trained = time.perf_counter()

    def _on_saved(self, trainer: Any) -> None:
        self.epochs.append((self._trained - self._begin, time.perf_counter() - self._trained))


def train(output: Path, **options: Any) -> dict[str, Any]:
    """Trains from random weights; what is not given stays as ultralytics has it."""
    from ultralytics import YOLO

    model, stopwatch = YOLO("yolo11n.yaml"), Stopwatch()
    stopwatch.attach(model)
    model.train(**options, name=output.name, exist_ok=True)
    training, validation = map(sum, zip(*stopwatch.epochs, strict=True))
    return {
        "epochs": len(stopwatch.epochs),
        "batches": stopwatch.batches,
        "batch_seconds": training / max(1, stopwatch.batches),
        "validation_seconds": validation / len(stopwatch.epochs),
        "optimizer": model.trainer.args.optimizer,
        "threads": torch.get_num_threads(),
    }


def detect(output: Path, weights: str, imgsz: int, root: str) -> dict[str, Any]:
    """Writes the raw boxes of every frame, down to the score from which they count."""
    from ultralytics import YOLO

    for sequence in find_sequences(root):
        results = YOLO(weights).predict(
            str(sequence / "img1"), imgsz=imgsz, conf=MIN_SCORE, max_det=MAX_BOXES, stream=True, verbose=False
        )
        boxes = [_rows(result.boxes, np.arange(len(result.boxes))) for result in results]
        write_mot(output / f"{sequence.name}.txt", _table(boxes))
    return {}


def track(output: Path, weights: str, imgsz: int, root: str, tracker: str, thresholds: list[float]) -> dict[str, Any]:
    """Writes the tracks with each threshold, and takes the time: images from disk to tracks."""
    seconds, num_frames = 0.0, 0
    for threshold in thresholds:
        folder = output / f"{threshold:g}"
        folder.mkdir(parents=True, exist_ok=True)
        settings = _tracker_settings(tracker, threshold)
        (folder / "tracker.yaml").write_text(yaml.safe_dump(settings))
        for sequence in find_sequences(root):
            frames, taken = _track_sequence(sequence, folder, weights, imgsz, settings["track_low_thresh"])
            seconds, num_frames = seconds + taken, num_frames + frames
    return {"frames_per_second": num_frames / seconds}


def _tracker_settings(tracker: str, threshold: float) -> dict[str, Any]:
    """Its defaults, but for the thresholds, which keep their relation."""
    from ultralytics.utils import YAML
    from ultralytics.utils.checks import check_yaml

    settings: dict[str, Any] = YAML.load(check_yaml(f"{tracker}.yaml"))
    scale = threshold / settings["track_high_thresh"]
    names = ("track_high_thresh", "track_low_thresh", "new_track_thresh")
    return settings | {name: round(scale * settings[name], 4) for name in names}


def _track_sequence(sequence: Path, folder: Path, weights: str, imgsz: int, lowest: float) -> tuple[int, float]:
    """Tracks by a fresh model, whose loading and first pass do not count."""
    from ultralytics import YOLO

    model, images = YOLO(weights), sequence / "img1"
    model.predict(str(min(images.iterdir())), imgsz=imgsz, verbose=False)
    begin = time.perf_counter()
    results = model.track(
        str(images),
        imgsz=imgsz,
        conf=lowest,
        tracker=str(folder / "tracker.yaml"),
        persist=True,  # else a folder of images counts as many videos
        stream=True,
        verbose=False,
    )
    tracks = [_rows(result.boxes, result.boxes.id) for result in results]
    seconds = time.perf_counter() - begin
    write_mot(folder / f"{sequence.name}.txt", _table(tracks))
    return len(tracks), seconds


def _rows(boxes: Any, ids: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Rows (id, left, top, width, height, score, class from 1) of a frame."""
    if ids is None or len(boxes) == 0:
        return np.zeros((0, 7))
    corners = boxes.xyxy.double().cpu().numpy()
    left_top, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    rest = (boxes.conf.double().cpu().numpy(), boxes.cls.double().cpu().numpy() + 1)
    return np.column_stack([np.asarray(ids, dtype=np.float64), left_top, size.clip(min=0), *rest])


def _table(frames: Iterable[np.ndarray[Any, np.dtype[np.float64]]]) -> MotTable:
    parts = list(frames)
    rows = np.concatenate(parts)
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return MotTable.of_tracks(numbers, rows[:, 0].astype(np.int64), rows[:, 1:5], rows[:, 5], rows[:, 6])


def use_threads(number: int) -> None:
    """Gives ultralytics as many threads as ours has; by itself it takes one less than the machine has cores."""
    from ultralytics.utils import torch_utils

    torch_utils.NUM_THREADS = number
    torch.set_num_threads(number)


def main() -> None:
    job_path, report = map(Path, sys.argv[1:])
    job = json.loads(job_path.read_text())
    keep_freed_memory()  # as our command line does: the comparison is not one of memory allocators
    prepare_settings()
    threads = int(os.environ["OMP_NUM_THREADS"])
    use_threads(threads)
    work: dict[str, Callable[..., dict[str, Any]]] = {"train": train, "detect": detect, "track": track}
    done = work[job["what"]](Path(job["output"]), **job["options"])
    assert torch.get_num_threads() == threads, "ultralytics has changed the number of threads"
    report.write_text(json.dumps(done))


if __name__ == "__main__":
    main()
