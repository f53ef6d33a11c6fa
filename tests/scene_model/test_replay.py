"""A step that went wrong, replayed: the first bad module is named, wherever the numbers go wrong first."""

from dataclasses import dataclass

import pytest
import torch
from factories import random_targets
from torch import nn

from scene_model import SceneModelLightningModule
from scene_model.bad_step import write_bad_step
from scene_model.batch import SceneBatch, SequenceInfo
from scene_model.config import BackboneConfig, DecoderConfig, DenoiserConfig, EncoderConfig
from scene_model.errors import NonFiniteError
from scene_model.heads import Head
from scene_model.network.backward_checks import add_backward_checks
from scene_model.replay import main, replay


class Root(nn.Module):
    def forward(self, values):
        return (values * 0).sqrt()


class Network(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.linear, self.root = nn.Linear(channels, 3), Root()

    def forward(self, hidden, boxes, frames):
        return {"colour": self.root(self.linear(hidden))}


@dataclass(frozen=True)
class RootHead(Head):
    """Finite forwards; its network's backward pass is not."""

    def build(self, channels, num_classes):
        return Network(channels)

    def loss(self, predictions, targets):
        return {"colour": predictions["colour"].sum((1, 2, 3))}


@dataclass(frozen=True)
class RootLossHead(Head):
    """Finite forwards; the gradient of its loss is not."""

    value: float = 0.0

    def build(self, channels, num_classes):
        class Plain(nn.Module):
            def forward(self, hidden, boxes, frames):
                return {"shade": hidden * 1}

        return Plain()

    def loss(self, predictions, targets):
        return {"shade": (predictions["shade"] * self.value).sqrt().sum((1, 2, 3))}


def module(*heads):
    torch.manual_seed(0)
    return SceneModelLightningModule(
        backbone=BackboneConfig(name="mobilenet_v3_small"),
        encoder=EncoderConfig(channels=32, num_heads=2, feedforward=32),
        decoder=DecoderConfig(num_queries=6, num_layers=2, num_heads=2, num_points=2, feedforward=32),
        denoiser=DenoiserConfig(num_queries=8),
        num_classes=3,
        extra_heads=list(heads),
    )


def batch():
    return SceneBatch(
        frames=torch.randn(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
        targets=random_targets(2, 2, seed=0),
        padding_mask=torch.zeros(2, 2, dtype=torch.bool),
        sequences=[SequenceInfo(name, 9, 32, 32, 10.0) for name in ("A", "B")],
        frame_indices=torch.tensor([[0, 1], [3, 5]]),
        seeds=torch.arange(2),
        is_last=[False, False],
        truths=[None, None],
    )


@pytest.fixture
def replayed(tmp_path):
    def run(module, batch_=None, precision="32-true"):
        write_bad_step(tmp_path / "bad_step_1.pt", module, batch_ or batch(), precision)
        return replay(tmp_path / "bad_step_1.pt")

    return run


@pytest.mark.slow
def test_nothing_is_wrong_with_a_healthy_step(replayed):
    assert replayed(module()) is None
    assert replayed(module(), precision="bf16-mixed") is None


def test_the_forward_pass(replayed):
    broken = module()
    weight = broken.model.decoder.layers[1].feedforward[0].weight
    nn.init.constant_(weight, 1e38)
    assert "decoder.layers.1.feedforward." in replayed(broken)


@pytest.mark.slow
def test_bad_frames(replayed):
    bad = batch()
    bad.frames[1, 0, 0, 3, 3] = float("nan")
    assert "the frames hold NaN" in replayed(module(), bad)


@pytest.mark.slow
def test_bad_weights(replayed):
    broken = module()
    nn.init.constant_(broken.model.decoder.layers[0].feedforward[0].bias, float("inf"))
    assert "the weights decoder.layers.0.feedforward.0.bias hold NaN" in replayed(broken)


@pytest.mark.slow
def test_the_loss(replayed):
    assert "the loss is NaN or infinite in shade;" in replayed(module(RootLossHead(value=-1.0)))


def test_the_gradient_of_a_loss_term(replayed):
    assert "the gradient of the loss term shade is NaN or infinite for shade" in replayed(module(RootLossHead()))


@pytest.mark.slow
def test_the_backward_pass(replayed):
    assert "the backward pass of extra_heads.0.root (Root) returned NaN" in replayed(module(RootHead()))


def test_the_command_names_batch_and_module(tmp_path, capsys):
    write_bad_step(tmp_path / "bad.pt", module(RootHead()), batch(), "32-true")
    assert main([str(tmp_path / "bad.pt")]) == 0
    out = capsys.readouterr().out
    assert "batch: A (frames 1, 2), B (frames 4, 6)" in out
    assert "extra_heads.0.root" in out


def test_modules_are_imported_by_name_only(tmp_path, monkeypatch, capsys):
    (tmp_path / "heads_of_mine.py").write_text("raise ImportError('seen')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path / "bad.pt"), "--import", "heads_of_mine"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: --import heads_of_mine: seen\n"


@pytest.mark.parametrize("content", [None, b"", b"text", {"state_dict": {}}])
def test_files_that_are_none(content, tmp_path, capsys):
    path = tmp_path / "bad.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(SystemExit) as exit_:
        main([str(path)])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: ")


class Between(nn.Module):
    """Goes wrong between its modules, or in one of them."""

    def __init__(self, inside):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2)])
        self.root, self.inside = Root(), inside

    def forward(self, values):
        hidden = self.layers[1](self.layers[0](values))
        hidden = self.root(hidden) if self.inside else (hidden * 0).sqrt()
        return self.layers[2](hidden)


@pytest.mark.parametrize(
    ("inside", "named"), [(True, "0.root (Root) returned"), (False, "0 (Between), outside of its 0")]
)
def test_backward_checks_name_the_module_or_the_one_that_calls_it(inside, named):
    model = nn.Sequential(Between(inside), nn.Linear(2, 2))
    add_backward_checks(model)
    with pytest.raises(NonFiniteError, match="the backward pass of ") as error:
        model(torch.rand(3, 2)).sum().backward()
    assert named in str(error.value)


def test_backward_checks_change_no_number():
    values, gradients = torch.rand(3, 2), []
    for checked in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
        if checked:
            add_backward_checks(model)
        model(values).sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
