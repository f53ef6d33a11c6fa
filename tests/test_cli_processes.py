"""What only a process of its own can show: exit codes, signals, several processes at once."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENV = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}
pytestmark = pytest.mark.slow


def start(*command, cwd):
    return subprocess.Popen(
        [sys.executable, *command], cwd=cwd, env=ENV, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process):
    try:
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()
    return process.returncode, out, err


@pytest.mark.parametrize("error", ["RuntimeError", "ValueError"])
def test_a_bug_keeps_its_traceback_and_exits_1(error, small, tmp_path):
    program = f"""
import main
def step(*args): raise {error}("planted")
main.SceneModelLightningModule.training_step = step
main.main({["fit", *small]})
"""
    code, _, err = finish(start("-c", program, cwd=tmp_path))
    assert code == 1
    assert "Traceback (most recent call last)" in err
    assert err.strip().endswith(f"{error}: planted")


def test_a_user_error_is_all_there_is_on_stderr(tmp_path):
    code, out, err = finish(start(f"{ROOT}/main.py", "fit", "--data.batch_size", "two", cwd=tmp_path))
    assert (code, out, err) == (2, "", "error: data.batch_size: expected int, got two\n")


def test_sigterm_saves_exits_143_and_the_run_goes_on(small, tmp_path, logged):
    command = [f"{ROOT}/main.py", "fit", *small, "--trainer.max_epochs", "10000", "--ckpt_path", "last"]
    first = start(*command, cwd=tmp_path)
    metrics = tmp_path / "runs/version_0/metrics.csv"
    while not metrics.exists() and first.poll() is None:
        time.sleep(0.2)
    first.send_signal(signal.SIGTERM)
    assert finish(first)[0] == 143
    checkpoint = tmp_path / "runs/version_0/checkpoints/last.ckpt"
    done = torch.load(checkpoint, weights_only=True)["global_step"]
    command[command.index("10000")] = "10001"
    again = start(*command, "--trainer.max_steps", str(done + 3), cwd=tmp_path)
    code, _, err = finish(again)
    assert code == 0, err
    assert "going on with runs/version_0/checkpoints/last.ckpt" in err
    assert torch.load(checkpoint, weights_only=True)["global_step"] == done + 3
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["version_0"]


def test_two_runs_started_at_once_have_a_folder_each(small, tmp_path):
    runs = [start(f"{ROOT}/main.py", "fit", *small, cwd=tmp_path) for _ in range(2)]
    for run in runs:
        code, _, err = finish(run)
        assert code == 0, err
    for name in ("version_0", "version_1"):
        assert (tmp_path / "runs" / name / "checkpoints/last.ckpt").is_file()


def test_ddp_overlay_trains_two_processes_in_one_folder_and_goes_on_there(small, config_folder, tmp_path, logged):
    command = [f"{ROOT}/main.py", "fit", *small, "--config", str(config_folder / "ddp.yaml")]
    command += ["--model.backbone.unfreeze_after", "1"]
    for max_epochs in ("1", "2"):
        run = start(*command, "--trainer.max_epochs", max_epochs, "--ckpt_path", "last", cwd=tmp_path)
        code, out, err = finish(run)
        assert code == 0, err
        assert out.count("Done. Everything is in runs/version_0") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["version_0"]
    assert {row["epoch"] for row in logged(tmp_path / "runs/version_0") if "val/total" in row} == {0, 1}


def test_a_user_error_under_ddp_is_found_before_processes_are_launched(small, config_folder, tmp_path):
    command = ["fit", *small, "--config", str(config_folder / "ddp.yaml"), "--data.val.num_classes", "2"]
    code, _, err = finish(start(f"{ROOT}/main.py", *command, cwd=tmp_path))
    assert code == 2
    assert err.count("error: ") == 1
    assert "MEMBER" not in err
    assert not (tmp_path / "runs").exists()


def test_two_processes_score_as_one(trained, config_folder, tmp_path, logged):
    """Nine clips for two processes: the one that is dealt to fill up counts nothing."""
    command = [f"{ROOT}/main.py", "validate", "--ckpt_path", str(trained / "checkpoints/last.ckpt")]
    command += ["--data.val.num_frames", "36", "--data.batch_size", "2"]
    rows = []
    for processes in ([], ["--config", str(config_folder / "ddp.yaml"), "--trainer.accelerator", "cpu"]):
        code, _, err = finish(start(*command, *processes, cwd=tmp_path))
        assert code == 0, err
        rows.append(logged(tmp_path / "runs" / f"version_{len(rows)}")[-1])
    one, two = ({name: value for name, value in row.items() if name.startswith("val/")} for row in rows)
    assert {"val/idf1", "val/clip_idf1", "val/clip_idp", "val/total"} < one.keys()
    assert two == pytest.approx(one, rel=1e-5)
