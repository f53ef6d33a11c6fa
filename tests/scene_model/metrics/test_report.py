"""Files of scores: exact, whole, and readable by others."""

import csv
import json
import math

import pytest

from scene_model.errors import UserError
from scene_model.metrics import write_scores

SCORES = {
    'a "b", c': {"HOTA": 1 / 3, "IDSW": 2.0, "tiny": 5e-324},
    "COMBINED": {"HOTA": math.nextafter(0.1, 1), "IDSW": 1e17, "tiny": 0.0, "map": 0.1 + 0.2},
}


def test_both_files_give_back_every_number(tmp_path):
    write_scores(tmp_path / "new" / "folder", "test_metrics", SCORES)
    folder = tmp_path / "new" / "folder"
    assert json.loads((folder / "test_metrics.json").read_text()) == SCORES
    with (folder / "test_metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sequence"] for row in rows] == list(SCORES)
    assert [{k: float(v) for k, v in row.items() if k != "sequence" and v} for row in rows] == list(SCORES.values())
    assert sorted(path.name for path in folder.iterdir()) == ["test_metrics.csv", "test_metrics.json"]


def test_older_files_are_replaced(tmp_path):
    for name in ("test_metrics.json", "test_metrics.csv"):
        (tmp_path / name).write_text("old, and much longer than what comes now" * 100)
    write_scores(tmp_path, "test_metrics", SCORES)
    assert json.loads((tmp_path / "test_metrics.json").read_text()) == SCORES


def test_a_failure_leaves_the_older_files(tmp_path, monkeypatch):
    (tmp_path / "test_metrics.json").write_text("{}")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scene_model.files.os.replace", full)
    with pytest.raises(UserError, match=r"test_metrics.json: cannot be written \(No space left on device\)"):
        write_scores(tmp_path, "test_metrics", SCORES)
    assert [path.name for path in tmp_path.iterdir()] == ["test_metrics.json"]
    assert (tmp_path / "test_metrics.json").read_text() == "{}"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_scores(tmp_path / "file", "test_metrics", SCORES)


def test_a_second_file_that_cannot_be_written_leaves_the_first_one_alone(tmp_path):
    (tmp_path / "test_metrics.csv").mkdir()
    with pytest.raises(UserError, match=r"test_metrics\.csv: cannot be written"):
        write_scores(tmp_path, "test_metrics", SCORES)
    assert [path.name for path in tmp_path.iterdir()] == ["test_metrics.csv"]
