"""The peers' side: YOLO11n by ultralytics' public interface, in processes of its own, with its two usual trackers."""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.peers.data import Dataset
from benchmarks.peers.processes import minutes_between, run, within_repository
from benchmarks.peers.results import Run
from benchmarks.peers.scoring import GRID, choose_threshold, score_detections, score_tracks
from scene_model.errors import UserError

TRACKERS = {"ByteTrack": "bytetrack", "BoT-SORT": "botsort"}
BATCH = 16
CALIBRATION_BATCHES = 6


def is_installed() -> bool:
    """Whether the extra package is there."""
    return find_spec("ultralytics") is not None


def require_ultralytics() -> None:
    """Finds out whether the extra package is there.

    Raises:
        UserError: it is not; the sentence holds the command that installs it.
    """
    if not is_installed():
        raise UserError('training YOLO needs ultralytics: pip install -e ".[benchmarks]"')


def images_for(epochs: int, seconds: float, batch_seconds: float, validation_seconds: float, num_images: int) -> int:
    """How many of very many images make so many epochs: its schedule counts these, with 3 of warm-up."""
    batches = (seconds / epochs - validation_seconds) / batch_seconds
    return min(num_images, BATCH * max(8, int(batches)))


@dataclass(frozen=True)
class Yolo:
    """YOLO11n from random weights.

    Args:
        environment: of all processes.
        options: of its training, over its own defaults.
    """

    environment: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)

    def train(self, run_: Run, dataset: Dataset, folder: Path) -> dict[str, Any]:
        """Trains, and returns what an entry of the results says of that."""
        seconds = run_.minutes * 60
        options: dict[str, Any] = {
            "data": str(dataset.yolo),
            "imgsz": dataset.imgsz,
            "batch": BATCH,
            "seed": run_.seed,
            "device": "cpu",
            "plots": False,
            "project": str(folder),
            **self.options,
        }
        few = min(dataset.num_images, CALIBRATION_BATCHES * BATCH)
        timing = self._worker("train", folder / "calibration", options | {"epochs": 1, "fraction": few})
        batch_seconds, validation_seconds = timing["batch_seconds"], timing["validation_seconds"]
        images = dataset.num_images
        if dataset.yolo_epochs is not None:
            images = images_for(dataset.yolo_epochs, seconds, batch_seconds, validation_seconds, images)
        epoch_seconds = math.ceil(images / BATCH) * batch_seconds + validation_seconds
        # With one epoch its `time` would have no say.
        options |= {"epochs": max(2, round(seconds / epoch_seconds)), "fraction": images, "time": seconds / 3600}
        trained = self._worker("train", folder / "fit", options)
        call = f"ultralytics {version('ultralytics')}: YOLO('yolo11n.yaml').train(**{options})"
        return {
            "real_minutes": minutes_between(folder / "fit" / "args.yaml", folder / "fit" / "weights" / "last.pt"),
            "ended_by_itself": True,
            "training": trained | {"images": images, "estimated_epochs": options["epochs"]},
            "command": within_repository(call),
        }

    def score(self, run_: Run, dataset: Dataset, folder: Path) -> dict[str, dict[str, Any]]:
        """Scores of the training in that folder: both trackers on the same detections."""
        tune, val = dataset.truth(dataset.tune), dataset.truth(dataset.val)
        common = {"weights": str(folder / "fit" / "weights" / "best.pt"), "imgsz": dataset.imgsz}
        self._worker("detect", folder / "detect", common | {"root": str(dataset.val)})
        detection = score_detections(val, folder / "detect")
        scores = {}
        for name, tracker in TRACKERS.items():
            job = common | {"tracker": tracker}
            tuning_folder, val_folder = folder / f"tune_{tracker}", folder / f"val_{tracker}"
            self._worker("track", tuning_folder, job | {"root": str(dataset.tune), "thresholds": GRID})
            threshold, tuning = choose_threshold(
                lambda threshold, tracks=tuning_folder: score_tracks(tune, tracks / f"{threshold:g}")  # type: ignore[misc]
            )
            timing = self._worker("track", val_folder, job | {"root": str(dataset.val), "thresholds": [threshold]})
            tracking = score_tracks(val, val_folder / f"{threshold:g}")
            rest = {"frames_per_second": timing["frames_per_second"], "threshold": threshold, "tuning": tuning}
            scores[f"{run_.system} + {name}"] = {**tracking, **detection, **rest}
        return scores

    def _worker(self, what: str, output: Path, options: dict[str, Any]) -> dict[str, Any]:
        """Has the worker do something, into a new folder, and returns what it reports."""
        shutil.rmtree(output, ignore_errors=True)
        job = output.with_name(f"{output.name}.job.json")
        job.parent.mkdir(parents=True, exist_ok=True)
        job.write_text(json.dumps({"what": what, "output": str(output), "options": options}))
        report = output.with_name(f"{output.name}.report.json")
        command = [sys.executable, "-m", "benchmarks.peers.yolo_worker", str(job), str(report)]
        run(command, output.with_name(f"{output.name}.log"), self.environment)
        content: dict[str, Any] = json.loads(report.read_text())
        return content
