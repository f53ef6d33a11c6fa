"""Logs of a resumed run, row by row those of a run that never stopped."""

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from scene_model.cli.run_logs import ContinuedCSVLogger, LogPosition


class Logging(LightningModule):
    """Logs by step, in validation, and a metric that only the second epoch has; maybe by epoch."""

    def __init__(self, means):
        super().__init__()
        self.means = means
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch, batch_idx):
        loss = (self.weight * batch).square().mean()
        self.log("loss", loss)
        if self.means:  # which Lightning forgets in the middle of an epoch
            self.log("mean", loss, on_step=False, on_epoch=True)
        if self.current_epoch == 1:
            self.log("late", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", self.weight.sum())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAndDie(Callback):
    """Saves at a hook, and ends abruptly before Lightning logs anything more, or only some steps later."""

    def __init__(self, path, hook, step, steps_later):
        self.path, self.step, self.dies_at = path, step, step + steps_later
        setattr(self, hook, self.act)

    def act(self, trainer, *args, **kwargs):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
        if trainer.global_step == self.dies_at:
            raise KeyboardInterrupt


def fit(folder, *callbacks, means=False, logged=None, path=None, **options):
    logged = logged or {}
    logger = ContinuedCSVLogger(save_dir=str(folder), name="", version="run", num_rows=logged.get("num_rows"))
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=logger,
        log_every_n_steps=1,
        callbacks=[LogPosition(logged), *callbacks],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    data = DataLoader(torch.ones(4, 1))
    trainer.fit(Logging(means), data, data, ckpt_path=path, weights_only=True)
    return (folder / "run/metrics.csv").read_text()


@pytest.mark.parametrize(
    ("hook", "step", "steps_later"),
    [
        ("on_train_batch_end", 1, 0),  # the row of the batch is lost with the kill
        ("on_train_batch_end", 1, 1),  # it is there, and others that must go
        ("on_train_batch_end", 3, 2),  # among them a new column
        ("on_validation_end", 2, 0),
        ("on_validation_end", 2, 2),
        ("on_train_epoch_end", 4, 0),  # the row of the epoch is lost
        ("on_train_epoch_end", 4, 4),
    ],
)
def test_rows_are_those_of_a_run_that_never_stopped(tmp_path, hook, step, steps_later):
    options = {"means": hook == "on_train_epoch_end", "val_check_interval": 0.5}
    whole = fit(tmp_path / "whole", **options)
    path = tmp_path / "last.ckpt"
    with pytest.raises(SystemExit):
        fit(tmp_path / "cut", SaveAndDie(path, hook, step, steps_later), **options)
    logged = torch.load(path, weights_only=True)["logged"]
    assert fit(tmp_path / "cut", logged=logged, path=path, **options) == whole
    assert logged["next_step"] == step


def test_what_a_kill_left_of_the_first_line_is_forgotten(tmp_path):
    whole = fit(tmp_path / "whole")
    (tmp_path / "cut/run").mkdir(parents=True)
    (tmp_path / "cut/run/metrics.csv").write_text("epoch,lo")
    assert fit(tmp_path / "cut", logged={"num_rows": 0}) == whole


def test_a_new_column_leaves_the_file_whole_at_every_moment(tmp_path, monkeypatch):
    logger = ContinuedCSVLogger(save_dir=str(tmp_path), name="", version="run")
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()

    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", die)
    logger.log_metrics({"b": 1.0}, 1)
    with pytest.raises(KeyboardInterrupt):
        logger.save()
    assert (tmp_path / "run/metrics.csv").read_text().splitlines() == ["a,step", "1.0,0"]
