"""Our side: `python main.py fit`, `predict` and `test`, as a user runs them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.peers.data import Dataset
from benchmarks.peers.processes import minutes_between, run, run_limited, within_repository
from benchmarks.peers.results import Run
from benchmarks.peers.scoring import Fields, choose_threshold, score_tracks

CALIBRATION_STEPS = 36
"""Of two epochs each; those of the second one count."""
CALIBRATION_MARGIN = 1.05
"""In reserve: a training that is stopped before its schedule ends is worth less."""
MAX_VALIDATION_SHARE = 0.2
GRACE = 1.05
"""A training that takes longer than its budget by this factor is stopped."""


@dataclass(frozen=True)
class Schedule:
    """What fills a budget of time.

    Args:
        epochs: with a validation each.
        steps: of an epoch.
    """

    epochs: int
    steps: int


def fitting_schedule(seconds: float, step_seconds: float, validation_seconds: float, epochs: int) -> Schedule:
    """The longest schedule within a budget; fewer epochs than configured where validations would take too much."""
    affordable = int(MAX_VALIDATION_SHARE * seconds / validation_seconds) if validation_seconds else epochs
    epochs = max(1, min(epochs, affordable))
    return Schedule(epochs, max(1, int((seconds / epochs - validation_seconds) / step_seconds)))


@dataclass(frozen=True)
class Ours:
    """A configuration of ours.

    Args:
        flags: of `fit`, after those of the data.
        environment: of all processes.
    """

    flags: Sequence[str]
    environment: dict[str, str]

    def train(self, run_: Run, dataset: Dataset, folder: Path) -> dict[str, Any]:
        """Trains, and returns what an entry of the results says of that."""
        flags = [*dataset.fit_flags, "--seed_everything", str(run_.seed), "--data.seed", str(run_.seed), *self.flags]
        printed = run(self._main("fit", *flags, "--print_config"), folder / "config.log", self.environment)
        config = yaml.safe_load(printed[printed.index("seed_everything:") :])
        step_seconds, validation_seconds = self._calibrate(flags, config["data"]["batch_size"], folder / "calibration")
        schedule = fitting_schedule(
            run_.minutes * 60, step_seconds, validation_seconds, config["trainer"]["max_epochs"]
        )
        flags += self._length(schedule, config["data"]["batch_size"])
        began = folder / "fit" / "version_0" / "config.yaml"
        command = self._main("fit", *flags, "--trainer.default_root_dir", str(folder / "fit"))
        in_time = run_limited(command, folder / "fit.log", self.environment, began, run_.minutes * 60 * GRACE)
        return {
            "real_minutes": minutes_between(began, began.parent / "checkpoints" / "last.ckpt"),
            "ended_by_itself": in_time,
            "training": {
                "epochs": schedule.epochs,
                "steps_per_epoch": schedule.steps,
                "seconds_per_step": step_seconds,
                "seconds_per_validation": validation_seconds,
            },
            "command": within_repository(" ".join(command[1:])),
        }

    def _calibrate(self, flags: Sequence[str], batch_size: int, folder: Path) -> tuple[float, float]:
        """Seconds of a step, data included, and of an epoch's end with its validation and checkpoint."""
        length = self._length(Schedule(2, CALIBRATION_STEPS), batch_size)
        extra = ["--trainer.log_every_n_steps", "1", "--trainer.default_root_dir", str(folder)]
        run(self._main("fit", *flags, *length, *extra), folder.with_suffix(".log"), self.environment)
        events = EventAccumulator(str(folder / "version_0")).Reload()
        moments = [event.wall_time for event in events.Scalars("train/total")]
        before, after = moments[:CALIBRATION_STEPS], moments[CALIBRATION_STEPS:]
        step_seconds = CALIBRATION_MARGIN * (after[-1] - after[0]) / (len(after) - 1)
        return step_seconds, max(0.0, after[0] - before[-1] - step_seconds)

    def score(self, run_: Run, dataset: Dataset, folder: Path) -> dict[str, dict[str, Any]]:
        """Scores of the training in that folder, by the name of the system."""
        checkpoints = folder / "fit" / "version_0" / "checkpoints"
        has_best = (checkpoints / "best.ckpt").is_file()  # there is none where the first epoch was stopped
        checkpoint = checkpoints / ("best.ckpt" if has_best else "last.ckpt")
        track = partial(self._track, checkpoint)
        tune, val = dataset.truth(dataset.tune), dataset.truth(dataset.val)

        def score_at(threshold: float) -> Fields:
            track(dataset.tune, threshold, folder / "tune" / f"{threshold:g}")
            return score_tracks(tune, folder / "tune" / f"{threshold:g}")

        threshold, tuning = choose_threshold(score_at)
        frames_per_second = track(dataset.val, threshold, folder / "val")
        scores = score_tracks(val, folder / "val") | self._detection(checkpoint, dataset, folder / "test")
        rest = {"frames_per_second": frames_per_second, "threshold": threshold, "tuning": tuning}
        return {run_.system: {**scores, **rest}}

    def _track(self, checkpoint: Path, videos: Path, threshold: float, output: Path) -> float:
        """Writes tracks, and returns the frames per second that `predict` reports."""
        shutil.rmtree(output, ignore_errors=True)
        command = self._main(
            *("predict", "--ckpt_path", str(checkpoint), "--data.predict_path", str(videos)),
            *("--model.tracking.birth_threshold", str(threshold)),
            *("--model.tracking.keep_threshold", str(round(0.6 * threshold, 4))),
            *("--tracks.video", "false", "--tracks.output_dir", str(output)),
            *("--trainer.default_root_dir", str(output.parent / "runs")),
        )
        said = run(command, output.with_name(f"{output.name}.log"), self.environment)
        [speed] = re.findall(r"([\d.]+) frames/s ->", said)
        return float(speed)

    def _detection(self, checkpoint: Path, dataset: Dataset, folder: Path) -> Fields:
        """`map` and `map_50` of the network's boxes, by the function that scores those of the peers."""
        shutil.rmtree(folder, ignore_errors=True)
        command = self._main(
            *("test", "--ckpt_path", str(checkpoint), "--data.test", "datamodules.MOTChallenge"),
            *("--data.test.root", str(dataset.val), f"--data.test.classes={dataset.classes}"),
            *("--trainer.default_root_dir", str(folder)),
        )
        run(command, folder.with_suffix(".log"), self.environment)
        combined = json.loads((folder / "version_0" / "test_metrics.json").read_text())["COMBINED"]
        return {name: combined[name] for name in ("map", "map_50")}

    @staticmethod
    def _length(schedule: Schedule, batch_size: int) -> list[str]:
        clips = schedule.steps * batch_size
        return ["--trainer.max_epochs", str(schedule.epochs), "--data.clips_per_epoch", str(clips)]

    @staticmethod
    def _main(*arguments: str) -> list[str]:
        return [sys.executable, "main.py", *arguments]
