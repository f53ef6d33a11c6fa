"""Averaged weights of a foreign module."""

import math
import warnings

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn
from torch.utils.data import DataLoader

from callbacks import EMA, BestAndLast

STEPS = 4


class Regressor(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        self.register_buffer("seen", torch.tensor(0))

    def training_step(self, batch, batch_idx):
        self.seen += 1
        return self.net(batch).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/score", self.net(batch).mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.05)


def loader():
    return DataLoader(torch.randn(4 * STEPS, 3, generator=torch.Generator().manual_seed(0)), batch_size=4)


def snapshot(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


class Record(Callback):
    """Keeps the weights after each step and those that validation saw; comes after EMA in the list."""

    def __init__(self):
        self.trained, self.validated = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.trained.append(snapshot(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.validated.append(snapshot(pl_module))


@pytest.mark.parametrize("warmup_steps", [0, 3])
def test_average_follows_the_formula(make_trainer, warmup_steps):
    record, module = Record(), Regressor()
    make_trainer(EMA(0.9, warmup_steps), record, max_epochs=1).fit(module, loader())
    expected = record.trained[0]
    for step, weights in enumerate(record.trained[1:], start=2):
        decay = 0.9 * (1 - math.exp(-step / warmup_steps)) if warmup_steps else 0.9
        for name, value in weights.items():
            is_float = value.is_floating_point()
            expected[name] = decay * expected[name] + (1 - decay) * value if is_float else value
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert module.seen == STEPS
    assert module.net[1].num_batches_tracked == STEPS


def test_validation_and_checkpoint_have_the_average(make_trainer, tmp_path):
    record, checkpoint = Record(), BestAndLast("val/score", dirpath=str(tmp_path))
    make_trainer(EMA(0.9, 0), record, checkpoint, max_epochs=1, enable_checkpointing=True, limit_val_batches=1).fit(
        Regressor(), loader(), loader()
    )
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert equal(saved["state_dict"], record.validated[-1])
    assert equal(saved["current_model_state"], record.trained[-1])
    assert not equal(saved["state_dict"], saved["current_model_state"])


def test_resumed_run_equals_an_uninterrupted_one(make_trainer, tmp_path):
    def run(name, max_epochs, ckpt_path=None):
        trainer = make_trainer(EMA(0.9, 3), max_epochs=max_epochs)
        trainer.fit(Regressor(), loader(), loader(), ckpt_path=ckpt_path, weights_only=True)
        trainer.save_checkpoint(tmp_path / name)
        return torch.load(tmp_path / name, weights_only=True)

    through = run("through.ckpt", 2)
    run("half.ckpt", 1)
    resumed = run("resumed.ckpt", 2, tmp_path / "half.ckpt")
    assert equal(through["state_dict"], resumed["state_dict"])
    assert equal(through["current_model_state"], resumed["current_model_state"])
    assert not equal(through["state_dict"], through["current_model_state"])


@pytest.mark.parametrize("during", ["training", "validation"])
def test_checkpoint_of_an_interrupted_run_has_both_in_their_places(make_trainer, tmp_path, during):
    class Terminate(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if during == "training" and trainer.global_step == STEPS:
                raise SIGTERMException

        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
            raise SIGTERMException

    record = Record()
    checkpoint = BestAndLast("val/score", dirpath=str(tmp_path))
    trainer = make_trainer(EMA(0.9, 0), record, Terminate(), checkpoint, enable_checkpointing=True)
    with pytest.raises(SIGTERMException):
        trainer.fit(Regressor(), loader(), loader())
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert equal(saved["current_model_state"], record.trained[-1])
    if during == "validation":
        assert equal(saved["state_dict"], record.validated[-1])
    assert not equal(saved["state_dict"], saved["current_model_state"])


def test_other_stages_use_the_average_and_say_nothing(make_trainer, tmp_path):
    fit = make_trainer(EMA(0.9, 0))
    fit.fit(Regressor(), loader(), loader())
    fit.save_checkpoint(tmp_path / "run.ckpt")
    average = torch.load(tmp_path / "run.ckpt", weights_only=True)["state_dict"]
    for trainer in (fit, make_trainer(EMA(0.9, 0))):
        module = Regressor()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*WeightAveraging")
            trainer.validate(module, loader(), ckpt_path=tmp_path / "run.ckpt", verbose=False, weights_only=True)
        assert equal(snapshot(module), average)
        trainer.save_checkpoint(tmp_path / "validated.ckpt")
        assert "current_model_state" not in torch.load(tmp_path / "validated.ckpt", weights_only=True)


def test_switched_off_it_leaves_no_trace(make_trainer, tmp_path):
    plain, record, module = Record(), Record(), Regressor()
    make_trainer(plain).fit(Regressor(), loader(), loader())
    trainer = make_trainer(EMA(decay=None), record)
    trainer.fit(module, loader(), loader())
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    saved = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert equal(snapshot(module), plain.trained[-1])
    assert all(equal(one, other) for one, other in zip(record.validated, plain.validated, strict=True))
    assert saved["callbacks"] == {}
    assert not {"current_model_state", "averaging_state"} & saved.keys()


def test_works_on_a_module_compiled_in_place(make_trainer, tmp_path):
    module = Regressor()
    module.net.compile(backend="eager")
    trainer = make_trainer(EMA(), max_epochs=1)
    trainer.fit(module, loader(), loader())
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    Regressor().load_state_dict(torch.load(tmp_path / "run.ckpt", weights_only=True)["state_dict"])


def test_counts_optimizer_steps_not_batches(make_trainer):
    record, module = Record(), Regressor()
    make_trainer(EMA(0.5, 0), record, max_epochs=1, accumulate_grad_batches=2).fit(module, loader())
    first, second = record.trained[1], record.trained[3]
    torch.testing.assert_close(module.net[0].weight.data, (first["net.0.weight"] + second["net.0.weight"]) / 2)


def test_fast_dev_run(make_trainer):
    make_trainer(EMA(), fast_dev_run=True).fit(Regressor(), loader(), loader())


def test_the_average_is_made_where_the_model_will_be(make_trainer, monkeypatch):
    """Lightning moves the model to its device only after the callbacks' setup."""
    trainer, ema = make_trainer(), EMA()
    monkeypatch.setattr(type(trainer.strategy), "root_device", torch.device("meta"))
    ema.setup(trainer, Regressor(), "fit")
    assert {parameter.device.type for parameter in ema._average_model.parameters()} == {"meta"}
