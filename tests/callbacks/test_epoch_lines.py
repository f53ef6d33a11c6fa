"""The lines that `fit` leaves in a log file, of a foreign module."""

import re
from io import StringIO

import pytest
import rich
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from lightning.pytorch.demos.boring_classes import BoringModel

from callbacks import EpochLines
from callbacks import epoch_lines as module_under_test


class Foreign(BoringModel):
    """Logs the number of its step, and how many validations there were."""

    num_validations = 0

    def training_step(self, batch, batch_idx):
        self.log("train/total", torch.tensor(float(self.global_step)))
        self.log("train/mean", torch.tensor(float(batch_idx)), on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.log("val/total", self.num_validations + 0.123456, on_epoch=True, sync_dist=True)

    def on_validation_epoch_end(self):
        self.num_validations += 1


@pytest.fixture(autouse=True)
def console(monkeypatch):
    """Keeps what bars make of the console to the test."""
    monkeypatch.setattr(rich, "_console", rich.console.Console())


@pytest.fixture
def fit(make_trainer, capsys):
    """Runs `fit` and returns the lines on the console."""

    def run(*callbacks, names=("train/total", "val/total"), module=None, **options):
        options = {"limit_train_batches": 4, "limit_val_batches": 1, "enable_progress_bar": True} | options
        make_trainer(EpochLines(names), *callbacks, **options).fit(module or Foreign())
        return lines(capsys)

    return run


def lines(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]


def without_time(lines):
    return [re.sub(r", \S+ s/step$", "", line) for line in lines]


def test_a_line_per_epoch(fit):
    found = fit(num_sanity_val_steps=1)
    assert without_time(found) == [
        "epoch 1/2, step 4: train/total 3, val/total 1.123",
        "epoch 2/2, step 8: train/total 7, val/total 2.123",
    ]
    assert all(re.search(r", [\d.e-]+ s/step$", line) for line in found)


def test_values_of_an_earlier_validation_are_not_told_again(fit):
    assert without_time(fit(check_val_every_n_epoch=2, max_epochs=3)) == [
        "epoch 1/3, step 4: train/total 3",
        "epoch 2/3, step 8: train/total 7, val/total 0.1235",
        "epoch 3/3, step 12: train/total 11",
    ]


def test_a_validation_within_an_epoch_has_a_line(fit):
    assert without_time(fit(val_check_interval=2, max_epochs=1)) == [
        "epoch 1/1, step 2: train/total 1, val/total 0.1235",
        "epoch 1/1, step 4: train/total 3, val/total 1.123",
    ]


def test_means_over_the_epoch_are_those_of_this_epoch(fit):
    assert without_time(fit(names=["train/mean"])) == [
        "epoch 1/2, step 4: train/mean 1.5",
        "epoch 2/2, step 8: train/mean 1.5",
    ]


def test_training_may_have_no_last_epoch(fit):
    assert without_time(fit(max_epochs=-1, max_steps=4)) == ["epoch 1, step 4: train/total 3, val/total 0.1235"]


@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2}, {"limit_val_batches": 0}])
def test_time_is_that_of_training_steps(fit, monkeypatch, options):
    now = [0.0]
    monkeypatch.setattr(module_under_test, "perf_counter", lambda: now[0])

    class Time(Callback):
        def on_train_batch_start(self, *args):
            now[0] += 0.5

        def on_validation_batch_start(self, *args):
            now[0] += 100

        def on_train_epoch_end(self, *args):
            now[0] += 1000

    found = fit(Time(), **options)
    assert found
    assert all(line.endswith(", 0.5 s/step") for line in found)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_has_its_bar(fit, is_terminal):
    assert bool(fit(RichProgressBar(console_kwargs={"force_terminal": is_terminal}))) != is_terminal


class OtherBar(ProgressBar):
    """Leaves the console as it is."""


@pytest.mark.parametrize(
    ("options", "has_lines"),
    [
        ({"force_terminal": True, "_environ": {"TERM": "xterm"}}, False),
        ({"force_terminal": True, "_environ": {"TERM": "dumb"}}, True),
        ({"force_terminal": False}, True),
        ({"force_jupyter": True}, False),
    ],
)
def test_lines_are_where_rich_draws_nothing(fit, monkeypatch, options, has_lines):
    monkeypatch.setattr(rich, "_console", rich.console.Console(file=StringIO(), **options))
    assert bool(fit(OtherBar())) == has_lines


@pytest.mark.parametrize("options", [{"enable_progress_bar": False}, {"fast_dev_run": True}, {"names": ["val/other"]}])
def test_is_silent_without_bar_or_metrics(fit, options):
    assert not fit(**options)


def test_other_ranks_are_silent_and_read_the_metrics_all_the_same(make_trainer, capsys, monkeypatch):
    trainer, read = make_trainer(EpochLines(), enable_progress_bar=True), []
    monkeypatch.setattr(type(trainer), "is_global_zero", False)
    monkeypatch.setattr(type(trainer), "callback_metrics", property(lambda self: read.append(1) or {"val/total": 1.0}))
    lines_of_rank = EpochLines()
    lines_of_rank.on_train_start(trainer, None)
    lines_of_rank.on_train_epoch_end(trainer, None)
    assert read
    assert not lines(capsys)


def test_validate_and_a_fit_after_a_failure(make_trainer, capsys):
    class Failing(Foreign):
        def on_train_batch_start(self, batch, batch_idx):
            if self.global_step == 2:
                raise KeyError

    callback, options = EpochLines(), {"limit_train_batches": 4, "limit_val_batches": 1, "enable_progress_bar": True}
    with pytest.raises(KeyError):
        make_trainer(callback, **options).fit(Failing())
    make_trainer(callback, **options).validate(Foreign(), verbose=False)
    assert not lines(capsys)
    make_trainer(callback, max_epochs=1, **options).fit(Foreign())
    assert without_time(lines(capsys)) == ["epoch 1/1, step 4: train/total 3, val/total 0.1235"]
