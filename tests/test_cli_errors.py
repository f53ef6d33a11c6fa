"""What users get wrong: one clear sentence on stderr, exit code 2, no traceback, nothing half-written."""

import os
import pickle
import re
import shutil
import warnings

import pytest
import torch

from main import main

# Arguments, and the sentence's words that name the key and what was expected there.
FLAGS = {
    "": "expected a command: fit, ?validate",
    "fitt": "invalid choice: 'fitt'",
    "fit --model.bakbone.name x": "unknown option --model.bakbone.name x",
    "fit --data.batch_size two": "data.batch_size: expected int, got two",
    "fit --data.batch_size -1": "data.batch_size: expected at least 1, got -1",
    "fit --data.image_size [64,64,64]": "data.image_size: expected list with 2 elements",
    "fit --data.image_size [16,16]": "data.image_size: expected a height and width of at least 32 pixels",
    "fit --data.seed -1": "data.seed: expected at least 0, got -1",
    "fit --seed_everything -1": "seed_everything: expected a number from 0 to",
    "fit --model.backbone.unfreeze_after soon": "model.backbone.unfreeze_after: expected int or null, got soon",
    "fit --model.backbone.name nope": "model.backbone.name: torchvision has no classification model named 'nope'",
    "fit --model.backbone.name vit_b_16": "model.backbone.name: vit_b_16 has no features at strides 8, 16 and 32",
    "fit --model.backbone.weights nope.pt": "model.backbone.weights: 'nope.pt' is neither a file nor one of",
    "fit --model.decoder.num_queries 0": "model.decoder.num_queries: expected at least 1, got 0",
    "fit --model.denoiser.num_queries x": "model.denoiser.num_queries: expected int, got x",
    "fit --model.denoiser.num_queries 0": "model.denoiser.num_queries: expected at least 2, got 0",
    "fit --model.num_classes 3": "model.num_classes: is set by data.num_classes",
    "fit --unfreeze.epoch 3": "unfreeze.epoch: is set by model.backbone.unfreeze_after",
    "fit --viz.max_frames -1": "max_frames: expected at least 1, got -1",
    "fit --ema.decay 2": "decay: expected a number from 0 to 1, got 2",
    "fit --checkpoint.every_n_train_steps -1": "every_n_train_steps: expected at least 1, got -1",
    "fit --data.train nope.Nope": "data.train: nope.Nope: No module named 'nope'",
    "fit --data.train datamodules.MOTChallenge --data.train.root .": "data.train: .: expected sequence folders",
    "fit --data.train.num_scenes 3": "data.train.num_scenes: give --data.train a class first",
    "fit --data.val datamodules.SyntheticScenes --data.val.num_scenes 0": "num_scenes must be at least 1, not 0",
    "fit --data.val datamodules.SyntheticScenes --data.val.num_classes 2": "data.val: has the classes",
    "fit --trainer.max_epochs -5": "trainer: `max_epochs` must be a non-negative integer or -1",
    "fit --model.weights nope.ckpt": "model.weights: there is no file nope.ckpt",
    "fit --trainer.accelerator abacus": "trainer: You selected an invalid accelerator name",
    "fit --trainer.logger nope": "trainer.logger: expected class path such as package.Class",
    "fit --trainer.default_root_dir /proc/runs": "trainer.default_root_dir: cannot create a run folder in /proc/runs",
    "fit --config": "config",
    "fit --config nope.yaml": "--config: there is no file nope.yaml",
    "fit --config .": "--config: cannot read . \\(Is a directory",
    "fit --ckpt_path": "ckpt_path",
    "fit --ckpt_path nope.ckpt": "--ckpt_path: there is no file nope.ckpt",
    "validate --ckpt_path .": "--ckpt_path: there is no file .",
}

CONFIGS = {
    "model: {bakbone: {name: x}}": "unknown key model.bakbone.name",
    "foo: 1": "unknown key foo",
    "data: {batch_size: two}": "data.batch_size: expected int, got two",
    "data: {train: {class_path: datamodules.SyntheticScenes, init_args: {splitt: 1}}}": "data.train: .*splitt",
    "data: {train: {class_path: torch.nn.Linear}}": "data.train: .*torch.nn.Linear .* subclass of Source",
    "data:": "expected keys and values in the configuration, found data:",
    "model: {decoder: }": "model.decoder: expected keys and values below it",
    "model: {head: }": "model.head: expected keys and values below it",
    "model: {tracking: }": "model.tracking: expected keys and values below it",
    "model:\n  debug: true\n  decoder: [": "config.yaml is no valid YAML \\(line 3: ",
    "data:\n\tbatch_size: 2": "config.yaml is no valid YAML \\(line 2: ",
    "- a\n- b": "expected keys such as `model:` and `data:` in config.yaml, found a list",
    "hello": "in config.yaml, found a str",
    "": "in config.yaml, found nothing",
    "data:\nseed_everything: 1": "data: expected keys and values below it",
    b"\x86\x00\xff": "cannot read config.yaml \\(it is no text\\)",
}


@pytest.mark.parametrize("arguments", FLAGS)
def test_flags(arguments, rejected):
    sentence = rejected(*arguments.split())
    assert re.search(FLAGS[arguments], sentence), sentence


@pytest.mark.parametrize("text", CONFIGS)
def test_config_files(text, rejected, in_tmp):
    (in_tmp / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    sentence = rejected("fit", "--config", "config.yaml")
    assert re.search(CONFIGS[text], sentence), sentence


class Planted:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("executed",))


@pytest.fixture
def checkpoint(trained):
    return torch.load(trained / "checkpoints/best.ckpt", weights_only=True)


def test_checkpoints_that_are_none(rejected, in_tmp, trained):
    whole = (trained / "checkpoints/best.ckpt").read_bytes()
    for name, content in {
        "empty.ckpt": b"",
        "random.ckpt": os.urandom(1000),
        "truncated.ckpt": whole[: len(whole) // 2],
        "code.ckpt": pickle.dumps({"state_dict": Planted()}),
    }.items():
        (in_tmp / name).write_bytes(content)
        for command in ("fit", "validate"):
            assert f"{name} is damaged or no checkpoint" in rejected(command, "--ckpt_path", name)
    torch.save({"state_dict": Planted()}, "code.ckpt")
    assert "code.ckpt is damaged or no checkpoint" in rejected("validate", "--ckpt_path", "code.ckpt")
    assert not (in_tmp / "executed").exists()


def test_checkpoints_of_others(rejected, in_tmp, checkpoint):
    torch.save(checkpoint["state_dict"], "weights.ckpt")
    assert "holds no state_dict" in rejected("validate", "--ckpt_path", "weights.ckpt")
    torch.save({key: checkpoint[key] for key in ("state_dict", "epoch")}, "foreign.ckpt")
    assert "was not written by this program" in rejected("validate", "--ckpt_path", "foreign.ckpt")
    torch.save({**checkpoint, "hyper_parameters": {"hidden_size": 3}}, "foreign.ckpt")
    assert "options unknown to this program" in rejected("validate", "--ckpt_path", "foreign.ckpt")


def test_checkpoints_that_do_not_fit(rejected, in_tmp, trained, mot_sequence):
    path = ["--ckpt_path", trained / "checkpoints/best.ckpt"]
    assert "does not fit the model" in rejected("validate", *path, "--model.encoder.channels", "64")
    assert "does not fit the model" in rejected("fit", *path, "--model.decoder.num_layers", "2")
    sources = ["--data.train", "datamodules.MOTChallenge", "--data.val", "datamodules.MOTChallenge"]
    roots = ["--data.train.root", mot_sequence, "--data.val.root", mot_sequence]
    sentence = rejected("validate", *path, *sources, *roots)
    assert "was trained for the classes ['disk', 'square', 'triangle'], but the data has ['pedestrian']" in sentence


def test_checkpoints_whose_classes_are_elsewhere(rejected, in_tmp, checkpoint):
    checkpoint["datamodule_hyper_parameters"]["train"] = {"class_path": "nobodys_package.MySource"}
    torch.save(checkpoint, "own.ckpt")
    for command in ("validate", "predict", "fit"):
        sentence = rejected(command, "--ckpt_path", "own.ckpt")
        assert "data.train is of class nobodys_package.MySource, whose module is not imported" in sentence
        named = rejected(command, "--ckpt_path", "own.ckpt", "--data.train", "nobodys_package.MySource")
        assert "data.train is of class nobodys_package.MySource, which cannot be imported here" in named


def test_weights_that_do_not_fit(rejected, in_tmp):
    torch.save({"features.0.0.weight": torch.zeros(1)}, "small.pt")
    torch.save([1, 2], "list.pt")
    (in_tmp / "random.pt").write_bytes(os.urandom(100))
    flags = ["fit", "--model.backbone.name", "mobilenet_v3_small", "--model.backbone.weights"]
    assert "small.pt does not fit mobilenet_v3_small" in rejected(*flags, "small.pt")
    assert "list.pt does not hold a state dict" in rejected(*flags, "list.pt")
    assert "random.pt is no readable state dict" in rejected(*flags, "random.pt")


def test_a_folder_that_cannot_be_written_to(rejected, in_tmp):
    (in_tmp / "file").write_text("")
    assert "cannot create a run folder in file" in rejected("fit", "--trainer.default_root_dir", "file")


def test_a_damaged_frame_that_a_worker_meets(small_model, small_run, mot_sequence, in_tmp, capsys):
    folder = shutil.copytree(mot_sequence, in_tmp / "WALK-03")
    frame = folder / "img1/000007.png"
    frame.write_bytes(frame.read_bytes()[:60])
    source = [f"--data.{part}=datamodules.MOTChallenge" for part in ("train", "val")]
    roots = [f"--data.{part}.root={folder}" for part in ("train", "val")]
    for workers in ("0", "1"):
        with pytest.raises(SystemExit) as exit_:
            main(["fit", *source, *roots, *small_model, *small_run, "--data.num_workers", workers])
        assert exit_.value.code == 2
        err = capsys.readouterr().err
        assert re.search(rf"^error: {frame}: .+$", err.splitlines()[-1])
        assert "Traceback" not in err


def test_more_objects_than_queries_is_one_warning(small, in_tmp):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        main(["fit", *small, "--model.decoder.num_queries", "1"])
    surplus = [str(warning.message) for warning in caught if "num_queries = 1" in str(warning.message)]
    assert len(surplus) == 1


def test_a_sequence_shorter_than_a_clip_is_a_warning(small, in_tmp):
    with pytest.warns(UserWarning, match="fewer frames than clips of 4: these are padded"):
        main(["fit", *small, "--data.val.num_frames", "3", "--trainer.fast_dev_run", "true"])


def test_validating_without_a_checkpoint_is_a_warning(small, in_tmp):
    with pytest.warns(UserWarning, match="the weights are those that a training would start from"):
        main(["validate", *small, "--trainer.fast_dev_run", "true"])
