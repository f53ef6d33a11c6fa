"""Bad numbers stop a training before they reach the weights, and the healthy step waits for nothing."""

from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from callbacks import FiniteGuard, finite_guard
from scene_model.bad_step import read_bad_step
from scene_model.batch import SceneBatch, SequenceInfo, TargetFrame
from scene_model.errors import NonFiniteError

NAN, INF = float("nan"), float("inf")


def batch(number):
    """Clips of two sequences; `number` is what the frames hold."""
    return SceneBatch(
        frames=torch.full((2, 2, 3, 1, 1), float(number)),
        targets=[[TargetFrame.empty()] * 2] * 2,
        padding_mask=torch.tensor([[False, False], [False, True]]),
        sequences=[SequenceInfo(name, 90, 1, 1, 10.0) for name in ("A", "B")],
        frame_indices=torch.tensor([[number, number + 2], [number, number]]),
        seeds=torch.tensor([1, 2]),
        is_last=[False, False],
        truths=[None, None],
    )


class Module(pl.LightningModule):
    """Learns nothing; at the batch number `bad_at` its loss, one term of it or one gradient goes wrong."""

    def __init__(self, kind="healthy", bad_at=3, value=NAN, fused=True):
        super().__init__()
        self.kind, self.bad_at, self.value, self.fused = kind, bad_at, value, fused
        self.first, self.second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 1)
        self.weights_before = []

    def training_step(self, batch, batch_idx):
        self.weights_before.append([p.detach().clone() for p in self.parameters()])
        fine = self.first(batch.frames.flatten(0, 1).flatten(1)).square().mean()
        other = self.second.weight.square().sum()
        if batch_idx == self.bad_at:
            if self.kind == "term":
                other = other * self.value
            elif self.kind == "unlogged":
                fine_logged, fine = fine.detach(), fine * self.value
            elif self.kind == "gradient":
                other = other + (self.second.weight * 0).sqrt().sum()
        self.log_dict({"train/fine": fine_logged if self.kind == "unlogged" and batch_idx == self.bad_at else fine})
        self.log_dict({"train/other": other})
        if self.kind != "unlogged":
            self.log("train/total", fine + other)
        return fine + other

    def validation_step(self, batch, batch_idx):
        self.log("val/total", torch.tensor(NAN))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.1, fused=self.fused)


class Saver(pl.Callback):
    """Saves a checkpoint after each step."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.save_checkpoint(f"{trainer.default_root_dir}/after_{batch_idx}.ckpt")


def fit(module, folder, guard=None, callbacks=(), **options):
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[guard or FiniteGuard(), *callbacks],
        **options,
    )
    numbers = torch.utils.data.DataLoader(range(6), batch_size=None)
    loader = torch.utils.data.DataLoader(numbers.dataset, batch_size=None, collate_fn=batch)
    trainer.fit(module, loader, loader if options.get("limit_val_batches") else None)
    return trainer


@pytest.fixture
def on_device(monkeypatch):
    """As if steps were taken on an accelerator: results are read once that has been waited for."""
    monkeypatch.setattr(finite_guard, "_can_wait", lambda loss, trainer: True)


def assert_unchanged(module, since):
    for before, now in zip(module.weights_before[since], module.parameters(), strict=True):
        torch.testing.assert_close(now.detach(), before, rtol=0, atol=0)


def stopped(*args, **options):
    with pytest.raises(NonFiniteError) as error:
        fit(*args, **options)
    return str(error.value)


@pytest.mark.parametrize("value", [NAN, INF])
def test_names_the_term_and_the_frames_and_leaves_the_weights_alone(value, tmp_path):
    module = Module("term", value=value)
    sentence = stopped(module, tmp_path)
    assert sentence.startswith(
        "step 4: the loss is NaN or infinite in train/other, for A (frames 4, 6), B (frames 4). "
    )
    assert "python -m scene_model.replay " in sentence
    assert len(module.weights_before) == 4
    assert_unchanged(module, since=3)


def test_names_the_parameter_of_a_bad_gradient(tmp_path):
    module = Module("gradient")
    sentence = stopped(module, tmp_path, gradient_clip_val=1.0)
    assert sentence.startswith("step 4: the gradient of second.weight is NaN or infinite, for A (frames 4, 6)")
    assert_unchanged(module, since=3)


def test_names_what_a_module_did_not_log(tmp_path):
    assert "the loss is NaN or infinite in its total" in stopped(Module("unlogged"), tmp_path)


def test_does_not_name_what_was_bad_in_a_validation(tmp_path):
    module = Module("gradient", bad_at=5)
    assert "val/" not in stopped(module, tmp_path, limit_val_batches=1, val_check_interval=2)


def test_keeps_batch_and_weights(tmp_path):
    module = Module("gradient")
    stopped(module, tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.name == "bad_step_4.pt"
    assert torch.equal(torch.load(file, weights_only=True)["state_dict"]["first.weight"], module.first.weight)
    kept = read_bad_step(file).batch
    expected = replace(batch(3), truths=[None, None])
    assert torch.equal(kept.frames, expected.frames)
    assert torch.equal(kept.frame_indices, expected.frame_indices)
    assert (kept.sequences, len(kept.targets), len(kept.targets[0])) == (expected.sequences, 2, 2)


def test_a_full_disk_does_not_hide_what_is_wrong(tmp_path, full_disk):
    module = Module("term")
    module.ballast = torch.nn.Linear(100, 100)
    with full_disk():
        sentence = stopped(module, tmp_path)
    assert "train/other" in sentence
    assert "The step could not be saved: " in sentence
    assert not list(tmp_path.iterdir())


def test_blames_the_batch_among_those_that_are_accumulated(tmp_path):
    module = Module("gradient", bad_at=2)
    sentence = stopped(module, tmp_path, accumulate_grad_batches=3)
    assert "A (frames 3, 5)" in sentence
    assert_unchanged(module, since=0)


@pytest.mark.parametrize("kind", ["term", "gradient"])
class TestOnADevice:
    def test_the_next_step_stops_before_it_changes_anything(self, kind, tmp_path, on_device):
        module = Module(kind)
        sentence = stopped(module, tmp_path, gradient_clip_val=1.0)
        assert "second.weight" in sentence or "train/other" in sentence
        assert sentence.startswith("step 4: ")
        assert "A (frames 4, 6)" in sentence
        assert len(module.weights_before) == 5, "the next step has begun"
        assert_unchanged(module, since=3)
        assert torch.equal(read_bad_step(tmp_path / "bad_step_4.pt").batch.frames, batch(3).frames)

    def test_a_checkpoint_is_not_written(self, kind, tmp_path, on_device):
        stopped(Module(kind), tmp_path, callbacks=[Saver()])
        assert sorted(file.name for file in tmp_path.glob("after_*")) == [f"after_{step}.ckpt" for step in range(3)]

    def test_the_last_step_is_read_at_the_end(self, kind, tmp_path, on_device):
        assert stopped(Module(kind, bad_at=5), tmp_path).startswith("step 6: ")

    def test_a_validation_does_not_begin(self, kind, tmp_path, on_device):
        module = Module(kind, bad_at=1)
        module.validation_step = lambda *args: pytest.fail("validated")
        stopped(module, tmp_path, limit_val_batches=1, val_check_interval=2, num_sanity_val_steps=0)


def test_the_healthy_step_is_the_same(tmp_path, on_device):
    with_guard, without = Module(), Module()
    torch.manual_seed(0)
    without.load_state_dict(with_guard.state_dict())
    fit(with_guard, tmp_path)
    fit(without, tmp_path, guard=pl.Callback())
    for ours, theirs in zip(with_guard.parameters(), without.parameters(), strict=True):
        assert torch.equal(ours, theirs)


class Reads(TorchDispatchMode):
    """Counts what would wait for a device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += "local_scalar" in str(function)
        return function(*args, **(kwargs or {}))


class Counting(FiniteGuard):
    """Counts what the checks of a step read; and separately, what they read of the one before."""

    def on_after_backward(self, *args):
        with Reads() as reads:
            super().on_after_backward(*args)
        self.now = reads.count

    def on_before_backward(self, *args):
        with Reads() as reads:
            super().on_before_backward(*args)
        self.later = reads.count


def test_a_healthy_step_on_a_device_reads_nothing_of_its_own(tmp_path, on_device):
    guard = Counting()
    fit(Module(), tmp_path, guard=guard)
    assert (guard.now, guard.later) == (0, 1)


def test_an_optimizer_that_is_not_fused_is_waited_for():
    weights = [torch.nn.Parameter(torch.zeros(1, device="meta"))]
    for fused in (True, False):
        trainer = type("Trainer", (), {"optimizers": [torch.optim.AdamW(weights, foreach=False)], "scaler": None})
        trainer.optimizers[0].param_groups[0]["fused"] = fused
        assert finite_guard._can_wait(weights[0], trainer) is fused
    assert not finite_guard._can_wait(torch.zeros(1), trainer)


def test_gradients_can_be_left_alone(tmp_path):
    module = Module("gradient", bad_at=5)
    fit(module, tmp_path, guard=FiniteGuard(gradients=False))
    assert module.second.weight.isnan().all()
