"""Where a run keeps its files."""

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from track_cases import ServiceLogger

from callbacks.run_folder import run_folder


def test_without_a_logger_it_is_the_trainers(make_trainer, tmp_path):
    assert run_folder(make_trainer()) == tmp_path


@pytest.mark.parametrize("logger", [CSVLogger, TensorBoardLogger])
def test_loggers_that_write_files_know_it(make_trainer, tmp_path, logger):
    folder = tmp_path / "elsewhere"
    assert run_folder(make_trainer(logger=logger(folder, name="run"))) == folder / "run" / "version_0"


def test_where_a_service_collects_its_files_it_is_not(make_trainer, tmp_path):
    assert run_folder(make_trainer(logger=ServiceLogger())) == tmp_path
    assert run_folder(make_trainer(logger=[ServiceLogger(), CSVLogger(tmp_path / "csv")])) == tmp_path


def test_all_ranks_get_that_of_the_first(make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer()
    monkeypatch.setattr(trainer.strategy, "broadcast", lambda folder: f"{folder}/of/the/first")
    assert run_folder(trainer) == tmp_path / "of/the/first"
