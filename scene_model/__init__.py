"""End-to-end multi-object tracking of video clips: the network, its losses, its metrics and its LightningModule.

Letters used for shapes: B clips, T frames, Q queries, C classes, D channels, N objects, H W pixels. Boxes are
(cx, cy, w, h), normalised to [0, 1] of the frame, unless a name says ``xyxy`` or ``pixels``. ``padding_mask[b, t]`` is
True where frame t of clip b is padding.

The names below are imported when they are first asked for: scoring text files needs no PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scene_model.batch import SceneBatch, SequenceInfo, SequenceTruth, TargetFrame
    from scene_model.config import SceneModelConfig
    from scene_model.errors import UserError
    from scene_model.heads import BBoxHead, Head
    from scene_model.identity_head import IdentityHead
    from scene_model.lightning_module import SceneModelLightningModule
    from scene_model.network.model import SceneModel, build_scene_model
    from scene_model.training.denoiser import DinoDenoiser
    from scene_model.training.head_adapter import HeadAdapter

__version__ = "0.1.0"

_HOMES = {
    "BBoxHead": "scene_model.heads",
    "DinoDenoiser": "scene_model.training.denoiser",
    "Head": "scene_model.heads",
    "HeadAdapter": "scene_model.training.head_adapter",
    "IdentityHead": "scene_model.identity_head",
    "SceneBatch": "scene_model.batch",
    "SceneModel": "scene_model.network.model",
    "SceneModelConfig": "scene_model.config",
    "SceneModelLightningModule": "scene_model.lightning_module",
    "SequenceInfo": "scene_model.batch",
    "SequenceTruth": "scene_model.batch",
    "TargetFrame": "scene_model.batch",
    "UserError": "scene_model.errors",
    "build_scene_model": "scene_model.network.model",
}

__all__ = [
    "BBoxHead",
    "DinoDenoiser",
    "Head",
    "HeadAdapter",
    "IdentityHead",
    "SceneBatch",
    "SceneModel",
    "SceneModelConfig",
    "SceneModelLightningModule",
    "SequenceInfo",
    "SequenceTruth",
    "TargetFrame",
    "UserError",
    "build_scene_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
