"""Trainings on two processes: ranks agree to the bit, and do what one process does."""

import os

import pytest
import torch
from test_cli_processes import ENV, ROOT, finish, start

pytestmark = pytest.mark.slow
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


@pytest.fixture
def recorded(small, tmp_path, monkeypatch):
    """Trains, and returns what each of the ranks has recorded."""
    monkeypatch.setitem(ENV, "PYTHONPATH", os.pathsep.join([ROOT, f"{ROOT}/tests"]))

    def run(name, *flags):
        folder = tmp_path / name
        folder.mkdir()
        callback = ["--trainer.callbacks", "rank_record.RankRecord", "--trainer.callbacks.folder", str(folder)]
        code, _, err = finish(start(f"{ROOT}/main.py", "fit", *small, *callback, *flags, cwd=folder))
        assert code == 0, err
        return [torch.load(path) for path in sorted(folder.glob("rank*.pt"))]

    return run


def test_ranks_agree_whatever_befalls_one_of_them(recorded):
    """The backbone unfreezes, one rank never sees an object, batches are uneven, gradients accumulate, EMA averages."""
    one, other = recorded(
        *("hard", *TWO, "--trainer.callbacks.without_objects", "1"),
        *("--trainer.max_epochs", "2", "--model.backbone.unfreeze_after", "1"),
        *("--data.clips_per_epoch", "9", "--trainer.accumulate_grad_batches", "2", "--ema.decay", "0.9"),
    )
    assert all(one["objects"])
    assert not any(other["objects"])
    assert one["clips"] == other["clips"] == [2, 2, 1] * 2
    frozen, trained = ({name for name in step if "backbone" in name} for step in one["gradients"][1:3])
    assert not frozen
    assert trained
    assert one["weights"].keys() == other["weights"].keys()
    assert any(name.startswith("raw.") for name in one["weights"])
    different = [name for name, value in one["weights"].items() if not torch.equal(value, other["weights"][name])]
    assert not different


def test_two_processes_of_two_clips_train_as_one_of_four(recorded):
    """Also with gradient accumulation, where each batch counts alike, whatever the number of its objects."""
    flags = [
        "--data.clips_per_epoch",
        "8",
        "--trainer.accumulate_grad_batches",
        "2",
        "--trainer.gradient_clip_val",
        "0",
    ]
    one, other = recorded("two", *TWO, *flags)
    (single,) = recorded("one", *flags, "--data.batch_size", "4")
    assert single["objects"] == [sum(pair) for pair in zip(one["objects"], other["objects"], strict=True)]
    assert one["objects"] != other["objects"]
    for name, expected in single["gradients"][0].items():
        assert torch.equal(one["gradients"][0][name], other["gradients"][0][name]), name
        torch.testing.assert_close(one["gradients"][0][name], expected, atol=1e-5, rtol=1e-4, msg=name)
