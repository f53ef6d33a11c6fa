"""Learning rates of a foreign module."""

import csv
from pathlib import Path

import pytest
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger

from callbacks import LRMonitor


@pytest.mark.parametrize("options", [{"logger": False}, {"fast_dev_run": True}, {"fast_dev_run": True, "logger": True}])
def test_is_silent_where_there_is_nothing_to_log_to(make_trainer, options, recwarn):
    make_trainer(LRMonitor(), **options).fit(BoringModel())
    assert not [warning for warning in recwarn if "learning rate" in str(warning.message).lower()]


def test_logs_the_rate_of_each_epoch(make_trainer, tmp_path):
    logger = CSVLogger(tmp_path, name="")
    trainer = make_trainer(LRMonitor(), logger=logger, log_every_n_steps=1, limit_train_batches=3, max_epochs=2)
    trainer.fit(BoringModel())
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rates = [float(row["lr-SGD"]) for row in csv.DictReader(file) if row["lr-SGD"]]
    assert rates == pytest.approx([0.1, 0.01])
