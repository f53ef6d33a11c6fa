"""The scripts behind the numbers of docs/ still run, on a model that has learnt nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

av = pytest.importorskip("av")
REPOSITORY = Path(__file__).parents[2]
SHRUNK = """
model:
  backbone: {name: mobilenet_v3_small}
  encoder: {channels: 32}
  decoder: {num_queries: 6, num_layers: 1}
data:
  image_size: [64, 64]
  batch_size: 2
  clips_per_epoch: 16
  train: {class_path: datamodules.SyntheticScenes, init_args: {split: train, num_scenes: 8, image_size: [64, 64]}}
  val: {class_path: datamodules.SyntheticScenes, init_args: {split: val, num_scenes: 1, image_size: [64, 64]}}
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def script(trained, mot_sequence, tmp_path):
    """Runs a script, in whose arguments a few words stand for files, and returns what it prints."""
    (tmp_path / "shrunk.yaml").write_text(SHRUNK)
    files = {
        "CKPT": trained / "checkpoints" / "best.ckpt",
        "ROOT": mot_sequence,
        "SHRUNK": tmp_path / "shrunk.yaml",
        "VIDEO": tmp_path / "video.mp4",
    }
    with av.open(str(files["VIDEO"]), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode())

    def run(name, *arguments):
        words = [str(files.get(argument, argument)) for argument in arguments]
        command = [sys.executable, str(REPOSITORY / "benchmarks" / name), *words]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_linking(script):
    scene = ("CKPT", "--num_scenes", "1")
    assert "frames, IoU only" in script("linking.py", *scene)
    assert "max_age 5, mean" in script("linking.py", *scene, "--max_age", "5", "--birth_threshold", "0.1", "0.2")


def test_errors_and_looks_of_clips(script):
    walk = ("CKPT", "--root", "ROOT")
    assert "objects that have a query" in script("clip_errors.py", *walk)
    assert "frames apart" in script("looks.py", *walk, "--threshold", "0", "--min_iou", "0")


def test_step_time(script):
    assert "whole step" in script("step_time.py", "config/base.yaml", "SHRUNK", "--steps", "2")


def test_constant_floor(script):
    assert "clip_idf1" in script("constant_floor.py", "config/base.yaml", "SHRUNK")


def test_predict_speed(script):
    assert "frames/s" in script("predict_speed.py", "CKPT", "VIDEO", "--repeat", "1")


def test_score_speed(script):
    assert "ours" in script("score_speed.py", "--rounds", "1")
