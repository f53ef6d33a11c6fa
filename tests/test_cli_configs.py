"""The YAML files that users get, shrunk by flags, and how the options are presented."""

import pytest
import yaml

from main import main

SCENES = [f"--data.{part}.image_size=[64,64]" for part in ("train", "val")]


def test_base(small, in_tmp, logged):
    main(["fit", *small])
    assert {"train/total", "val/clip_idf1"} <= {key for row in logged(in_tmp / "runs/version_0") for key in row}


def test_mot(config_folder, small_model, small_run, mot_sequence, in_tmp, logged):
    files = ["--config", config_folder / "base.yaml", "--config", config_folder / "mot.yaml"]
    roots = [f"--data.{part}.root={mot_sequence}" for part in ("train", "val")]
    cli = main(["fit", *map(str, files), *small_model, *small_run, *roots])
    assert cli.datamodule.class_names == ["pedestrian"]
    assert len(cli.datamodule.val.sequences()) == 1
    assert "val/clip_idf1" in logged(in_tmp / "runs/version_0")[-1]
    assert any("train/identity" in row for row in logged(in_tmp / "runs/version_0"))
    main(["test", "--ckpt_path", "runs/version_0/checkpoints/last.ckpt"])
    assert (in_tmp / "runs/version_1/test_metrics.json").is_file()


@pytest.mark.slow
def test_mot_without_identity_head(config_folder, small_model, small_run, mot_sequence, in_tmp, logged):
    files = ["--config", config_folder / "base.yaml", "--config", config_folder / "mot.yaml"]
    roots = [f"--data.{part}.root={mot_sequence}" for part in ("train", "val")]
    main(["fit", *map(str, files), *small_model, *small_run, *roots, "--model.extra_heads", "null"])
    assert not any("train/identity" in row for row in logged(in_tmp / "runs/version_0"))


@pytest.mark.slow
def test_mot_splits_one_sequence(config_folder, small_model, small_run, mot_sequence, in_tmp):
    files = ["--config", config_folder / "base.yaml", "--config", config_folder / "mot.yaml"]
    roots = [f"--data.{part}.root={mot_sequence}" for part in ("train", "val")]
    ranges = ["--data.train.frame_range", "[1,8]", "--data.val.frame_range", "[9,12]"]
    cli = main(["fit", *map(str, files), *small_model, *small_run, *roots, *ranges])
    assert [source.sequences()[0].num_frames for source in (cli.datamodule.train, cli.datamodule.val)] == [8, 4]


@pytest.mark.slow
def test_gpu(config_folder, small_model, small_run, in_tmp):
    files = ["--config", config_folder / "base.yaml", "--config", config_folder / "gpu.yaml"]
    no_gpu = ["--trainer.accelerator", "cpu", "--model.backbone.weights", "null", "--data.num_workers", "0"]
    shrunk = ["--data.clips_per_epoch", "2", "--data.val.num_scenes", "1", "--data.val.num_frames", "4", *SCENES]
    cli = main(["fit", *map(str, files), *small_model, *small_run, *no_gpu, *shrunk])
    assert cli.trainer.precision == "bf16-mixed"


def test_gpu_as_it_stands(config_folder, capsys):
    with pytest.raises(SystemExit):
        main(
            ["fit", "--config", f"{config_folder}/base.yaml", "--config", f"{config_folder}/gpu.yaml", "--print_config"]
        )
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["trainer"]["accelerator"] == "gpu"
    assert (printed["model"]["backbone"]["name"], printed["model"]["backbone"]["weights"]) == ("resnet50", "DEFAULT")
    assert printed["data"]["image_size"] == [480, 640]
    assert printed["model"]["decoder"]["num_queries"] == 100


@pytest.mark.slow
def test_overfit(config_folder, small_model, small_run, in_tmp, logged):
    files = ["--config", config_folder / "base.yaml", "--config", config_folder / "overfit.yaml"]
    flags = ["--trainer.check_val_every_n_epoch", "1", *SCENES]
    cli = main(["fit", *map(str, files), *small_model, *small_run, *flags])
    train, val = cli.datamodule.train_dataloader().dataset, cli.datamodule.val_dataloader().dataset
    assert len(train) == len(val) == 8
    assert all((train[index].frames == val[index].frames).all() for index in range(8))
    rates = [value for row in logged(in_tmp / "runs/version_0") for key, value in row.items() if key.startswith("lr-")]
    options = cli.model.optimizer_config
    assert set(rates) == {options.lr, options.lr * options.muon_lr_ratio}


def test_ddp(config_folder, small, capsys):
    with pytest.raises(SystemExit):
        main(["fit", *small, "--config", str(config_folder / "ddp.yaml"), "--print_config"])
    trainer = yaml.safe_load(capsys.readouterr().out)["trainer"]
    strategy = trainer["strategy"]["class_path"].rpartition(".")[2]
    assert (trainer["devices"], strategy, trainer["accelerator"]) == (2, "DDPStrategy", "cpu")
    assert trainer["strategy"]["init_args"]["timeout"] == "0:30:00"


def test_print_config_is_a_config(small, in_tmp, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["fit", *small, "--print_config"])
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    (in_tmp / "printed.yaml").write_text(printed)
    keys = {"model", "data", "trainer", "unfreeze", "viz", "ema", "checkpoint", "lr_monitor"}
    assert keys <= set(yaml.safe_load(printed))
    assert main(["fit", "--config", "printed.yaml", "--trainer.fast_dev_run", "true"]).datamodule.batch_size == 2


def test_help_documents_every_key(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "--help"])
    assert exit_.value.code == 0
    entries = capsys.readouterr().out.partition("\n  --trainer CONFIG")[2].split("\n  --")
    bare = [entry.split()[0] for entry in entries if len(entry.split("(type:")[0].split()) < 3]
    assert len(entries) > 80
    assert not bare


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.strip().endswith("0.1.0")
