"""A training that starts from the weights of an earlier one."""

import warnings
from pathlib import Path

import pytest
import torch
from test_lightning_module import small_module

from scene_model import IdentityHead, SceneModelLightningModule, UserError
from scene_model.config import BackboneConfig, DecoderConfig
from scene_model.network.initial_weights import weights_to_follow


@pytest.fixture(scope="module")
def earlier():
    """A module with weights that no other has by chance."""
    module = small_module()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


@pytest.fixture(scope="module")
def checkpoint(earlier, tmp_path_factory):
    path = tmp_path_factory.mktemp("earlier") / "best.ckpt"
    torch.save({"state_dict": earlier.state_dict()}, path)
    return str(path)


def test_all_weights_are_taken(earlier, checkpoint):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = small_module(weights=checkpoint)
    for name, tensor in earlier.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name


def test_what_depends_on_classes_or_is_new_starts_anew(earlier, checkpoint):
    options = {"num_classes": 2, "class_names": ["a", "b"], "extra_heads": [IdentityHead()]}
    plain = small_module(**options).state_dict()
    with pytest.warns(UserWarning, match=r"model\.weights: \d+ of \d+ tensors start anew.*best\.ckpt"):
        started = small_module(**options, weights=checkpoint).state_dict()
    taken = {name for name, tensor in earlier.state_dict().items() if tensor.shape == plain[name].shape}
    anew = plain.keys() - taken
    assert anew
    assert all("cls" in name or "denoising_content" in name or "extra_heads" in name for name in anew)
    assert all(torch.equal(started[name], earlier.state_dict()[name]) for name in taken)
    assert all(torch.equal(started[name], plain[name]) for name in anew)


def test_the_backbones_own_weights_need_not_be_there(earlier, tmp_path):
    """They would be replaced at once."""
    frozen = BackboneConfig(name="mobilenet_v3_small", weights="gone.pt")
    with weights_to_follow():
        state = small_module(backbone=frozen).state_dict()
    torch.save({"state_dict": state}, tmp_path / "best.ckpt")
    module = small_module(backbone=frozen, weights=str(tmp_path / "best.ckpt"))
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    "backbone", [BackboneConfig(name="mobilenet_v2"), BackboneConfig(name="mobilenet_v3_small", weights="gone.pt")]
)
def test_another_backbone_is_refused(checkpoint, backbone):
    """Also the same one with batch norm, whose tensors have the names and shapes of group norm's and two more."""
    with pytest.raises(UserError, match=r"model\.weights: .*another backbone.*such as 'backbone\."):
        small_module(backbone=backbone, weights=checkpoint)


def test_a_checkpoint_to_come_spares_the_file(checkpoint, tmp_path):
    module = small_module(weights=checkpoint)
    torch.save(
        {
            "state_dict": module.state_dict(),
            "hyper_parameters": dict(module.hparams) | {"weights": str(tmp_path / "gone.ckpt")},
            "pytorch-lightning_version": "2.6.4",
        },
        tmp_path / "last.ckpt",
    )
    loaded = SceneModelLightningModule.load_from_checkpoint(tmp_path / "last.ckpt")
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in loaded.state_dict().items())


def test_what_is_left_over_is_said(checkpoint):
    """The earlier run had two layers."""
    one_layer = DecoderConfig(num_queries=6, num_layers=1, num_heads=2, num_points=2, feedforward=32)
    with pytest.warns(
        UserWarning, match=r"model\.weights: 0 of \d+ tensors start anew.*\d\d of its own are not used \(decoder\)"
    ):
        small_module(decoder=one_layer, weights=checkpoint)


@pytest.mark.parametrize(
    "odd",
    [
        torch.zeros(32, dtype=torch.int64),
        torch.zeros(32, dtype=torch.complex64),
        torch.zeros(31),
    ],
)
def test_what_cannot_be_copied_starts_anew(earlier, tmp_path, odd):
    torch.save({"state_dict": earlier.state_dict() | {"model.content.0.bias": odd}}, tmp_path / "odd.ckpt")
    with pytest.warns(UserWarning, match=r"1 of \d+ tensors start anew.*\(content\)"):
        small_module(weights=str(tmp_path / "odd.ckpt"))


def test_unusable_files_are_named(earlier, checkpoint, tmp_path):
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    torch.save(earlier.state_dict(), tmp_path / "bare.ckpt")
    spoilt = earlier.state_dict() | {"model.content.0.bias": torch.full((32,), float("nan"))}
    torch.save({"state_dict": spoilt}, tmp_path / "nan.ckpt")
    content = bytearray(Path(checkpoint).read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "flipped.ckpt").write_bytes(content)
    for name, odd in (
        ("sparse", torch.zeros(32).to_sparse()),
        ("meta", torch.zeros(32, device="meta")),
        ("huge", torch.full((32,), 1e300, dtype=torch.float64)),
    ):
        torch.save({"state_dict": earlier.state_dict() | {"model.content.0.bias": odd}}, tmp_path / f"{name}.ckpt")
    torch.save({"state_dict": {"layer.weight": torch.zeros(2)}}, tmp_path / "foreign.ckpt")
    torch.save({"state_dict": {1: torch.zeros(2)}}, tmp_path / "numbers.ckpt")
    for name, expected in (
        ("missing.ckpt", "there is no file"),
        ("text.ckpt", "readable"),
        ("bare.ckpt", "'state_dict'"),
        ("nan.ckpt", r"not finite.*content\.0\.bias"),
        ("flipped.ckpt", "checksum"),
        ("sparse.ckpt", "state dict of tensors"),
        ("meta.ckpt", "state dict of tensors"),
        ("huge.ckpt", "not finite"),
        ("foreign.ckpt", "not written by this program"),
        ("numbers.ckpt", "state dict of tensors"),
        (".", "there is no file"),
    ):
        with pytest.raises(UserError, match=rf"model\.weights: .*{Path(name).name}.*") as error:
            small_module(weights=str(tmp_path / name))
        assert error.match(expected)
