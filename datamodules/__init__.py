"""Data for clip models: SceneDataModule and its sources."""

from datamodules.datamodule import SceneDataModule
from datamodules.mot_challenge import MOTChallenge
from datamodules.source import Source
from datamodules.synthetic import SyntheticScenes

__all__ = ["MOTChallenge", "SceneDataModule", "Source", "SyntheticScenes"]
