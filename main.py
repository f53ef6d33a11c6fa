"""The command line: `python main.py {fit,validate,test,predict} --help`."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.cli import LightningArgumentParser

from callbacks import (
    EMA,
    BackboneUnfreeze,
    BestAndLast,
    EpochLines,
    FiniteGuard,
    LRMonitor,
    PredictProgress,
    SequenceScores,
    TrackWriter,
    ValImageLogger,
)
from datamodules import SceneDataModule
from scene_model import SceneModelLightningModule, __version__
from scene_model.cli import CheckpointCLI, keep_freed_memory, quiet_console, user_errors


class SceneCLI(CheckpointCLI):
    """Model and data by their signatures, and the callbacks that are always on, under keys of their own."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:  # noqa: D102
        parser.add_lightning_class_args(BackboneUnfreeze, "unfreeze")
        parser.add_lightning_class_args(ValImageLogger, "viz")
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(BestAndLast, "checkpoint")
        parser.add_lightning_class_args(LRMonitor, "lr_monitor")
        parser.add_lightning_class_args(EpochLines, "lines")
        parser.add_lightning_class_args(FiniteGuard, "guard")
        parser.add_lightning_class_args(SequenceScores, "scores")
        parser.add_lightning_class_args(TrackWriter, "tracks")
        parser.add_lightning_class_args(PredictProgress, "progress")
        parser.set_defaults({"unfreeze.module": "model.backbone", "trainer.default_root_dir": "runs"})
        parser.link_arguments("model.backbone.unfreeze_after", "unfreeze.epoch")
        parser.link_arguments("model.backbone.freeze", "unfreeze.freeze")
        parser.link_arguments("data.mean", "model.mean")
        parser.link_arguments("data.std", "model.std")
        parser.link_arguments("model.tracking.overlap", "data.window_overlap")
        parser.link_arguments("tracks.video", "data.predict_originals")
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        parser.link_arguments("data.class_names", "model.class_names", apply_on="instantiate")


def main(args: Sequence[str] | None = None) -> SceneCLI:
    """Run a command, given as on the command line, or that of this process."""
    quiet_console()
    keep_freed_memory()
    with user_errors():
        return SceneCLI(
            SceneModelLightningModule,
            SceneDataModule,
            args=args,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_kwargs={"version": __version__, "description": "End-to-end multi-object tracking of video clips."},
        )


if __name__ == "__main__":
    main()
