"""Which classes a checkpoint may name, and how users allow those of their own."""

import sys

import pytest
import torch

from datamodules import SceneDataModule, Source, SyntheticScenes
from scene_model import SceneModelLightningModule, UserError
from scene_model.saved_classes import check_saved

OWN = """
from datamodules import SyntheticScenes


class Mine(SyntheticScenes):
    pass


class Other(SyntheticScenes):
    pass
"""
MODEL = {"backbone": {"name": "mobilenet_v3_small"}, "encoder": {"channels": 32}, "decoder": {"num_queries": 6}}
NOT_ALLOWED = "data.train is of class own_source.Mine, whose module is not imported"


class WithParts(Source):
    """Takes objects, lists of them, and what has no annotation."""

    def __init__(self, part: Source | None = None, parts: list[Source] | None = None, path: str = "", other=None):
        pass


class Inherits(WithParts):
    def __init__(self, number: int = 0, **kwargs):
        super().__init__(**kwargs)


@pytest.fixture
def own_source(in_tmp, monkeypatch):
    """A module of the user's in the current folder, not imported yet."""
    (in_tmp / "own_source.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield "own_source"
    sys.modules.pop("own_source", None)


@pytest.fixture
def saved(own_source):
    """Writes a checkpoint, without weights, of a training on the user's source."""

    def write(path, train="own_source.Mine", val="own_source.Mine"):
        data = {
            key: {"class_path": name, "init_args": {"num_scenes": 1}} for key, name in (("train", train), ("val", val))
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {"hyper_parameters": MODEL, "datamodule_hyper_parameters": data}
        torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.0", **options}, path)
        return path

    return write


def test_a_module_that_only_the_checkpoint_names_is_not_imported(saved, in_tmp, rejected):
    path = saved(in_tmp / "x.ckpt")
    for command in ("validate", "fit"):
        assert NOT_ALLOWED in rejected(command, "--ckpt_path", path)
    assert NOT_ALLOWED in rejected("validate", "--ckpt_path", path, "--data.predict_path", "own_source.Mine")
    assert NOT_ALLOWED in rejected("validate", "--ckpt_path", path, "--data.train.num_scenes", "2")
    assert "own_source" not in sys.modules


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--data.train", "own_source.Mine"],
        ["--data.train=own_source.Mine"],
        ["--data.val", "own_source.Other"],
        ["--data.val.class_path", "own_source.Other"],
        ["--data.val", "{class_path: own_source.Other}"],
        ["--config", "own.yaml"],
        ["--config", "short.yaml"],
    ],
)
def test_a_user_who_names_its_module_has_it_imported(flags, saved, in_tmp, rejected):
    path = saved(in_tmp / "x.ckpt")
    (in_tmp / "own.yaml").write_text("data: {train: {class_path: own_source.Mine}}\n")
    (in_tmp / "short.yaml").write_text("data: {train: own_source.Mine}\n")
    assert "does not fit the model" in rejected("validate", "--ckpt_path", path, *flags)
    assert "own_source" in sys.modules


@pytest.mark.slow
def test_a_run_of_ones_own_needs_no_more_than_its_path(saved, in_tmp, rejected):
    path = saved(in_tmp / "runs/version_0/checkpoints/last.ckpt")
    assert NOT_ALLOWED in rejected("validate", "--ckpt_path", path)
    (in_tmp / "runs/version_0/config.yaml").write_text("data: {train: {class_path: own_source.Mine}}\n")
    assert NOT_ALLOWED in rejected("validate", "--ckpt_path", path, "--trainer.default_root_dir", "elsewhere")
    for name in (path, "last", "runs/version_0/checkpoints/last.ckpt"):
        assert "does not fit the model" in rejected("validate", "--ckpt_path", name)
        del sys.modules["own_source"]


def test_python_imports_nothing_for_a_checkpoint_either(saved, in_tmp):
    path = saved(in_tmp / "x.ckpt")
    with pytest.raises(UserError, match=r"train is of class own_source\.Mine, whose module is not imported"):
        SceneDataModule.load_from_checkpoint(path)
    assert "own_source" not in sys.modules
    with path.open("rb") as file, pytest.raises(UserError, match="whose module is not imported"):
        SceneDataModule.load_from_checkpoint(file)
    content = torch.load(path) | {"hyper_parameters": MODEL | {"extra_heads": [{"class_path": "own_source.Mine"}]}}
    torch.save(content, path)
    with pytest.raises(UserError, match=r"extra_heads is of class own_source\.Mine, whose module is not imported"):
        SceneModelLightningModule.load_from_checkpoint(path)


def test_what_is_passed_in_python_replaces_what_the_checkpoint_names(saved, in_tmp):
    path = saved(in_tmp / "x.ckpt")
    scenes = {key: SyntheticScenes(num_scenes=1) for key in ("train", "val")}
    with path.open("rb") as file:
        assert SceneDataModule.load_from_checkpoint(file, **scenes).train is scenes["train"]


@pytest.mark.parametrize("owner", [WithParts, Inherits])
@pytest.mark.parametrize(
    "options",
    [
        {"part": {"class_path": "own_source.Mine"}},
        {
            "part": {
                "class_path": "datamodules.SyntheticScenes",
                "init_args": {"seed": {"class_path": "own_source.Mine"}},
            }
        },
        {"part": {"class_path": "datamodules.SyntheticScenes", "more": {"class_path": "own_source.Mine"}}},
        {"part": {"class_path": "datamodules.SyntheticScenes", "init_args": {"a.b": 1}}},
        {"part": "own_source.Mine"},
        {"part": "own.yaml"},
        {"part": {"class_path": "torch.nn.Linear"}},
        {"part": {"class_path": "os.system"}},
        {"parts": ["own_source.Mine"]},
        {"parts": "[own_source.Mine]"},
        {"parts": [{"class_path": "own_source.Mine"}]},
        {"other": {"class_path": "own_source.Mine"}},
        {"other": [{"a": {"class_path": "own_source.Mine"}}]},
        {"other": "{class_path: own_source.Mine}"},
        {"path": {"class_path": "own_source.Mine"}},
        {"path": 7},
        {"part.class_path": "own_source.Mine"},
        {"parts+": ["own_source.Mine"]},
        {7: "own_source.Mine"},
    ],
)
def test_no_option_brings_code_along(owner, options, own_source):
    with pytest.raises(UserError):
        check_saved(options, owner)
    assert own_source not in sys.modules


@pytest.mark.parametrize("owner", [WithParts, Inherits])
def test_what_a_users_class_takes_is_accepted(owner):
    spec = {"class_path": "datamodules.SyntheticScenes", "init_args": {"num_scenes": 3, "num_objects": [1, 2]}}
    check_saved({"part": spec, "parts": [spec, spec], "path": "a.b", "other": "some.thing"}, owner)
    check_saved({"part": None, "parts": None, "other": [1, {"a": 2}]}, owner)
    check_saved({"extra_heads": []}, SceneModelLightningModule)
