"""Options and weights that come from checkpoints: defaults < checkpoint < config files, left to right < flags."""

import shutil
import warnings
from dataclasses import dataclass

import pytest
import torch
import torchvision
import yaml
from lightning.pytorch import Trainer

from callbacks import BestAndLast
from datamodules import MOTChallenge, SceneDataModule, SyntheticScenes
from main import main
from scene_model import BBoxHead, SceneModelLightningModule
from scene_model.config import BackboneConfig, DecoderConfig, EncoderConfig

DRY = ["--trainer.fast_dev_run", "true"]


class OtherScenes(SyntheticScenes):
    """Another class with the same arguments."""


@dataclass(frozen=True, kw_only=True)
class OtherHead(BBoxHead):
    """Likewise."""


@pytest.fixture
def best(trained):
    return str(trained / "checkpoints/best.ckpt")


def test_validate_needs_nothing_but_the_checkpoint_and_repeats_the_logged_values(trained, best, in_tmp, logged):
    main(["validate", "--ckpt_path", best])

    (repeated,) = logged(in_tmp / "runs/version_0")
    epoch = torch.load(best, weights_only=True)["epoch"]
    (first,) = [row for row in logged(trained) if "val/total" in row and row["epoch"] == epoch]
    values = {key: value for key, value in first.items() if key.startswith("val/")}
    assert {"val/idf1", "val/clip_idf1", "val/clip_idp", "val/total", "val/dn_l1"} <= set(values)
    assert {key: value for key, value in repeated.items() if key.startswith("val/")} == values


def test_the_checkpoint_beats_the_defaults(best, in_tmp):
    options = main(["validate", "--ckpt_path", best, *DRY]).config.validate
    assert options.model.encoder.channels == 32
    assert list(options.data.image_size) == [64, 64]
    assert options.data.val.init_args.num_frames == 6


@pytest.mark.parametrize("flags_are_last", [True, False])
def test_config_files_beat_the_checkpoint_and_flags_beat_them_all(best, in_tmp, flags_are_last):
    (in_tmp / "a.yaml").write_text("model: {head: {exist_threshold: 0.1}}\ndata: {batch_size: 3, val_overlap: 1}\n")
    (in_tmp / "b.yaml").write_text("data: {batch_size: 5, seed: 5}\nviz: {max_frames: 2}\n")
    files, flags = ["--config", "a.yaml", "--config=b.yaml"], ["--data.batch_size", "1", "--model.loss.l1", "2"]
    given = [*files, *flags] if flags_are_last else [*flags, *files]
    cli = main(["validate", "--ckpt_path", best, *given, *DRY])
    assert (cli.datamodule.batch_size, cli.datamodule.seed, cli.datamodule.val_overlap) == (1, 5, 1)
    assert cli.model.config.head.exist_threshold == 0.1
    assert cli.model.config.loss.l1 == 2
    assert cli.model.config.encoder.channels == 32  # neighbours of what was overridden stay those of the checkpoint
    assert cli.datamodule.clip_length == 4


def test_base_config_and_flags_as_in_the_specification(small_model, small_run, config_folder, in_tmp):
    flags = ["--model.backbone.unfreeze_after", "5", "--data.batch_size", "2"]
    base = str(config_folder / "base.yaml")
    cli = main(["fit", "--config", base, *small_model, *small_run[:-2], *flags, *DRY])
    assert cli.model.config.backbone.unfreeze_after == 5
    assert cli.datamodule.batch_size == 2


@pytest.mark.slow
def test_another_class_drops_the_arguments_of_the_checkpoints_class(best, in_tmp):
    (in_tmp / "other.yaml").write_text("data: {val: {class_path: test_cli_checkpoints.OtherScenes}}\n")
    for change in (["--config", "other.yaml"], ["--data.val", "test_cli_checkpoints.OtherScenes"]):
        cli = main(["validate", "--ckpt_path", best, *change, "--data.val.num_scenes", "2", *DRY])
        assert type(cli.datamodule.val).__name__ == "OtherScenes"
        assert len(cli.datamodule.val.sequences()) == 2
        assert cli.datamodule.val.sequences()[0].num_frames == 24  # the class's default, not the checkpoint's 6


@pytest.mark.slow
def test_that_holds_for_heads_too(small, in_tmp):
    main(["fit", *small, "--model.head.gamma", "2.5"])
    cli = main(["validate", "--ckpt_path", "last", "--model.head", "test_cli_checkpoints.OtherHead", *DRY])
    assert type(cli.model.config.head).__name__ == "OtherHead"
    assert cli.model.config.head.gamma == 1.5


@pytest.mark.slow
@pytest.mark.parametrize("key", ["--data.val.root", "--data.val.init_args.root"])
def test_dotted_overrides_reach_the_checkpoints_class(key, small_model, small_run, mot_sequence, in_tmp):
    source = "datamodules.MOTChallenge"
    data = {"train": {"class_path": source, "init_args": {"root": str(mot_sequence), "frame_range": [1, 4]}}}
    data["val"] = {"class_path": source, "init_args": {"root": str(mot_sequence), "frame_range": [5, 12]}}
    (in_tmp / "mot.yaml").write_text(yaml.safe_dump({"data": data}))
    main(["fit", "--config", "mot.yaml", *small_model, *small_run])
    moved = mot_sequence.rename(in_tmp / "WALK-02")
    try:
        cli = main(["validate", "--ckpt_path", "last", key, str(moved), *DRY])
    finally:
        moved.rename(mot_sequence)
    assert isinstance(cli.datamodule.val, MOTChallenge)
    assert (cli.datamodule.val.root, cli.datamodule.val.frame_range) == (str(moved), (5, 12))


@pytest.mark.slow
def test_initial_weights_are_not_needed_where_a_checkpoint_is(small, in_tmp):
    torch.save(torchvision.models.mobilenet_v3_small().state_dict(), "weights.pt")
    main(["fit", *small, "--model.backbone.weights", "weights.pt"])
    (in_tmp / "weights.pt").unlink()

    path = "runs/version_0/checkpoints/last.ckpt"
    main(["validate", "--ckpt_path", path])
    main(["fit", "--ckpt_path", path, "--trainer.max_epochs", "2", *DRY])
    SceneModelLightningModule.load_from_checkpoint(path)


def test_a_checkpoint_of_the_command_line_loads_in_python(trained, best):
    frames = torch.rand(1, 2, 3, 64, 64)
    with torch.no_grad():
        loaded = SceneModelLightningModule.load_from_checkpoint(best).eval()(frames)
        state = torch.load(best, weights_only=True)["state_dict"]
        config = yaml.safe_load((trained / "config.yaml").read_text())["model"]
        parts = {"backbone": BackboneConfig, "encoder": EncoderConfig, "decoder": DecoderConfig}
        built = SceneModelLightningModule(**{name: part(**config[name]) for name, part in parts.items()}, num_classes=3)
        built.load_state_dict(state)
        expected = built.eval()(frames)
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


def test_a_module_built_in_python_trains_and_loads(in_tmp):
    module = SceneModelLightningModule(
        backbone=BackboneConfig(name="mobilenet_v3_small"),
        encoder=EncoderConfig(channels=32),
        decoder=DecoderConfig(num_queries=6, num_layers=1),
        num_classes=3,
        class_names=["disk", "square", "triangle"],
    )
    scenes = SyntheticScenes(num_scenes=1, num_frames=4, image_size=(64, 64))
    data = SceneDataModule(train=scenes, val=scenes, image_size=(64, 64), batch_size=1)
    options = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = Trainer(max_epochs=1, accelerator="cpu", callbacks=[BestAndLast(dirpath="saved")], **options)
    trainer.fit(module, data)

    frames = torch.rand(1, 2, 3, 64, 64)
    loaded = SceneModelLightningModule.load_from_checkpoint("saved/last.ckpt").eval()
    with torch.no_grad():
        assert torch.equal(loaded(frames)["bbox_center"], module.eval()(frames)["bbox_center"])

    flags = ["--data.val.num_scenes", "1", "--data.val.num_frames", "4"]  # of its sources it keeps the classes
    cli = main(["validate", "--ckpt_path", "saved/last.ckpt", *flags, *DRY])
    assert cli.model.config == module.config
    assert cli.datamodule.image_size == (64, 64)


def test_a_training_starts_from_the_weights_of_another(trained, small, in_tmp):
    """With steps, epochs and schedule of its own; a resumed one needs the file no more."""
    weights = shutil.copy(trained / "checkpoints/best.ckpt", in_tmp / "earlier.ckpt")
    still = ["--model.optimizer.lr", "1e-12", "--model.optimizer.weight_decay", "0"]
    main(["fit", *small, *still, "--model.weights", str(weights)])
    started, earlier = (
        torch.load(path, weights_only=True) for path in (in_tmp / "runs/version_0/checkpoints/last.ckpt", weights)
    )
    assert (started["epoch"], started["global_step"]) == (0, 2)
    for name, tensor in earlier["state_dict"].items():
        torch.testing.assert_close(started["state_dict"][name], tensor, msg=name)

    weights.unlink()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*is not read")
        cli = main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"])
    assert cli.trainer.global_step == 4
    with pytest.warns(UserWarning, match=r"model\.weights is not read: .*last\.ckpt"):
        main(["fit", "--ckpt_path", "last", "--model.weights", "other.ckpt", "--trainer.max_epochs", "3"])


def test_weights_that_cannot_be_used_are_said_before_anything_is_written(rejected, small):
    sentence = rejected("fit", *small, "--model.weights", "missing.ckpt")
    assert sentence == "model.weights: there is no file missing.ckpt"
