import csv
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image

from main import main

CONFIG = Path(__file__).parents[1] / "config"
SMALL_MODEL = [
    *("--model.backbone.name", "mobilenet_v3_small"),
    *("--model.encoder.channels", "32"),
    *("--model.decoder.num_queries", "6"),
    *("--model.decoder.num_layers", "1"),
]
SMALL_RUN = [
    *("--trainer.max_epochs", "1"),
    *("--trainer.enable_progress_bar", "false"),
    *("--trainer.enable_model_summary", "false"),
    *("--trainer.log_every_n_steps", "1"),
    *("--data.image_size", "[64,64]"),
    *("--data.batch_size", "2"),
]
SMALL_SCENES = [
    *("--data.clips_per_epoch", "4"),
    *("--data.train.image_size", "[64,64]"),
    *("--data.val.image_size", "[64,64]"),
    *("--data.val.num_scenes", "1"),
    *("--data.val.num_frames", "6"),
]
# Tensors this small gain nothing from more threads, and lose much on a busy machine.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start


@pytest.fixture(scope="session")
def config_folder():
    """The YAML files that users get."""
    return CONFIG


@pytest.fixture(scope="session")
def small():
    """`config/base.yaml`, shrunk by flags to a second per training."""
    return ["--config", str(CONFIG / "base.yaml"), *SMALL_MODEL, *SMALL_RUN, *SMALL_SCENES]


@pytest.fixture(scope="session")
def small_model():
    """Flags that shrink the network alone."""
    return SMALL_MODEL


@pytest.fixture(scope="session")
def small_run():
    """Flags that shrink the run alone."""
    return SMALL_RUN


@pytest.fixture(scope="session")
def trained(small, tmp_path_factory):
    """The folder of a finished run of two epochs; not to be written to."""
    root = tmp_path_factory.mktemp("trained") / "runs"
    main(["fit", *small, "--trainer.max_epochs", "2", "--trainer.default_root_dir", str(root)])
    return root / "version_0"


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def rejected(capsys, in_tmp):
    """Runs a command that must be refused, and returns the sentence."""

    def run(*args):
        before = set(in_tmp.rglob("*"))
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in args])
        out, err = capsys.readouterr()
        sentences = [line for line in err.splitlines() if line.startswith("error: ")]
        assert exit_.value.code == 2
        assert out == ""
        assert len(sentences) == 1
        assert err.splitlines()[-1] == sentences[0]
        assert "Traceback" not in err
        assert "usage:" not in err
        assert set(in_tmp.rglob("*")) == before, "something was half-written"
        return sentences[0].removeprefix("error: ")

    return run


@pytest.fixture(scope="session")
def logged():
    """Reads the rows of a run's `metrics.csv`, without empty cells."""

    def read(folder):
        with (folder / "metrics.csv").open(newline="") as file:
            return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]

    return read


@pytest.fixture(scope="session")
def mot_sequence(tmp_path_factory):
    """A sequence folder in MOTChallenge layout: 12 frames with one person who walks."""
    folder = tmp_path_factory.mktemp("mot") / "WALK-01"
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    rows = []
    for number in range(1, 13):
        image = Image.new("RGB", (96, 64), (40, 90, 60))
        image.paste((200, 60, 60), (4 * number, 20, 4 * number + 12, 50))
        image.save(folder / "img1" / f"{number:06d}.png")
        rows.append(f"{number},1,{4 * number},20,12,30,1,1,1\n")
    (folder / "gt" / "gt.txt").write_text("".join(rows))
    return folder


@pytest.fixture
def full_disk():
    """A context in which no file can grow beyond 8000 bytes."""

    @contextmanager
    def limit():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
