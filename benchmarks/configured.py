"""Model and data as config files describe them, without a trainer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

sys.path.insert(0, str(Path(__file__).parent.parent))
from datamodules import SceneDataModule
from scene_model import SceneModelLightningModule


def configured(paths: Sequence[str], root: str | None = None) -> tuple[SceneModelLightningModule, SceneDataModule]:
    """The module and the data of config files, later ones over earlier ones; `root` is that of a source of files."""
    parser = ArgumentParser()
    parser.add_class_arguments(SceneDataModule, "data")
    parser.add_class_arguments(SceneModelLightningModule, "model")
    parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
    content: dict[str, Any] = {}
    for path in paths:
        _merge(content, yaml.safe_load(Path(path).read_text()))
    if root:
        for part in ("train", "val"):
            content["data"][part]["init_args"]["root"] = root
    built = parser.instantiate_classes(parser.parse_object({key: content.get(key, {}) for key in ("model", "data")}))
    return built.model, built.data


def _merge(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            same_class = below[key].get("class_path") == value.get("class_path")
            _merge(below[key], value) if same_class else below.update({key: value})
        else:
            below[key] = value
