"""The loggers of a run, which go on in the folder of a resumed one as if it had never stopped."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loops.progress import _ProcessedTracker, _Progress

from scene_model.cli.version_folder import global_rank
from scene_model.files import NewFile, file_errors

KEY = "logged"


def run_loggers(folder: Path, logged: Mapping[str, Any]) -> list[Logger]:
    """TensorBoard events and ``metrics.csv``, both in the folder of the run itself.

    Args:
        folder: of the run.
        logged: what `LogPosition` stored in the checkpoint that a resumed run goes on with. What was logged after it is
            taken back: ``metrics.csv`` ends where it did then, TensorBoard is told to hide it. Empty: nothing is.
    """
    number = folder.name.removeprefix("version_")
    place: dict[str, Any] = {
        "save_dir": str(folder.parent),
        "name": "",
        "version": int(number) if number.isdigit() else folder.name,
    }
    return [
        TensorBoardLogger(**place, default_hp_metric=False, purge_step=logged.get("next_step")),
        ContinuedCSVLogger(**place, num_rows=logged.get("num_rows")),
    ]


class LogPosition(Callback):
    """Stores in every checkpoint how far the logs were, for `run_loggers`, and what was about to be logged.

    A checkpoint is written at the end of a batch or an epoch, and only then does Lightning log that batch or epoch: a
    run that is killed in between has it in no file. Where it goes on, this is logged first. TensorBoard may then have
    the same value twice.

    Args:
        logged: what was stored in the checkpoint that a resumed run goes on with; else empty.
    """

    def __init__(self, logged: Mapping[str, Any]) -> None:
        self._pending = logged.get("pending")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Logs what was about to be."""
        if stage == "fit" and self._pending:
            for logger in trainer.loggers:
                logger.log_metrics(dict(self._pending["metrics"]), self._pending["step"])
            self._pending = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the position; what loggers hold in memory is in their files before a checkpoint says so."""
        for logger in trainer.loggers:
            logger.save()
        position: dict[str, Any] = {"next_step": _next_step(trainer), "pending": _pending_row(trainer)}
        for logger in trainer.loggers:
            if isinstance(logger, ContinuedCSVLogger) and trainer.is_global_zero:
                position["num_rows"] = logger.num_rows
        checkpoint[KEY] = position


def _next_step(trainer: Trainer) -> int:
    """The first step that nothing has been logged under; Lightning counts a batch after the validation behind it."""
    loop = trainer.fit_loop.epoch_loop
    return loop._batches_that_stepped + (trainer.validating or _is_ending(loop.batch_progress))


def _pending_row(trainer: Trainer) -> dict[str, Any] | None:
    """What Lightning logs right after the hook that it is in, and the step that it gives."""
    loop, connector = trainer.fit_loop, trainer._logger_connector
    step: int = loop.epoch_loop._batches_that_stepped
    if _is_ending(loop.epoch_loop.batch_progress):
        due = connector.should_update_logs and not loop._should_accumulate()
    else:
        due, step = _is_ending(loop.epoch_progress), step - 1
    metrics = convert_tensors_to_scalars(connector.metrics["log"]) if due else {}
    return {"step": step, "metrics": {**metrics, "epoch": trainer.current_epoch}} if metrics else None


def _is_ending(progress: _Progress) -> bool:
    """Whether Lightning is in the hook that ends a batch or an epoch."""
    current = cast(_ProcessedTracker, progress.current)
    return current.processed > current.completed


class ContinuedCSVLogger(CSVLogger):
    """Lightning's CSVLogger, which goes on with the ``metrics.csv`` of a resumed run instead of deleting it.

    Args:
        num_rows: rows of it to keep; null: all.
        options: of CSVLogger.
    """

    def __init__(self, num_rows: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._num_kept = num_rows

    @property
    def experiment(self) -> ExperimentWriter:
        """The writer of the file; does nothing on other ranks than the first."""
        if self._experiment is None and global_rank() == 0:
            self._experiment = _ContinuedWriter(self.log_dir, self._num_kept)
        return super().experiment

    @property
    def num_rows(self) -> int:
        """Rows logged so far, by all that trained in this folder; on the first rank only."""
        writer = self.experiment
        assert isinstance(writer, _ContinuedWriter)
        return writer.num_rows


class _ContinuedWriter(ExperimentWriter):
    def __init__(self, log_dir: str, num_kept: int | None) -> None:
        super().__init__(log_dir)
        self.num_rows = 0
        path = Path(self.metrics_file_path)
        if num_kept == 0:
            path.unlink(missing_ok=True)  # not even its first line need be whole
        elif path.is_file():
            rows = self._read()[:num_kept]
            self.num_rows = len(rows)
            self._write(rows)

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics_dict, step)
        self.num_rows += 1

    def save(self) -> None:
        with file_errors(Path(self.metrics_file_path)):
            super().save()

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        """Upstream writes over the file, so that a kill would lose it."""
        rows = self._read()
        self.metrics_keys = fieldnames
        self._write(rows)

    def _read(self) -> list[dict[str, str]]:
        with open(self.metrics_file_path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            self.metrics_keys = list(reader.fieldnames or [])
        return rows

    def _write(self, rows: Iterable[Mapping[str, str]]) -> None:
        with NewFile(Path(self.metrics_file_path)) as new, file_errors(new.path):
            with new.part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
                writer.writeheader()
                writer.writerows(rows)
            new.place()

    def _check_log_dir_exists(self) -> None:
        """Upstream deletes the file here."""
