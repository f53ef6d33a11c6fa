"""What a run leaves behind, and how it goes on."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import RichProgressBar
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from main import main
from scene_model.cli.version_folder import claim_run_folder

RUN_FILES = [".lock", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "config.yaml"]
README = Path(__file__).parents[1] / "README.md"


class BackboneSpy(Callback):
    """Notes after each step whether the backbone trains, and its weights."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        weights = next(pl_module.model.backbone.parameters())
        self.seen.append((trainer.current_epoch, weights.requires_grad, weights.detach().clone()))


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_folder_holds_all_that_the_names_table_promises(trained):
    names = names_in(trained)
    assert {"config.yaml", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= set(names)
    assert sum(name.startswith("events.out.tfevents") for name in names) == 1
    assert sorted(path.name for path in trained.parent.iterdir()) == ["version_0"]


def test_tensorboard_holds_every_name(trained):
    events = EventAccumulator(str(trained))
    events.Reload()
    terms = {prefix + term for prefix in ("", "aux_", "enc_", "dn_") for term in ("exist", "l1", "giou", "cls")}
    expected = {f"{stage}/{term}" for stage in ("train", "val") for term in terms | {"total"}}
    assert expected | {"val/idf1", "val/clip_idf1", "val/clip_idp"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["val/bbox_predictions"]
    assert len(events.Images("val/bbox_predictions")) == 2


def test_the_progress_bar_is_rich_and_shows_the_score(small, in_tmp):
    cli = main(["fit", *small, "--trainer.enable_progress_bar", "true"])
    assert isinstance(cli.trainer.progress_bar_callback, RichProgressBar)
    assert "val/clip_idf1" in cli.trainer.progress_bar_metrics


@pytest.mark.slow
def test_a_resumed_run_follows_the_flags_not_the_old_optimiser(small, in_tmp):
    main(["fit", *small, "--model.optimizer.lr", "1e-3"])
    flags = ["--trainer.max_epochs", "3", "--model.optimizer.lr", "1e-5", "--model.optimizer.weight_decay", "0.5"]
    cli = main(["fit", *small, "--ckpt_path", "last", *flags])
    groups = cli.trainer.optimizers[0].param_groups
    rates = {1e-5, 1e-5 * cli.model.optimizer_config.muon_lr_ratio}
    assert {group["initial_lr"] for group in groups} == rates
    assert {group["weight_decay"] for group in groups} == {0.0, 0.5}
    ended = {round(rate * cli.model.scheduler_config.min_ratio, 12) for rate in rates}
    assert {round(group["lr"], 12) for group in groups} == ended


def test_a_cosine_without_an_end_is_refused(small, rejected):
    sentence = rejected("fit", *small, "--trainer.max_epochs", "-1", "--trainer.max_steps", "3")
    assert "trainer.max_epochs" in sentence


def test_the_saved_config_starts_the_same_run_again(trained, in_tmp, logged):
    saved = trained / "config.yaml"
    assert yaml.safe_load(saved.read_text())["model"]["encoder"]["channels"] == 32

    cli = main(["fit", "--config", str(saved), "--trainer.default_root_dir", str(in_tmp)])

    assert cli.trainer.current_epoch == 2
    assert logged(in_tmp / "version_0") == logged(trained)


def test_fit_ends_with_where_everything_is_and_the_next_command(small, in_tmp, capsys):
    main(["fit", *small])
    out = capsys.readouterr().out
    for path in ("config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "metrics.csv"):
        assert f"runs/version_0/{path}" in out
    command = re.search(r"Next: python main\.py (.+)", out)[1].split()
    main(command)  # it works as printed
    assert (in_tmp / "runs/version_1/metrics.csv").is_file()


def test_last_goes_on_in_the_folder_of_that_run(small, in_tmp, logged, capsys, caplog):
    main(["fit", *small, "--trainer.gradient_clip_val", "0.7", "--ema.decay", "0.9"])
    before = logged(in_tmp / "runs/version_0")

    with caplog.at_level("INFO"):
        cli = main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"])

    assert "going on with runs/version_0/checkpoints/last.ckpt" in caplog.text
    assert [path.name for path in (in_tmp / "runs").iterdir()] == ["version_0"]
    after = logged(in_tmp / "runs/version_0")
    assert after[: len(before)] == before
    assert {row["epoch"] for row in after if "epoch" in row} == {0, 1}
    assert cli.trainer.global_step == 4
    assert (cli.trainer.gradient_clip_val, cli.config.fit.ema.decay) == (0.7, 0.9)
    assert yaml.safe_load((in_tmp / "runs/version_0/config.yaml").read_text())["ckpt_path"] is None


def test_options_are_saved_whole_or_not_at_all(small, in_tmp, monkeypatch):
    """A run goes on with them, and other processes read them while one writes."""
    run = ["fit", *small, "--ckpt_path", "last", "--trainer.max_epochs"]
    main([*run, "1"])
    path = in_tmp / "runs/version_0/config.yaml"
    before = path.read_text()

    def power_cut(new):
        assert new.part.is_file()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("scene_model.cli.command_line.NewFile.place", power_cut)
        with pytest.raises(KeyboardInterrupt):
            main([*run, "2"])
    assert path.read_text() == before
    main([*run, "2"])
    assert path.read_text() == before.replace("max_epochs: 1", "max_epochs: 2")


@pytest.mark.slow
def test_a_resumed_run_may_have_another_strategy(small, in_tmp, capsys):
    single = "lightning.pytorch.strategies.SingleDeviceStrategy"
    main(["fit", *small, f"--trainer.strategy={single}", "--trainer.strategy.device=cpu"])
    capsys.readouterr()
    strategy = "--trainer.strategy=lightning.pytorch.strategies.DDPStrategy"
    with pytest.raises(SystemExit) as end:
        main(["fit", "--ckpt_path", "last", strategy, "--print_config"])
    assert end.value.code == 0
    assert "DDPStrategy" in capsys.readouterr().out


def test_last_of_a_config_file_takes_the_newest_run_and_the_last_file_decides(small, trained, in_tmp):
    (in_tmp / "a.yaml").write_text("ckpt_path: nowhere.ckpt\n")
    (in_tmp / "b.yaml").write_text(f"ckpt_path: last\ntrainer: {{default_root_dir: '{trained.parent}'}}\n")
    cli = main(["validate", "--config", "a.yaml", "--config", "b.yaml", "--trainer.fast_dev_run", "true"])
    assert cli.config.validate.ckpt_path == str(trained / "checkpoints/last.ckpt")


def test_last_starts_anew_where_there_is_none(small, in_tmp, caplog):
    with caplog.at_level("INFO"):
        cli = main(["fit", *small, "--ckpt_path", "last"])
    assert "training starts anew" in caplog.text
    assert cli.trainer.global_step == 2


def test_other_commands_refuse_a_last_that_is_not_there(rejected):
    sentence = rejected("validate", "--ckpt_path", "last")
    assert sentence == "--ckpt_path last: there is no checkpoints/last.ckpt below runs"


@pytest.mark.slow
def test_without_a_logger_everything_else_is_in_place(small, in_tmp):
    for run in ("version_0", "version_1"):
        main(["fit", *small, "--trainer.logger", "false"])
        names = names_in(in_tmp / "runs" / run)
        pictures = [name for name in names if name.startswith("val_images/")]
        assert sorted({*names} - {*pictures}) == RUN_FILES
        assert pictures
    assert [path.name for path in in_tmp.iterdir()] == ["runs"]


@pytest.mark.slow
def test_a_logger_by_class_path_logs_where_it_likes(small, in_tmp):
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "elsewhere"}}
    (in_tmp / "logger.yaml").write_text(yaml.safe_dump({"trainer": {"logger": logger}}))
    for run in ("version_0", "version_1"):
        main(["fit", *small, "--config", "logger.yaml"])
        assert names_in(in_tmp / "runs" / run)[:4] == RUN_FILES
        assert (in_tmp / "elsewhere/lightning_logs" / run / "metrics.csv").is_file()


def test_fast_dev_run_leaves_nothing_behind(small, in_tmp):
    main(["fit", *small, "--trainer.fast_dev_run", "true"])
    assert list(in_tmp.iterdir()) == []


def test_without_checkpoints_the_rest_works(small, in_tmp, capsys):
    main(["fit", *small, "--trainer.enable_checkpointing", "false"])
    assert not (in_tmp / "runs/version_0/checkpoints").exists()
    out = capsys.readouterr().out
    assert "runs/version_0/config.yaml" in out
    assert "checkpoint" not in out


def test_overlays_with_callbacks_cannot_drop_those_that_are_always_on(small, in_tmp):
    callback = "{class_path: EarlyStopping, init_args: {monitor: val/total}}"
    (in_tmp / "overlay.yaml").write_text(f"trainer: {{callbacks: [{callback}]}}\n")
    cli = main(["fit", *small, "--config", "overlay.yaml", "--trainer.fast_dev_run", "true"])
    names = {type(callback).__name__ for callback in cli.trainer.callbacks}
    assert {"EarlyStopping", "BackboneUnfreeze", "ValImageLogger", "EMA", "BestAndLast", "LRMonitor"} <= names


def test_the_backbone_unfreezes_at_its_epoch(small, in_tmp):
    (in_tmp / "spy.yaml").write_text("trainer: {callbacks: [{class_path: test_cli_runs.BackboneSpy}]}\n")
    flags = ["--model.backbone.unfreeze_after", "1", "--trainer.max_epochs", "2"]
    cli = main(["fit", *small, "--config", "spy.yaml", *flags])

    seen = next(callback for callback in cli.trainer.callbacks if type(callback).__name__ == "BackboneSpy").seen
    assert [(epoch, trains) for epoch, trains, _ in seen] == [(0, False), (0, False), (1, True), (1, True)]
    first, second, _, last = (weights for _, _, weights in seen)
    assert torch.equal(first, second)
    assert not torch.equal(first, last)


def test_no_two_processes_share_a_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(claim_run_folder, [tmp_path / "runs"] * 32))
    assert len(set(folders)) == 32


def test_the_console_is_free_of_advertisements(small, in_tmp, caplog, recwarn):
    with caplog.at_level("INFO"):
        main(["fit", *small, "--trainer.fast_dev_run", "true"])
    assert "litlogger" not in caplog.text
    assert not [warning for warning in recwarn if "LeafSpec" in str(warning.message)]


def test_the_examples_of_the_readme_run(small_model, small_run, in_tmp, monkeypatch):
    """A source in the current folder trains, and its checkpoint predicts from Python."""
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    source, from_python = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (in_tmp / "my_package.py").write_text(source)
    sources = ["--data.train", "my_package.MySource", "--data.val", "my_package.MySource"]
    main(["fit", *small_model, *small_run, *sources, "--data.clips_per_epoch", "4"])
    clip = torch.randint(0, 256, (1, 3, 3, 64, 96), dtype=torch.uint8)
    names = {"clip": clip}
    exec(from_python, names)
    assert names["outputs"]["bbox_center"].shape == (1, 3, 6, 2)
    main(["validate", "--ckpt_path", "last", "--trainer.limit_val_batches", "2"])
