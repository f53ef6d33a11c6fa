import json

import numpy as np
import pytest
from tracking_cases import random_tables, table, track

from scene_model.metrics import TrackedSequence, score
from scene_model.metrics.__main__ import main
from scene_model.mot_text import MotTable, write_mot

TRACKS = track(1, range(4)) + track(2, range(4), left=50)


@pytest.fixture
def folders(tmp_path):
    for side in ("gt", "out"):
        for name in ("A", "B"):
            write_mot(tmp_path / side / f"{name}.txt", table(TRACKS))
    return tmp_path / "gt", tmp_path / "out"


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def assert_user_error(result, *parts):
    code, out, err = result
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    for part in parts:
        assert str(part) in err


def test_table(folders, capsys):
    code, out, err = run(capsys, *folders)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert lines[0][:4] == ["sequence", "HOTA", "DetA", "AssA"]
    assert [line[0] for line in lines[2:]] == ["A", "B", "COMBINED"]
    assert "…" not in out
    assert lines[-1][1] == "100.00"


def test_json_is_one_object(folders, capsys):
    code, out, _ = run(capsys, *folders, "--json")
    scores = json.loads(out)
    assert code == 0
    assert list(scores) == ["A", "B", "COMBINED"]
    assert scores["COMBINED"]["CLR_TP"] == 16
    assert {type(value) for fields in scores.values() for value in fields.values()} == {float}


def test_two_files_are_named_by_the_ground_truth(folders, capsys):
    gt, out = folders
    _, text, _ = run(capsys, gt / "A.txt", out / "B.txt", "--json")
    assert list(json.loads(text)) == ["A", "COMBINED"]


def test_num_frames(folders, capsys):
    _, out, _ = run(capsys, *folders, "--json", "--num-frames", 9)
    assert json.loads(out)["A"]["num_timesteps"] == 9
    assert_user_error(run(capsys, *folders, "--num-frames", 3), "A.txt", "frame 4")
    with pytest.raises(SystemExit, match="2"):
        main(["gt", "out", "--num-frames", "0"])


def test_time_stamps_are_no_frame_numbers(folders, capsys):
    gt, out = folders
    (out / "A.txt").write_text("1764408780,1,10,10,20,20,1,-1,-1,-1\n")
    assert_user_error(run(capsys, gt, out), "A.txt", "up to 10000000 of them, found 1764408780")


def test_rules(tmp_path, capsys):
    write_mot(tmp_path / "gt.txt", table(TRACKS, [1] * 4 + [8] * 4))
    rows = table(TRACKS)
    write_mot(tmp_path / "out.txt", MotTable.of_tracks(rows.frames, rows.track_ids, rows.boxes, rows.conf))
    _, out, _ = run(capsys, tmp_path / "gt.txt", tmp_path / "out.txt", "--json", "--rules", "MOT17")
    assert json.loads(out)["gt"]["CLR_TP"] == 4
    write_mot(tmp_path / "out.txt", table(TRACKS, [3] * 8))
    result = run(capsys, tmp_path / "gt.txt", tmp_path / "out.txt", "--rules", "MOT17")
    assert_user_error(result, "gt", "found 3")


def scores_of(capsys, *arguments):
    code, out, err = run(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_classes_that_the_tracker_counts_from_one(tmp_path, capsys):
    truth, tracker = tmp_path / "gt.txt", tmp_path / "out.txt"
    write_mot(tracker, table(TRACKS, [1] * 4 + [2] * 4))
    for numbers, options in (([3, 1], ["--rules", "MOT17"]), ([1, 2], [])):
        write_mot(truth, table(TRACKS + track(3, range(6), left=90), np.repeat([*numbers, 9], [4, 4, 6])))
        scores = scores_of(capsys, truth, tracker, *options, "--classes", "car", "pedestrian")
        assert list(scores) == ["gt", "COMBINED:car", "COMBINED:pedestrian", "COMBINED"]
        assert [fields["CLR_TP"] for fields in scores.values()] == [8, 4, 4, 8]
        assert [fields["HOTA"] for fields in scores.values()] == pytest.approx([1] * 4, abs=1e-12)
        assert scores["COMBINED:car"]["num_timesteps"] == 6
        swapped = scores_of(capsys, truth, tracker, *options, "--classes", "pedestrian", "car")
        assert swapped["COMBINED"]["CLR_TP"] == (0 if options else 8)


def test_one_class_that_is_not_the_benchmarks_first(tmp_path, capsys):
    write_mot(tmp_path / "gt.txt", table(TRACKS, [1] * 4 + [3] * 4))
    write_mot(tmp_path / "out.txt", table(TRACKS[4:]))
    scores = scores_of(capsys, tmp_path / "gt.txt", tmp_path / "out.txt", "--rules", "MOT17", "--classes", "car")
    assert list(scores) == ["gt", "COMBINED"]
    assert (scores["gt"]["CLR_TP"], scores["gt"]["CLR_FN"]) == (4, 0)


@pytest.mark.parametrize(
    ("number", "options", "sentence"),
    [
        (3, ["--classes", "car", "cat"], "A: tracker: expected in column 8 a class from 1 to 2, found 3"),
        (-1, ["--classes", "car"], "A: tracker: expected in column 8 a class from 1 to 1, found -1"),
        (1, ["--classes", "car", "car"], "expected in `classes` each name once, found 'car' again"),
        (1, ["--classes", "cat", "--rules", "MOT17"], "found 'cat'"),
        (1, ["--classes", "car", "cat", "--rules", "MOT15"], "MOT15 has no class column"),
    ],
)
def test_classes_that_cannot_be(number, options, sentence, folders, capsys):
    write_mot(folders[1] / "A.txt", table(TRACKS, [number] * 8))
    assert_user_error(run(capsys, *folders, *options), sentence)


@pytest.mark.parametrize("name", ["COMBINED", "COMBINED:car"])
def test_a_sequence_called_as_all_of_them(name, folders, capsys):
    for folder in folders:
        (folder / "A.txt").rename(folder / f"{name}.txt")
    assert_user_error(run(capsys, *folders), f"{name}: no sequence can be scored under this name")


def test_an_empty_tracker_file_scores_zero(folders, capsys):
    (folders[1] / "A.txt").write_text("")
    _, out, _ = run(capsys, *folders, "--json")
    assert json.loads(out)["A"]["HOTA"] == 0


def test_missing_tracker_file(folders, capsys):
    (folders[1] / "B.txt").unlink()
    assert_user_error(run(capsys, *folders), folders[1] / "B.txt")


def test_extra_tracker_file_is_a_warning(folders, capsys):
    (folders[1] / "C.txt").write_text("")
    code, out, err = run(capsys, *folders)
    assert code == 0
    assert "C " not in out
    assert str(folders[1] / "C.txt") in err


def test_missing_path(folders, capsys):
    assert_user_error(run(capsys, folders[0], folders[1] / "nowhere"), "nowhere")


def test_a_file_and_a_folder(folders, capsys):
    assert_user_error(run(capsys, folders[0], folders[1] / "A.txt"), "two files or two folders")


def test_folder_without_files(tmp_path, capsys):
    assert_user_error(run(capsys, tmp_path, tmp_path), tmp_path)


def test_malformed_row(folders, capsys):
    (folders[1] / "A.txt").write_text("1,1,0,0,10,10,1\n2,x,0,0,10,10,1\n")
    assert_user_error(run(capsys, *folders), "A.txt", "line 2")


def test_an_unknown_error_keeps_its_traceback(folders, monkeypatch):
    def planted(*_, **__):
        raise RuntimeError("planted")

    monkeypatch.setattr("scene_model.metrics.__main__.score", planted)
    with pytest.raises(RuntimeError, match="planted"):
        main([str(path) for path in folders])


def test_written_and_read_again_scores_the_same(tmp_path, capsys):
    truth, tracker, _ = random_tables(5)
    assert len(truth) > 10
    assert len(tracker) > 10
    truth.boxes[:, 2:] = np.maximum(truth.boxes[:, 2:], 1)
    for side, rows in (("gt", truth), ("out", tracker)):
        write_mot(tmp_path / side / "A.txt", rows)
    _, out, _ = run(capsys, tmp_path / "gt", tmp_path / "out", "--json")
    assert json.loads(out) == score([("A", TrackedSequence.of(truth, tracker))])
