"""Freezing and unfreezing a part of a foreign module."""

import os
import subprocess
import sys
import warnings
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn
from torch.utils.data import DataLoader

from callbacks import BackboneUnfreeze
from scene_model.errors import UserError

ROOT = Path(__file__).parents[2]


class Regressor(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.ModuleDict({"stem": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.1))})
        self.head = nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        return self.head(self.net["stem"](batch)).square().mean()

    def validation_step(self, batch, batch_idx):
        self.head(self.net["stem"](batch))

    def on_validation_model_train(self):
        self.train()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)


class Record(Callback):
    """Keeps the state before the training and after every epoch."""

    def __init__(self):
        self.epochs = []

    def on_train_start(self, trainer, pl_module):
        self.epochs.append(deepcopy(pl_module.state_dict()))

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append(deepcopy(pl_module.state_dict()))

    @property
    def moved(self):
        """Whether each epoch changed every tensor of the stem (True), none (False), or some ("mixed")."""
        return [
            {True: True, False: False}.get(len(changes) == 1 and changes.pop(), "mixed")
            for changes in (
                {not before[name].equal(after[name]) for name in before if name.startswith("net.stem")}
                for before, after in pairwise(self.epochs)
            )
        ]


def loader():
    return DataLoader(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), batch_size=4)


@pytest.mark.parametrize(
    ("epoch", "freeze", "moved"),
    [
        (None, None, [True, True, True]),
        (2, None, [False, False, True]),
        (0, None, [True, True, True]),
        (1, True, [False, True, True]),
        (None, True, [False, False, False]),
        (None, False, [True, True, True]),
    ],
)
def test_trains_from_the_given_epoch_on(make_trainer, epoch, freeze, moved):
    record = Record()
    callback = BackboneUnfreeze(epoch, freeze, module="net.stem")
    make_trainer(callback, record, max_epochs=3).fit(Regressor(), loader(), loader())
    assert record.moved == moved
    assert not any(before["head.weight"].equal(after["head.weight"]) for before, after in pairwise(record.epochs))


def test_says_once_that_freeze_false_wins(make_trainer):
    record = Record()
    with pytest.warns(UserWarning, match="net.stem trains from the start") as caught:
        make_trainer(BackboneUnfreeze(1, freeze=False, module="net.stem"), record).fit(Regressor(), loader())
    assert sum("trains from the start" in str(warning.message) for warning in caught) == 1
    assert record.moved == [True, True]


@pytest.mark.parametrize(("max_epochs", "moved"), [(2, [False]), (3, [False, True])])
def test_resumed_run_knows_what_is_frozen(make_trainer, tmp_path, max_epochs, moved):
    first = make_trainer(BackboneUnfreeze(2, module="net.stem"), max_epochs=1)
    first.fit(Regressor(), loader())
    first.save_checkpoint(tmp_path / "epoch.ckpt")
    record = Record()
    resumed = make_trainer(BackboneUnfreeze(2, module="net.stem"), record, max_epochs=max_epochs)
    resumed.fit(Regressor(), loader(), ckpt_path=tmp_path / "epoch.ckpt", weights_only=True)
    assert record.moved == moved


@pytest.mark.parametrize(("unfreeze", "moved"), [(1, True), (2, False)])
def test_resumed_within_an_epoch(make_trainer, tmp_path, unfreeze, moved):
    class SaveMidEpoch(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 3:
                trainer.save_checkpoint(tmp_path / "mid.ckpt")

    make_trainer(BackboneUnfreeze(unfreeze, module="net.stem"), SaveMidEpoch()).fit(Regressor(), loader())
    record = Record()
    resumed = make_trainer(BackboneUnfreeze(unfreeze, module="net.stem"), record)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch ended")
        resumed.fit(Regressor(), loader(), ckpt_path=tmp_path / "mid.ckpt", weights_only=True)
    assert resumed.global_step == 4
    assert record.moved == [moved]


def test_leaves_alone_what_was_not_trainable_before(make_trainer):
    module = Regressor()
    linear, norm, dropout = module.net["stem"]
    linear.bias.requires_grad_(False)
    norm.eval()
    seen = []

    class Look(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append((linear.weight.requires_grad, linear.bias.requires_grad, norm.training, dropout.training))

    trainer = make_trainer(BackboneUnfreeze(1, module="net.stem"), Look(), limit_train_batches=1)
    trainer.fit(module, loader())
    assert seen == [(False, False, False, True), (True, False, False, True)]


@pytest.mark.parametrize("fails", [False, True])
def test_gives_the_model_back_trainable(make_trainer, fails):
    class Fail(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if fails:
                raise RuntimeError("planted")

    module = Regressor()
    trainer = make_trainer(BackboneUnfreeze(5, module="net.stem"), Fail())
    if fails:
        with pytest.raises(RuntimeError, match="planted"):
            trainer.fit(module, loader())
    else:
        trainer.fit(module, loader())
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert module.net["stem"][1].training


def test_names_the_module_that_is_missing(make_trainer):
    trainer = make_trainer(BackboneUnfreeze(1, module="net.stm"))
    with pytest.raises(UserError, match=r"module: 'net.stm' is no part of Regressor; parts: net, head"):
        trainer.fit(Regressor(), loader())


def test_needs_no_module_where_nothing_is_frozen(make_trainer):
    make_trainer(BackboneUnfreeze(), fast_dev_run=True).fit(Regressor(), loader())


def train_on_two_processes(tmp_path, forgets=""):
    script = Path(__file__).with_name("ddp_unfreeze_script.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.run(
        [sys.executable, str(script), str(tmp_path), forgets],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    if process.returncode:
        raise RuntimeError(process.stderr[-2000:])
    return [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]


def same(one, other, part):
    return all(one[name].equal(other[name]) for name in one if name.startswith(part))


@pytest.mark.slow
def test_ranks_stay_equal_after_unfreezing(tmp_path):
    for rank in (ranks := train_on_two_processes(tmp_path)):
        assert same(rank[0], rank[1], "backbone")
        assert not any(rank[1][name].equal(rank[3][name]) for name in rank[1])
    assert all(same(one, other, "") for one, other in zip(*ranks, strict=True))


@pytest.mark.slow
def test_ranks_diverge_unless_the_model_is_wrapped_anew_at_unfreezing(tmp_path):
    one, other = train_on_two_processes(tmp_path, forgets="unfreeze")
    assert same(one[1], other[1], "")
    assert not same(one[3], other[3], "backbone")


@pytest.mark.slow
def test_training_fails_unless_the_model_is_wrapped_anew_at_freezing(tmp_path):
    with pytest.raises(RuntimeError, match="parameters that were not used in producing the loss"):
        train_on_two_processes(tmp_path, forgets="freeze")
