"""A training step waits for its device once: when the matching costs of all layers and clips go to the host."""

import pytest
import torch
from factories import random_targets

from scene_model import SceneModelLightningModule
from scene_model.batch import SceneBatch, SequenceInfo
from scene_model.config import BackboneConfig, DecoderConfig, DenoiserConfig, EncoderConfig
from scene_model.network.denoising import DenoisingState
from scene_model.training.targets import ClipTargets

WAITING = {"cpu", "numpy", "item", "tolist", "__bool__", "__int__", "__float__", "__index__", "__contains__"}
WAITING |= {"nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount", "equal", "allclose"}


class OnDevice(torch.Tensor):
    """Stands for a tensor on a GPU: what is computed from it is there too, and what would wait for it is noted."""

    waits: list = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name = func.__name__
        masks = args[1] if name == "__getitem__" else ()
        masks = masks if isinstance(masks, tuple) else (masks,)
        by_mask = any(isinstance(mask, torch.Tensor) and mask.dtype == torch.bool for mask in masks)
        if name in WAITING or by_mask:
            cls.waits.append(name)
        result = super().__torch_function__(func, types, args, kwargs or {})
        return result.as_subclass(torch.Tensor) if name == "cpu" else result


def moved(value):
    """A dataclass of tensors as if on the device; tensors that stay on the host by design are left alone."""
    on_host = {"num_objects"} if isinstance(value, ClipTargets) else set()
    for name, item in vars(value).items():
        if isinstance(item, torch.Tensor) and name not in on_host:
            setattr(value, name, item.as_subclass(OnDevice))
    return value


@pytest.mark.parametrize("num_groups", [1, 2])
def test_a_training_step_waits_once(monkeypatch, num_groups):
    OnDevice.waits.clear()
    for kind in (ClipTargets, DenoisingState):
        monkeypatch.setattr(kind, "to", lambda self, device: moved(self))
    module = SceneModelLightningModule(
        backbone=BackboneConfig(name="mobilenet_v3_small"),
        encoder=EncoderConfig(channels=32, num_heads=2, feedforward=32),
        decoder=DecoderConfig(
            num_queries=6, num_layers=2, num_heads=2, num_points=2, feedforward=32, num_groups=num_groups
        ),
        denoiser=DenoiserConfig(num_queries=8),
        num_classes=3,
    )
    batch = SceneBatch(
        frames=torch.randn(2, 3, 3, 64, 64).as_subclass(OnDevice),
        targets=random_targets(2, 3, seed=0),
        padding_mask=torch.zeros(2, 3, dtype=torch.bool).as_subclass(OnDevice),
        sequences=[SequenceInfo("s", 3, 64, 64, 10.0)] * 2,
        frame_indices=torch.arange(3).expand(2, 3),
        seeds=torch.arange(2),
        is_last=[True, True],
        truths=[None, None],
    )
    outputs, losses = module.predict_and_compare(batch)
    assert OnDevice.waits == ["cpu"]
    assert type(losses["total"]) is OnDevice
    losses["total"].backward()
    assert type(outputs["bbox_center"]) is OnDevice
