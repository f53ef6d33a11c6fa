"""Bad checkpoints: damaged files, pickles that would run code, options and weights that are none."""

import copy
import io
import pickle
import random
import re
from functools import cache, partial

import torch
from hostile_case import Case
from torch import Tensor

from scene_model import SceneModelLightningModule
from scene_model.config import BackboneConfig, DecoderConfig, EncoderConfig

MODEL = {
    "backbone": {"name": "mobilenet_v3_small", "weights": None},
    "encoder": {"channels": 32},
    "decoder": {"num_queries": 6, "num_layers": 1},
    "class_names": ["disk", "square", "triangle"],
    "num_classes": 3,
}
SCENES = {"num_scenes": 1, "num_frames": 4, "image_size": [64, 64]}
SOURCE = {"class_path": "datamodules.SyntheticScenes", "init_args": SCENES}
DATA = {"train": SOURCE, "val": SOURCE, "image_size": [64, 64], "batch_size": 1}
TRAP = b"open('executed', 'w').close()\n\nclass Trap:\n    pass\n\ndef trap(*args, **kwargs):\n    pass\n"
"""A module of whoever sent the checkpoint, in the current folder."""


class Planted:
    """Leaves a trace when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@cache
def weights() -> dict[str, Tensor]:
    """Those of a model of these options."""
    parts = {"backbone": BackboneConfig, "encoder": EncoderConfig, "decoder": DecoderConfig}
    options = {name: parts[name](**value) if name in parts else value for name, value in MODEL.items()}
    return SceneModelLightningModule(**options).state_dict()


def saved(state=None, model=None, data=None, **others):
    """A checkpoint's bytes; options are merged into those of a good one."""
    content = {
        "state_dict": state or {},
        "hyper_parameters": {**copy.deepcopy(MODEL), **(model or {})},
        "datamodule_hyper_parameters": {**copy.deepcopy(DATA), **(data or {})},
        "epoch": 0,
        "global_step": 1,
        "pytorch-lightning_version": "2.6.0",
    }
    file = io.BytesIO()
    torch.save({**content, **others}, file)
    return file.getvalue()


def validate(name, content, says="x\\.ckpt", is_refused=True, flags=(), **files):
    named = {key.replace("__", "."): text for key, text in files.items()}
    return Case(name, ("validate", "--ckpt_path", "x.ckpt", *flags), says, {"x.ckpt": content, **named}, is_refused)


def damaged(rng):
    whole = saved(state={"a": torch.zeros(1000)})
    for share in (0.0, 0.01, 0.3, 0.9, 0.999):
        yield f"cut at {share}", whole[: int(len(whole) * share)]
    for number in range(8):
        flipped = bytearray(whole)
        at = rng.randrange(40, 400)  # within the pickle
        flipped[at] ^= 1 << rng.randrange(8)
        yield f"flipped bit {number}", bytes(flipped)
    yield "random", rng.randbytes(3000)
    yield "zip of nothing", b"PK\x05\x06" + bytes(18)
    yield "text", b"no checkpoint\n" * 100
    yield "safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "
    for name, content in {"list": [1], "number": 7, "none": None, "tensor": torch.zeros(3), "module": {}}.items():
        file = io.BytesIO()
        torch.save(content, file)
        yield f"torch {name}", file.getvalue()


def pickled():
    import builtins
    import os
    import subprocess

    calls = {
        "os.mkdir": (os.mkdir, "executed"),
        "os.system": (os.system, "touch executed"),
        "Popen": (subprocess.Popen, ["touch", "executed"]),
        "exec": (builtins.exec, "open('executed', 'w')"),
        "eval": (builtins.eval, "open('executed', 'w')"),
        "import": (builtins.__import__, "antigravity"),
    }
    for name, call in calls.items():
        yield f"pickle of {name}", pickle.dumps(Planted(*call))
        yield f"pickle of {name} in weights", saved(state={"a": Planted(*call)})
        yield f"pickle of {name} in options", saved(model={"debug": Planted(*call)})
        yield f"pickle of {name} beside", saved(callbacks={"x": Planted(*call)})


def options():
    """Options that are none, and what must be named."""
    for key, values in {
        "batch_size": ["two", -1, [1], {"a": 1}, float("nan")],
        "image_size": ["x", [1], None, [-3, 5]],
        "mean": ["grey", [float("nan")] * 3],
        "augmentation": [7, "on", {"flip": "often"}],
        "train": [
            7,
            [1],
            "x",
            {"class_path": 7},
            {"init_args": {}},
            {"class_path": SOURCE["class_path"], "init_args": 7},
        ],
    }.items():
        for value in values:
            yield f"data.{key} {value!r}", {"data": {key: value}}, key
    for key, values in {
        "backbone": [7, "resnet18", {"name": 7}, {"nothing": 1}],
        "decoder": [None, {"num_queries": "x"}, {"num_queries": -4}],
        "head": [7, {"class_path": "scene_model.BBoxHead", "init_args": {"gamma": "x"}}],
        "num_classes": ["x"],
        "class_names": [7],
        "scheduler": ["on"],
        "optimizer": [None, {"lr": "fast"}],
        "hidden_size": [3],
    }.items():
        for value in values:
            yield f"model.{key} {value!r}", {"model": {key: value}}, key
    yield "other classes", {"model": {"class_names": ["a"]}}, "trained for the classes ['a']"
    yield "a number of classes that is none", {"model": {"num_classes": -1}}, "does not fit"  # the data knows better
    yield "no model", {"hyper_parameters": None}, "hyper_parameters"
    yield "model is a list", {"hyper_parameters": [1]}, "hyper_parameters"
    yield "data is a text", {"datamodule_hyper_parameters": "x"}, "datamodule_hyper_parameters"
    yield "keys with dots", {"data": {"train.class_path": "trap.Trap"}}, "train.class_path"
    yield "keys that append", {"model": {"extra_heads+": [{"class_path": "trap.Trap"}]}}, "extra_heads"
    yield "number as key", {"data": {7: 1}}, "7"


PATHS = [
    "trap.Trap",
    "trap.trap",
    "trap",
    "os.system",
    "subprocess.Popen",
    "builtins.exec",
    "antigravity.geohash",
    "this.s",
    "pty.spawn",
    "idlelib.idle.main",
    "turtledemo.clock.main",
    "nobodys_package.MySource",
    "datamodules.trap.Trap",
    "x.ckpt",
    "../trap.Trap",
    "trap:Trap",
    "",
]
"""What a checkpoint might want to have imported."""
YAML = "class_path: trap.Trap"


def classes():
    """The places in which a checkpoint can name a class."""
    for path in PATHS:
        spec = {"class_path": path, "init_args": {}}
        yield f"train of {path}", {"data": {"train": spec}}
        yield f"head of {path}", {"model": {"extra_heads": [spec]}}
    trap = {"class_path": "trap.Trap"}
    yield "bare text", {"data": {"train": "trap.Trap"}}
    yield "bare text in a list", {"model": {"extra_heads": ["trap.Trap"]}}
    yield "YAML in a text", {"data": {"train": "{class_path: trap.Trap}"}}
    yield "YAML list in a text", {"model": {"extra_heads": "[{class_path: trap.Trap}]"}}
    yield "a file", {"data": {"train": "trap.yaml"}}
    yield "a file for a group", {"model": {"backbone": "trap.yaml"}}
    yield "a file for an optional group", {"data": {"augmentation": "trap.yaml"}}
    yield "within arguments", {"data": {"train": {**SOURCE, "init_args": {"root": trap}}}}
    yield "within a number", {"data": {"batch_size": trap}}
    yield "within a list", {"data": {"image_size": [trap, trap]}}
    yield "within a group", {"model": {"backbone": {"name": trap}}}
    yield "instead of a group", {"model": {"optimizer": trap}}
    yield "beside a class", {"data": {"train": {**SOURCE, "more": trap}}}
    yield "in dict_kwargs", {"data": {"train": {**SOURCE, "dict_kwargs": {"x": trap}}}}


def changed(change):
    """A checkpoint of a model's own weights, changed."""
    state = dict(weights())
    return saved(change(state, *list(state)[:2]))


def of_weights():
    """What is done to the weights, given them and the first two names, and what must be named."""
    yield "missing", lambda state, first, _: {name: state[name] for name in state if name != first}, "does not fit"
    yield "more", lambda state, *_: state | {"model.more": torch.zeros(1)}, "model.more"
    yield "another shape", lambda state, first, _: state | {first: torch.zeros(1, 2, 3)}, "does not fit"
    yield "renamed", lambda state, *_: {f"module.{name}": tensor for name, tensor in state.items()}, "does not fit"
    yield "none", lambda *_: {}, "does not fit"
    yield "a text", lambda state, first, _: state | {first: "x"}, "does not fit"
    yield "a number", lambda state, first, _: state | {first: 7}, "does not fit"
    yield "NaN", lambda state, *_: {name: tensor * torch.nan for name, tensor in state.items()}, "finite"
    yield "one NaN", lambda state, first, _: state | {first: state[first] * torch.nan}, "finite"
    yield "infinite", lambda state, first, _: state | {first: state[first] + torch.inf}, "finite"
    yield "complex", lambda state, first, _: state | {first: state[first].to(torch.complex64)}, "does not fit"
    yield "sparse", lambda state, first, _: state | {first: state[first].to_sparse()}, "does not fit"


def cases():
    rng = random.Random(5)
    for name, content in damaged(rng):
        yield validate(f"checkpoint {name}", content)
    for name, content in pickled():
        yield validate(name, content)
    for name, parts, says in options():
        yield validate(f"checkpoint with {name}", partial(saved, **parts), re.escape(says))
    traps = {"trap__py": TRAP, "trap__yaml": b"class_path: trap.Trap\n"}
    for name, parts in classes():
        yield validate(f"checkpoint's class: {name}", partial(saved, **parts), "ckpt_path", **traps)
    for name, change, says in of_weights():
        yield validate(f"weights: {name}", partial(changed, change), says)
    sources = {"data": {"train": {"class_path": "trap.Trap"}}}
    yield validate("another module is named", saved(**sources), "trap.Trap", flags=("--data.val", "os.path"), **traps)
    yield validate(
        "a path sounds like the module",
        saved(**sources),
        "trap.Trap",
        flags=("--data.predict_path", "trap.mp4"),
        **traps,
    )
