"""Whole sequences on two processes: the scores are those of one."""

import json

import pytest
from test_cli_processes import ROOT, finish, start

pytestmark = pytest.mark.slow
TWO_PROCESSES = [
    *("--trainer.accelerator", "cpu"),
    *("--trainer.devices", "2"),
    *("--trainer.strategy", "ddp"),
]
SCENES = ["--data.val.num_scenes", "3", "--data.val.num_frames", "11"]
ANY_TRACK = ["--model.tracking.birth_threshold", "0.01", "--model.tracking.keep_threshold", "0.01"]


def run(*command, cwd):
    code, _, err = finish(start(f"{ROOT}/main.py", *command, cwd=cwd))
    assert code == 0, err


def test_two_processes_test_as_one(trained, tmp_path):
    """Three scenes for two processes: one of them fills up with blank windows."""
    command = ["test", "--ckpt_path", str(trained / "checkpoints/last.ckpt"), *SCENES, *ANY_TRACK]
    scores = []
    for number, processes in enumerate([["--trainer.accelerator", "cpu"], TWO_PROCESSES]):
        run(*command, *processes, cwd=tmp_path)
        scores.append(json.loads((tmp_path / f"runs/version_{number}/test_metrics.json").read_text()))
    one, two = scores
    assert sum(scores["CLR_TP"] + scores["CLR_FP"] for scores in one.values()) > 0, "tracks are compared"
    assert list(two) == list(one)
    for name, expected in one.items():
        assert two[name] == pytest.approx(expected, abs=1e-6, rel=0), name


def test_two_processes_score_validation_sequences(small, tmp_path, logged):
    run("fit", *small, *TWO_PROCESSES, *SCENES, "--data.val_sequences", "true", cwd=tmp_path)
    (row,) = [row for row in logged(tmp_path / "runs/version_0") if "mot/HOTA" in row]
    assert row["mot/CLR_TP"] + row["mot/CLR_FN"] > 0, "objects were counted"
