from urllib.error import URLError

import pytest
import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import FrozenBatchNorm2d

from scene_model.config import BackboneConfig
from scene_model.errors import UserError
from scene_model.network.backbone import build_backbone

NAMES = ["resnet18", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "shufflenet_v2_x0_5", "mnasnet0_5"]
SLOW_NAMES = ["resnet34", "resnet50", "mobilenet_v3_large", "convnext_tiny", "efficientnet_b0", "densenet121"]


@pytest.mark.parametrize("name", [*NAMES, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW_NAMES)])
@pytest.mark.parametrize("size", [(64, 96), (70, 101)])
def test_levels_at_strides_8_16_32_of_any_frame_size(name, size):
    backbone = build_backbone(BackboneConfig(name=name)).eval()
    with torch.no_grad():
        features = backbone(torch.rand(2, 3, *size))
    for level, stride, channels in zip(features, (8, 16, 32), backbone.channels, strict=True):
        assert level.shape[:2] == (2, channels)
        assert all(abs(got - side / stride) < 1 for got, side in zip(level.shape[2:], size, strict=True))


@pytest.mark.parametrize(
    ("name", "last"), [("resnet18", "layer4"), ("mobilenet_v2", "features"), ("regnet_x_400mf", "trunk_output")]
)
def test_computes_what_torchvision_computes(name, last, tmp_path):
    """With weights, the coarsest level equals the trunk of the untouched model."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    backbone = build_backbone(BackboneConfig(name=name, weights=str(tmp_path / "weights.pt"))).eval()
    frames = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = create_feature_extractor(model, [last])(frames)[last]
        torch.testing.assert_close(backbone(frames)[-1], expected, rtol=1e-3, atol=1e-4)


def test_no_live_batch_norm_remains(tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "weights.pt")
    for weights in (None, str(tmp_path / "weights.pt")):
        modules = list(build_backbone(BackboneConfig(name="resnet18", weights=weights)).modules())
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in modules)
        assert any(isinstance(m, FrozenBatchNorm2d) for m in modules) == (weights is not None)


def test_weights_without_classifier_load(tmp_path):
    state = torchvision.models.mobilenet_v2().state_dict()
    torch.save({k: v for k, v in state.items() if not k.startswith("classifier")}, tmp_path / "features.pt")
    backbone = build_backbone(BackboneConfig(name="mobilenet_v2", weights=str(tmp_path / "features.pt")))
    first = next(m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d))
    assert torch.equal(first.weight, state["features.0.0.weight"])


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "squeezenet1_1", "inception_v3", "no_such_model", "raft_large"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_unusable_models_are_named(name):
    with pytest.raises(UserError, match=rf"model\.backbone\.name: .*{name}"):
        build_backbone(BackboneConfig(name=name))


def test_weights_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / "own.pt")
    build_backbone(BackboneConfig(name="mobilenet_v3_small", weights="~/own.pt"))


def test_unusable_weights_are_named(tmp_path):
    (tmp_path / "text.pt").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pt")
    for weights, expected in (
        (str(tmp_path / "text.pt"), "readable"),
        (str(tmp_path / "list.pt"), "state dict"),
        (str(tmp_path / "resnet18.pt"), "does not fit mobilenet_v2"),
        ("NO_SUCH_WEIGHTS", "IMAGENET1K_V1"),
        (str(tmp_path / "missing.pt"), "neither a file"),
    ):
        with pytest.raises(UserError, match=expected) as error:
            build_backbone(BackboneConfig(name="mobilenet_v2", weights=weights))
        assert "model.backbone.weights" in str(error.value)


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", *(pytest.param(n, marks=pytest.mark.slow) for n in ("convnext_tiny", "efficientnet_b0"))]
)
def test_nothing_in_it_is_random(name):
    backbone = build_backbone(BackboneConfig(name=name)).train()
    frames = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(*levels) for levels in zip(backbone(frames), backbone(frames), strict=True))


def test_gradient_checkpointing_changes_no_number():
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        backbone = build_backbone(BackboneConfig(name="mobilenet_v3_small"), checkpointing).train()
        torch.manual_seed(1)
        sum(level.square().mean() for level in backbone(torch.rand(2, 3, 64, 64))).backward()
        gradients.append([p.grad for p in backbone.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("error", [URLError("no network"), RuntimeError("invalid hash value")])
def test_weights_that_cannot_be_downloaded_are_a_sentence(monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(UserError, match=r"model.backbone.weights: DEFAULT cannot be downloaded .*give the path of a"):
        build_backbone(BackboneConfig(name="resnet18", weights="DEFAULT"))


def test_frozen_norms_keep_the_precision_of_autocast(tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "weights.pt")
    backbone = build_backbone(BackboneConfig(name="resnet18", weights=str(tmp_path / "weights.pt")))
    kinds = []
    for module in backbone.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        backbone(torch.rand(1, 3, 64, 64))
    assert set(kinds) == {torch.bfloat16}
    assert len(kinds) == 20
