"""Checkpoints of a foreign module whose score follows a script."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn
from torch.utils.data import DataLoader

from callbacks import BestAndLast

STEPS = 4


class Scripted(LightningModule):
    """Its n-th validation in fit scores `scores[n]`."""

    def __init__(self, *scores):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.scores = list(scores)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()

    def validation_step(self, batch, batch_idx):
        if not self.trainer.sanity_checking:
            self.log("val/score", self.scores.pop(0))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(length=STEPS):
    return DataLoader(torch.ones(length, 2))


def fit(make_trainer, scores, *callbacks, max_epochs=None, ckpt_path=None, **kwargs):
    trainer = make_trainer(*callbacks, max_epochs=max_epochs or len(scores), enable_checkpointing=True, **kwargs)
    trainer.fit(Scripted(*scores), loader(), loader(1), ckpt_path=ckpt_path, weights_only=True)
    return trainer


def step_of(path):
    return torch.load(path, weights_only=True)["global_step"]


def steps(folder):
    return {path.name: step_of(path) for path in Path(folder).iterdir()}


@pytest.mark.parametrize(
    ("mode", "scores", "best"),
    [
        ("max", [0.1, 0.3, 0.2], 2),
        ("max", [0.3, 0.2, 0.1], 1),
        ("max", [0.1, 0.1, 0.1], 1),
        ("max", [float("nan"), 0.1, float("nan")], 2),
        ("min", [0.3, 0.1, 0.2], 2),
    ],
)
def test_keeps_the_best_and_the_last_epoch(make_trainer, tmp_path, mode, scores, best):
    trainer = fit(make_trainer, scores, BestAndLast("val/score", mode), num_sanity_val_steps=1)
    assert steps(tmp_path / "checkpoints") == {"best.ckpt": best * STEPS, "last.ckpt": len(scores) * STEPS}
    assert trainer.checkpoint_callback.best_model_path == str(tmp_path / "checkpoints" / "best.ckpt")


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_goes_to_the_folder_of_the_logger(make_trainer, tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = kind("runs", name="", version=3)
    fit(make_trainer, [0.1], BestAndLast("val/score"), logger=logger)
    assert steps(Path(logger.log_dir) / "checkpoints") == {"best.ckpt": STEPS, "last.ckpt": STEPS}


def test_without_validation_the_last_one_is_kept(make_trainer, tmp_path):
    saved = []

    class Look(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            saved.append(steps(tmp_path / "checkpoints") if trainer.current_epoch else {})

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(monitor|best checkpoint)")
        fit(make_trainer, [], BestAndLast("val/score"), Look(), max_epochs=3, limit_val_batches=0)
    assert saved == [{}, {"last.ckpt": STEPS}, {"last.ckpt": 2 * STEPS}]
    assert steps(tmp_path / "checkpoints") == {"last.ckpt": 3 * STEPS}


def test_says_so_where_the_metric_is_not_logged(make_trainer, tmp_path):
    with pytest.warns(UserWarning, match=r"No best checkpoint: 'val/scroe' was not logged .*: val/score"):
        fit(make_trainer, [0.1], BestAndLast("val/scroe"))
    assert steps(tmp_path / "checkpoints") == {"last.ckpt": STEPS}


def test_epochs_without_validation_do_not_count_an_old_score(make_trainer, tmp_path):
    fit(make_trainer, [0.1], BestAndLast("val/score"), max_epochs=3, check_val_every_n_epoch=2)
    assert steps(tmp_path / "checkpoints") == {"best.ckpt": 2 * STEPS, "last.ckpt": 3 * STEPS}


def test_validation_within_an_epoch(make_trainer, tmp_path):
    fit(make_trainer, [0.2, 0.1], BestAndLast("val/score"), max_epochs=1, val_check_interval=0.5)
    assert steps(tmp_path / "checkpoints") == {"best.ckpt": STEPS // 2, "last.ckpt": STEPS}


def test_saves_within_an_epoch_without_missing_a_score(make_trainer, tmp_path):
    saved = []

    class Look(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            saved.append(step_of(tmp_path / "checkpoints" / "last.ckpt") if trainer.global_step > 1 else 0)

    fit(make_trainer, [0.1, 0.2], BestAndLast("val/score", every_n_train_steps=2), Look())
    assert saved == [0, 0, 2, 2, 4, 4, 6, 6]
    assert steps(tmp_path / "checkpoints") == {"best.ckpt": 2 * STEPS, "last.ckpt": 2 * STEPS}


@pytest.mark.parametrize("moved", [False, True])
def test_resumed_run_remembers_its_best_score(make_trainer, tmp_path, moved):
    folder = tmp_path / "run"
    fit(make_trainer, [0.5, 0.1], BestAndLast("val/score", dirpath=str(folder)))
    if moved:
        folder = Path(shutil.move(folder, tmp_path / "moved"))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(not empty|dirpath has changed|another run)")
        callback = BestAndLast("val/score", dirpath=str(folder), every_n_train_steps=3)
        fit(make_trainer, [0.3], callback, max_epochs=3, ckpt_path=folder / "last.ckpt")
    assert steps(folder) == {"best.ckpt": STEPS, "last.ckpt": 3 * STEPS}
    assert callback.best_model_score == 0.5
    assert callback.best_model_path == str(folder / "best.ckpt")


def test_run_resumed_elsewhere_starts_a_new_score(make_trainer, tmp_path):
    fit(make_trainer, [0.5], BestAndLast("val/score", dirpath=str(tmp_path / "old")))
    new = BestAndLast("val/score", dirpath=str(tmp_path / "new"))
    fit(make_trainer, [0.3], new, max_epochs=2, ckpt_path=tmp_path / "old" / "last.ckpt")
    assert steps(tmp_path / "new") == {"best.ckpt": 2 * STEPS, "last.ckpt": 2 * STEPS}
    assert steps(tmp_path / "old") == {"best.ckpt": STEPS, "last.ckpt": STEPS}


def test_warns_of_the_checkpoints_of_another_run(make_trainer, tmp_path):
    fit(make_trainer, [0.5], BestAndLast("val/score"))
    with pytest.warns(UserWarning, match=f"in {tmp_path}/checkpoints are of another run and will be overwritten"):
        fit(make_trainer, [0.3], BestAndLast("val/score"))


def test_an_interrupted_write_leaves_the_old_file(make_trainer, tmp_path, monkeypatch):
    def write_half(checkpoint, path, storage_options=None):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    callback = BestAndLast("val/score")
    trainer = fit(make_trainer, [0.1], callback)
    monkeypatch.setattr(trainer.strategy.checkpoint_io, "save_checkpoint", write_half)
    with pytest.raises(OSError, match="disk full"):
        callback._save_last_checkpoint(trainer, {})
    assert step_of(tmp_path / "checkpoints" / "last.ckpt") == STEPS


@pytest.mark.parametrize(("exception", "last"), [(SIGTERMException, STEPS + 2), (RuntimeError, STEPS)])
def test_saves_on_sigterm_but_not_in_the_middle_of_a_failing_step(make_trainer, tmp_path, exception, last):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == STEPS + 2:
                raise exception

    with pytest.raises(exception):
        fit(make_trainer, [0.1, 0.2], BestAndLast("val/score"), Stop())
    assert steps(tmp_path / "checkpoints") == {"best.ckpt": STEPS, "last.ckpt": last}


def test_fast_dev_run_and_validate_leave_nothing_behind(make_trainer, tmp_path):
    fit(make_trainer, [0.1], BestAndLast("val/score"), fast_dev_run=True)
    trainer = make_trainer(BestAndLast("val/score"), enable_checkpointing=True)
    trainer.validate(Scripted(0.1), loader(1), verbose=False)
    assert not list(tmp_path.iterdir())


def test_lightnings_own_callback_leaves_the_last_checkpoint_behind_the_run(make_trainer, tmp_path):
    """The reason for this class; where this fails, Lightning has mended it."""
    stock = ModelCheckpoint(tmp_path / "stock", "best", "val/score", save_last=True, mode="max")
    fit(make_trainer, [0.3, 0.2, 0.1], stock)
    assert steps(tmp_path / "stock") == {"best.ckpt": STEPS, "last.ckpt": STEPS}
