"""Small models, targets and clips for the tests of scene_model."""

from __future__ import annotations

import torch
from torch import Tensor

from scene_model.batch import TargetFrame
from scene_model.config import BackboneConfig, DecoderConfig, EncoderConfig, SceneModelConfig
from scene_model.network.model import SceneModel, build_scene_model


def small_config(**options) -> SceneModelConfig:
    defaults = {
        "backbone": BackboneConfig(name="mobilenet_v3_small"),
        "encoder": EncoderConfig(channels=32, num_heads=2, feedforward=32),
        "decoder": DecoderConfig(num_queries=6, num_layers=2, num_heads=2, num_points=2, feedforward=32),
        "num_classes": 3,
    }
    return SceneModelConfig(**(defaults | options))


def small_model(**options) -> SceneModel:
    """A model in which no part is silent: what starts from zero weights has random ones."""
    torch.manual_seed(0)
    model = build_scene_model(small_config(**options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return model


def frame_of(
    boxes: list[list[float]], track_ids: list[int], labels: list[int] | None = None, ignore=None
) -> TargetFrame:
    return TargetFrame(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(labels or [0] * len(track_ids), dtype=torch.int64),
        torch.tensor(track_ids, dtype=torch.int64),
        torch.tensor(ignore or [False] * len(track_ids), dtype=torch.bool),
    )


def random_targets(num_clips: int, num_frames: int, seed: int = 0, max_objects: int = 4) -> list[list[TargetFrame]]:
    """Clips of objects that are present in some of the frames."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    clips = []
    for _ in range(num_clips):
        count = int(torch.randint(1, max_objects + 1, (), generator=generator))
        center, size = 0.2 + 0.6 * rand(count, 2), 0.1 + 0.2 * rand(count, 2)
        labels = torch.randint(0, 3, (count,), generator=generator)
        track_ids = torch.randperm(100, generator=generator)[:count]
        clip = []
        for time in range(num_frames):
            frame = TargetFrame(
                torch.cat([center + 0.01 * time, size], 1), labels, track_ids, torch.zeros(count, dtype=torch.bool)
            )
            clip.append(frame[rand(count) < 0.8])
        clips.append(clip)
    return clips
