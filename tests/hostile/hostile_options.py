"""Bad values, keys and classes, as YAML and as flags."""

import random
import re

from hostile_case import Case

WHOLE = {
    "data.batch_size": "1",
    "data.clip_length": "1",
    "data.num_workers": "0",
    "data.val_overlap": "0",
    "data.seed": "0",
    "data.window_length": "1",
    "model.decoder.num_queries": "1",
    "model.decoder.num_layers": "1",
    "model.encoder.channels": "1",
    "model.backbone.unfreeze_after": "0",
    "model.scheduler.warmup_steps": "0",
    "viz.max_frames": "1",
    "ema.warmup_steps": "0",
    "checkpoint.every_n_train_steps": "1",
}
"""Keys of whole numbers."""
REAL = [
    "model.optimizer.lr",
    "model.optimizer.weight_decay",
    "model.head.exist_threshold",
    "model.scheduler.min_ratio",
    "model.loss.l1",
    "model.tracking.birth_threshold",
    "ema.decay",
    "viz.threshold",
]
"""Keys of numbers that must be finite and not negative."""
NO_WHOLE = [
    "two",
    "[1]",
    "{a: 1}",
    ".nan",
    ".inf",
    "1.5",
    "-1",
    "[[[[[[1]]]]]]",
    "!!binary aGk=",
    "2024-01-01",
    "''",
    "yes please",
]
NO_REAL = ["two", "[0.1]", "{a: 1}", ".nan", "-.inf", ".inf", "-1", "!!binary aGk=", "''"]
OTHERS = {
    "model.backbone": ["7", "[name]", "resnet18", "{name: 7.5.1, foo: 1}"],
    "model.backbone.name": ["os", "../../etc/passwd", "[resnet18]", "{a: b}", "''", "vgg", "resnet18; rm -rf x"],
    "model.backbone.freeze": ["perhaps", "2", "[true]"],
    "model.debug": ["maybe", "3", "{}"],
    "model.denoiser": ["7", "[]", "on", "{num_queries: {a: 1}}"],
    "model.extra_heads": ["7", "{a: 1}", "[7]", "[{class_path: os.system}]", "[{init_args: {}}]"],
    "data.image_size": ["64", "[64]", "[a, b]", "[64, .nan]", "{h: 64}", "[-64, -64]", "[1, 64]"],
    "data.mean": ["[1, 2]", "[.nan, 0, 0]", "[2, 2, 2]", "grey", "[.inf, 0, 0]"],
    "data.std": ["[0, 0, 0]", "[.nan, 1, 1]", "[1, 1]"],
    "data.temporal_stride": ["[0, 1]", "[2, 1]", "[1]", "x"],
    "data.augmentation": ["7", "[flip]", "{flip: often}", "{flip: .nan}", "{scale: [0, 0]}", "{colour: 1}"],
    "trainer.accelerator": ["abacus", "[cpu]"],
    "trainer.max_epochs": ["many", "-7", "[1]", ".nan"],
    "trainer.devices": ["-3", "0"],
    "trainer.precision": ["3", "half"],
    "trainer.strategy": ["dpp", "os.system"],
    "trainer.callbacks": ["7", "[os.system]", "[{class_path: subprocess.Popen, init_args: {args: [touch, executed]}}]"],
    "trainer.logger": ["os.system", "{class_path: subprocess.Popen, init_args: {args: [touch, executed]}}", "3"],
    "seed_everything": ["-1", "x", "4294967296", ".nan"],
}
CLASSES = [
    "os.system",
    "subprocess.Popen",
    "builtins.exec",
    "builtins.eval",
    "pty.spawn",
    "shutil.rmtree",
    "antigravity.geohash",
    "nowhere",
    "nowhere.Nothing",
    "datamodules.Nothing",
    "datamodules..SyntheticScenes",
    "datamodules.SyntheticScenes.",
    "../SyntheticScenes",
    "torch.nn.Linear",
    "datamodules.Source",
    "datamodules.SceneDataModule",
    "scene_model.BBoxHead",
    "callbacks.EMA",
    "torch.load",
    "pickle.loads",
    "7",
    "[a]",
    "''",
    "null",
]
"""What is no source of frames."""
TEXTS = {
    "nothing": (b"", "config.yaml"),
    "comments": (b"# only\n# comments\n", "config.yaml"),
    "null": (b"null\n", "config.yaml"),
    "number": (b"42\n", "config.yaml"),
    "documents": (b"data: {batch_size: 1}\n---\ndata: {batch_size: 2}\n", "config.yaml"),
    "list": (b"[[[[a]]]]\n", "config.yaml"),
    "tab": (b"data:\n\tbatch_size: 1\n", "line 2"),
    "open bracket": (b"data:\n  image_size: [64, 64\nmodel:\n", "line 3"),
    "open quote": (b"data:\n  predict_path: 'x\n", "config.yaml"),
    "colon": (b"data: batch_size: 1\n", "line 1"),
    "indent": (b"data:\n    batch_size: 1\n  seed: 1\n", "line 3"),
    "unknown alias": (b"data: *nowhere\n", "line 1"),
    "alias of itself": (b"data: &a [*a]\n", "config.yaml"),
    "alias of itself in keys": (b"model: &a\n  backbone: *a\n", "config.yaml"),
    "repeated key": (b"data: {batch_size: 2}\ndata: {seed: 3}\n", "data"),
    "repeated inner key": (b"data:\n  batch_size: 2\n  batch_size: 3\n", "batch_size"),
    "merge of a number": (b"data:\n  <<: 7\n", "config.yaml"),
    "object": (b"data: !!python/object/apply:os.mkdir [executed]\n", "config.yaml"),
    "module": (b"data: !!python/module:antigravity\n", "config.yaml"),
    "object in a value": (b"data: {seed: !!python/object/new:os.mkdir [executed]}\n", "config.yaml"),
    "unknown tag": (b"data: !wonder {}\n", "config.yaml"),
    "NUL": (b"data: {seed: 1}\n\x00\n", "config.yaml"),
    "binary": (bytes(range(128, 256)), "config.yaml"),
    "UTF-16": ("data: {seed: 1}\n".encode("utf-16"), "config.yaml"),
    "latin": ("data: {predict_path: café}\n".encode("latin-1"), "config.yaml"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "config.yaml"),
    "number as key": (b"1: 2\n", "1"),
    "null as key": (b"null: {a: 1}\n", "config.yaml"),
    "list as key": (b"? [a, b]\n: c\n", "config.yaml"),
    "mapping as key": (b"? {a: b}\n: c\n", "config.yaml"),
    "deep": (b"data: " + b"[" * 5000 + b"]" * 5000 + b"\n", "config.yaml"),
    "deep mapping": (b"data: " + b"{a: " * 3000 + b"1" + b"}" * 3000 + b"\n", "config.yaml"),
    "deep indent": (b"".join(b" " * depth + b"a:\n" for depth in range(2000)), "config.yaml"),
    "long": (b"data: {predict_paht: " + b"x" * 200_000 + b"}\n", "data.predict_paht"),
    "date": (b"data: {seed: 2024-13-45}\n", "config.yaml|data.seed"),
    "day that is none": (b"data:\n  seed: 2024-02-31\n", "config.yaml"),
    "aliases": (
        b"a: &a [x, x, x, x, x, x, x, x, x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b", ".join([b"*%c" % (97 + i)] * 9)) for i in range(9)),
        "config.yaml",
    ),
    "aliases in a class": (
        b"data:\n  train:\n    class_path: datamodules.MOTChallenge\n    init_args:\n"
        b"      classes: &a [x, x, x, x, x, x, x, x, x]\n"
        b"      root: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
        + b"".join(b"      k%d: &%c [%s]\n" % (i, 99 + i, b", ".join([b"*%c" % (98 + i)] * 9)) for i in range(7)),
        "config.yaml",
    ),
}
FLAGS = {
    "no such command": ("train", "train"),
    "a flag as command": ("--fit", "command|--fit"),
    "two commands": ("fit validate", "validate"),
    "a word after the command": ("fit please", "please"),
    "misspelt": ("fit --data.bach_size 2", "data.bach_size"),
    "one dash": ("fit -data.batch_size 2", "data.batch_size"),
    "shortened": ("fit --data.batch 2", "data.batch"),
    "a shortened checkpoint": ("validate --ckpt nope.ckpt", "--ckpt"),
    "in capitals": ("fit --DATA.BATCH_SIZE 2", "DATA.BATCH_SIZE"),
    "of another group": ("fit --model.batch_size 2", "model.batch_size"),
    "without value": ("fit --data.batch_size", "data.batch_size"),
    "with a flag for value": ("fit --data.batch_size --data.seed 1", "data.batch_size"),
    "empty value": ("fit --data.batch_size=", "data.batch_size"),
    "no key": ("fit --=2", "--=2"),
    "dots": ("fit --data..batch_size 2", "data..batch_size"),
    "trailing dot": ("fit --data.batch_size. 2", "data.batch_size"),
    "below a number": ("fit --data.batch_size.x 2", "data.batch_size"),
    "a linked key": ("fit --model.class_names [a]", "model.class_names"),
    "a linked window": ("fit --data.window_overlap 1", "data.window_overlap"),
    "a linked picture flag": ("predict --data.predict_originals true", "data.predict_originals"),
    "an argument without its class": ("fit --data.val.root x", "data.val"),
    "an argument of another class": ("fit --data.val datamodules.SyntheticScenes --data.val.root x", "data.val"),
    "classes that differ": ("fit --data.val datamodules.SyntheticScenes --data.val.num_classes 2", "data.val"),
    "overlap and length": ("fit --data.clip_length 2 --data.val_overlap 2", "data.val_overlap"),
    "channels and heads": ("fit --model.encoder.channels 32 --model.encoder.num_heads 3", "model.encoder.channels"),
    "logger and barebones": ("fit --trainer.barebones true --trainer.logger true", "trainer"),
    "steps and epochs that end at once": ("fit --trainer.max_epochs -1 --trainer.max_steps -2", "trainer"),
    "a config that is none": ("fit --config nope.yaml", "nope.yaml"),
    "a config without name": ("fit --config", "config"),
    "an empty name of a config": ("fit --config=", "config"),
    "a folder as config": ("fit --config .", "config"),
    "a config before the command": ("--config nope.yaml fit", "config|nope.yaml"),
    "a URL as config": ("fit --config http://127.0.0.1:9/x.yaml", "config|x.yaml"),
    "a checkpoint that is none": ("validate --ckpt_path nope.ckpt", "nope.ckpt"),
    "last of none": ("validate --ckpt_path last", "ckpt_path last"),
    "best": ("validate --ckpt_path best", "best"),
    "a checkpoint in the net": ("validate --ckpt_path s3://x/y.ckpt", "ckpt_path"),
    "an empty name of a checkpoint": ("validate --ckpt_path=", "ckpt_path"),
    "a checkpoint of an endless name": ("validate --ckpt_path " + "x" * 300, "ckpt_path"),
    "nothing to predict": ("predict", "data.predict_path"),
    "a path that is none": ("predict --data.predict_path nope.mp4", "nope.mp4"),
    "an endless path": ("predict --data.predict_path " + "x" * 300, "data.predict_path"),
    "a device as video": ("predict --data.predict_path /dev/null", "/dev/null"),
    "an endless device as config": ("fit --config /dev/zero", "/dev/zero"),
    "a device as checkpoint": ("validate --ckpt_path /dev/zero", "/dev/zero"),
    "a file of the system as checkpoint": ("validate --ckpt_path /proc/self/mem", "/proc/self/mem"),
    "roots that are none": ("fit --data.train datamodules.MOTChallenge --data.train.root nope", "nope"),
    "a root of an endless name": (
        "fit --data.train datamodules.MOTChallenge --data.train.root " + "x" * 300,
        "data.train",
    ),
    "an unknown class of a source": ("test --data.test.class_path nope", "data.test"),
    "help of no class": ("fit --data.train.help nope.Nope", "data.train|nope.Nope"),
    "text that is no text": ("fit --data.seed \udcff", "data.seed"),
    "a line break": ("fit --data.seed 1\n2", "data.seed"),
    "terminal codes": ("fit --data.seed \x1b[31m", "data.seed"),
}
SLICES = {
    "a NUL in a path": (("predict", "--data.predict_path", "a\x00b"), "data.predict_path"),
    "a NUL in a checkpoint": (("validate", "--ckpt_path", "a\x00b"), "ckpt_path"),
    "a NUL in a config": (("fit", "--config", "a\x00b"), "config"),
    "a NUL in a root": (("fit", "--trainer.default_root_dir", "a\x00b"), "default_root_dir"),
    "no arguments": ((), "command"),
    "an empty argument": (("fit", ""), "option|unknown"),
    "YAML in a flag": (("fit", "--data", "{batch_size: [}"), "data"),
    "a group in a flag": (("fit", "--data", "{bach_size: 1}"), "bach_size"),
    "an object in a flag": (("fit", "--data.seed", "!!python/object/apply:os.mkdir [executed]"), "data.seed"),
}


def nested(key, value):
    """A YAML file of one key."""
    lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(key.split("."))]
    return ("\n".join(lines) + f" {value}\n").encode()


def typed(rng):
    """Each kind of bad value at several keys, some as YAML and some as flags."""
    pairs = [(key, value) for key in WHOLE for value in rng.sample(NO_WHOLE, 3)]
    pairs += [(key, value) for key in REAL for value in rng.sample(NO_REAL, 3)]
    pairs += [(key, value) for key, values in OTHERS.items() for value in values]
    for index, (key, value) in enumerate(pairs):
        says = re.escape(key.rpartition(".")[2]) if key.count(".") else re.escape(key)
        if index % 3:
            yield Case(f"{key}: {value}", ("fit", "--config", "config.yaml"), says, {"config.yaml": nested(key, value)})
        else:
            yield Case(f"--{key} {value}", ("fit", f"--{key}={value}"), says)


def of_classes():
    for path in CLASSES[:-1]:
        source = nested("data.train.class_path", path)
        yield Case(f"class {path}", ("fit", "--config", "config.yaml"), "data.train|train", {"config.yaml": source})
    for number, init_args in enumerate(["7", "[a]", "{num_scenes: many}", "{nothing: 1}", "{num_scenes: {a: 1}}", "x"]):
        text = nested("data.train", f"{{class_path: datamodules.SyntheticScenes, init_args: {init_args}}}")
        yield Case(f"init_args {number}", ("fit", "--config", "config.yaml"), "train|num_scenes", {"config.yaml": text})
    for name, body in {
        "raises": b"raise RuntimeError('of the user')\n",
        "syntax": b"class Mine(:\n",
        "imports": b"import nothing_of_this_name\n",
        "lacks": b"x = 1\n",
    }.items():
        files = {f"own_{name}.py": body, "config.yaml": nested("data.train.class_path", f"own_{name}.Mine")}
        yield Case(f"own module {name}", ("fit", "--config", "config.yaml"), "data.train: ", files)


def cases():
    rng = random.Random(2024)
    yield from typed(rng)
    yield from of_classes()
    for name, (content, says) in TEXTS.items():
        yield Case(f"YAML {name}", ("fit", "--config", "config.yaml"), says, {"config.yaml": content})
    for name, (line, says) in FLAGS.items():
        yield Case(f"flag {name}", tuple(line.split(" ")), says)
    for name, (arguments, says) in SLICES.items():
        yield Case(f"flag {name}", arguments, says)
