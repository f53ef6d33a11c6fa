"""Model and data as config files describe them, without a trainer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from jsonargparse import ArgumentParser

sys.path.insert(0, str(Path(__file__).parent.parent))
from datamodules import SceneDataModule
from scene_model import SceneModelLightningModule


def configured(paths: Sequence[str]) -> tuple[SceneModelLightningModule, SceneDataModule]:
    """The module and the data of config files, later ones over earlier ones."""
    parser = ArgumentParser()
    parser.add_class_arguments(SceneDataModule, "data")
    parser.add_class_arguments(SceneModelLightningModule, "model")
    parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
    options = parser.get_defaults()
    for path in paths:
        content = yaml.safe_load(Path(path).read_text())
        options = parser.parse_object({key: content.get(key, {}) for key in ("model", "data")}, options)
    built = parser.instantiate_classes(options)
    return built.model, built.data
