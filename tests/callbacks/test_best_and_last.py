"""Checkpoints of a foreign module whose score follows a script."""

import os
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
from scene_model.errors import UserError

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
    """The steps of a folder's checkpoints, but for the one before the last; no other file is there."""
    return {path.name: step_of(path) for path in Path(folder).iterdir() if path.name != "previous.ckpt"}


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


def test_keeps_the_checkpoint_before_the_last(make_trainer, tmp_path):
    fit(make_trainer, [0.1, 0.2, 0.3], BestAndLast("val/score"))
    assert step_of(tmp_path / "checkpoints/previous.ckpt") == 2 * STEPS


def test_where_files_cannot_be_linked_the_last_is_written_without_one_before(make_trainer, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError("this file system has no hard links")

    monkeypatch.setattr(os, "link", refuse)
    fit(make_trainer, [0.1, 0.2], BestAndLast("val/score"))
    assert steps(tmp_path / "checkpoints") == {"best.ckpt": 2 * STEPS, "last.ckpt": 2 * STEPS}
    assert not (tmp_path / "checkpoints/previous.ckpt").exists()


def test_the_last_is_never_missing_or_cut_short(make_trainer, tmp_path, monkeypatch):
    """Whenever the file system is asked for something, `last.ckpt` is whole, and on the disk before it has its name."""
    last, synced, seen = tmp_path / "checkpoints/last.ckpt", set(), []

    def watch(name):
        original = getattr(os, name)

        def asked(target, *args, **kwargs):
            if last.exists():
                seen.append(step_of(last))
            if name == "fsync":
                synced.add(os.fstat(target).st_ino)
            if name == "replace":
                assert os.stat(target).st_ino in synced
            return original(target, *args, **kwargs)

        monkeypatch.setattr(os, name, asked)

    for name in ("fsync", "link", "replace", "unlink"):
        watch(name)
    fit(make_trainer, [0.1, 0.2, 0.3], BestAndLast("val/score", every_n_train_steps=2))
    assert seen == sorted(seen)
    assert set(seen) == {2, 4, 6, 8, 10, 12}


def test_a_full_disk_ends_the_training_in_one_sentence_and_leaves_the_old_file(make_trainer, tmp_path, full_disk):
    class Fill(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                self.disk = full_disk()
                self.disk.__enter__()

    fill = Fill()
    big = torch.nn.Parameter(torch.zeros(10_000))
    module = Scripted(0.1, 0.2)
    module.register_parameter("big", big)
    trainer = make_trainer(BestAndLast("val/score"), fill, enable_checkpointing=True)
    try:
        with pytest.raises(UserError) as error:
            trainer.fit(module, loader(), loader(1))
    finally:
        fill.disk.__exit__(None, None, None)
    assert str(error.value).startswith(f"{tmp_path}/checkpoints/best.ckpt: cannot be written (File too large)")
    assert steps(tmp_path / "checkpoints") == {"best.ckpt": STEPS, "last.ckpt": STEPS}


def test_no_checkpoint_comes_between_a_batch_and_its_validation(make_trainer, tmp_path):
    """A run that goes on from one in between would leave the validation out."""
    saved = []

    class Look(Callback):
        def on_validation_start(self, trainer, pl_module):
            saved.append((trainer.global_step, step_of(tmp_path / "checkpoints/last.ckpt")))

    fit(
        make_trainer,
        [0.1] * 2,
        BestAndLast("val/score", every_n_train_steps=1),
        Look(),
        max_epochs=1,
        val_check_interval=0.5,
    )
    assert saved == [(2, 1), (4, 3)]


def test_a_validation_that_sigterm_cut_off_is_repeated_as_a_whole(make_trainer, tmp_path):
    class Stop(Callback):
        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            raise SIGTERMException

    class Count(Callback):
        batches = 0

        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.batches += 1

    options = {"max_epochs": 1, "val_check_interval": 0.5, "enable_checkpointing": True}
    with pytest.raises(SIGTERMException):
        make_trainer(BestAndLast("val/score"), Stop(), **options).fit(Scripted(*[0.1] * 9), loader(), loader(3))
    count = Count()
    trainer = make_trainer(BestAndLast("val/score"), count, **options)
    trainer.fit(
        Scripted(*[0.1] * 9), loader(), loader(3), ckpt_path=tmp_path / "checkpoints/last.ckpt", weights_only=True
    )
    assert count.batches == 2 * 3
    assert steps(tmp_path / "checkpoints") == {"best.ckpt": 2, "last.ckpt": STEPS}


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


def test_no_checkpoint_comes_while_gradients_are_accumulated(make_trainer, tmp_path):
    saved = []

    class Look(BestAndLast):
        def _save(self, trainer):
            saved.append((trainer.global_step, trainer.fit_loop.batch_idx))
            super()._save(trainer)

    options = {"accumulate_grad_batches": 2, "limit_val_batches": 0}
    fit(make_trainer, [], BestAndLast("val/score", every_n_train_steps=1), max_epochs=1, **options)
    fit(
        make_trainer,
        [],
        Look("val/score", every_n_train_steps=1),
        max_epochs=2,
        ckpt_path=tmp_path / "checkpoints/last.ckpt",
        **options,
    )
    assert saved == [(3, 1), (4, 3)]
