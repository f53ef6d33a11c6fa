"""The sequences that a checkpoint is tried on: the options that name them, and their windows."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from datamodules import MOTChallenge, SceneDataModule, Source, SyntheticScenes


def sequence_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of a checkpoint and of what to try it on."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", type=Path)
    parser.add_argument("--root", help="a MOTChallenge folder; left out: synthetic scenes")
    parser.add_argument("--frame_range", type=int, nargs=2)
    parser.add_argument("--classes", nargs="+", default=["pedestrian"], help="of the MOTChallenge folder")
    parser.add_argument("--num_scenes", type=int, default=8)
    return parser


def sequences_of(
    options: argparse.Namespace, overlap: int, window_length: int | None = None
) -> tuple[Source, SceneDataModule]:
    """The frames that the options name, cut into windows as the checkpoint's run sees them."""
    saved = torch.load(options.ckpt, map_location="cpu", weights_only=True)["datamodule_hyper_parameters"]
    source = (
        MOTChallenge(options.root, tuple(options.frame_range) if options.frame_range else None, options.classes)
        if options.root
        else SyntheticScenes(split="test", num_scenes=options.num_scenes, num_frames=300)
    )
    names = ("clip_length", "window_length", "image_size", "mean", "std", "batch_size")
    seen = {name: tuple(saved[name]) if isinstance(saved[name], list) else saved[name] for name in names}
    if window_length is not None:
        seen["window_length"] = window_length
    return source, SceneDataModule(test=source, window_overlap=overlap, **seen)
