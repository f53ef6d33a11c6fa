"""Whole videos on the command line: `test`, `validate --data.val_sequences true` and `predict`."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from main import main
from scene_model.metrics.__main__ import main as score_files
from scene_model.mot_text import read_mot, write_mot

ALL_QUERIES = ["--model.tracking.birth_threshold", "0.01", "--model.tracking.keep_threshold", "0.01"]
FIELDS = {
    *("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA"),
    *("MOTA", "MOTP", "CLR_Re", "CLR_Pr", "CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag"),
    *("IDF1", "IDP", "IDR", "IDTP", "IDFN", "IDFP"),
}


@pytest.fixture
def checkpoint(trained):
    return ["--ckpt_path", str(trained / "checkpoints/best.ckpt"), "--trainer.enable_progress_bar", "false"]


@pytest.fixture
def labelled(mot_sequence, tmp_path_factory):
    """The sequence with classes that the checkpoint knows."""
    folder = shutil.copytree(mot_sequence, tmp_path_factory.mktemp("labelled") / mot_sequence.name)
    (folder / "gt/labels.txt").write_text("disk\nsquare\ntriangle\n")
    return folder


def test_a_checkpoint_is_all_that_test_needs(checkpoint, in_tmp):
    cli = main(["test", *checkpoint, *ALL_QUERIES])
    logged = cli.trainer.callback_metrics
    assert {f"mot/{field}" for field in FIELDS} | {"map", "map_50"} <= set(logged)
    scores = json.loads((in_tmp / "runs/version_0/test_metrics.json").read_text())
    assert {"val_00000", "COMBINED"} <= set(scores)
    assert set(scores["val_00000"]) >= FIELDS
    assert scores["COMBINED"]["map_50"] >= scores["COMBINED"]["map"] >= 0
    assert scores["COMBINED"]["CLR_TP"] + scores["COMBINED"]["CLR_FN"] > 0
    assert float(logged["mot/HOTA"]) == pytest.approx(scores["COMBINED"]["HOTA"])
    assert (in_tmp / "runs/version_0/test_metrics.csv").is_file()


@pytest.mark.slow
def test_validate_scores_whole_sequences_when_asked(checkpoint, in_tmp):
    plain = main(["validate", *checkpoint]).trainer.callback_metrics
    both = main(["validate", *checkpoint, "--data.val_sequences", "true"]).trainer.callback_metrics
    assert {name: float(both[name]) for name in plain} == {name: float(value) for name, value in plain.items()}
    assert {f"mot/{field}" for field in FIELDS} <= set(both)
    assert not {name for name in plain if name.startswith("mot/")}
    assert (in_tmp / "runs/version_1/validate_metrics.json").is_file()


@pytest.mark.slow
def test_fit_logs_whole_sequences_when_asked(small, in_tmp, logged):
    main(["fit", *small, "--data.val_sequences", "true", "--checkpoint.monitor", "mot/HOTA"])
    rows = logged(in_tmp / "runs/version_0")
    assert any("mot/HOTA" in row and "val/clip_idf1" in row for row in rows)
    assert (in_tmp / "runs/version_0/checkpoints/best.ckpt").is_file()


@pytest.mark.slow
def test_the_length_of_a_window_may_differ_from_training(checkpoint, in_tmp):
    for length in ("1", "6"):
        cli = main(["test", *checkpoint, *ALL_QUERIES, "--data.window_length", length])
        assert cli.trainer.callback_metrics["mot/CLR_FP"] > 0


def test_predicted_text_has_the_scores_of_test(checkpoint, labelled, in_tmp, capsys):
    source = ["--data.test", "datamodules.MOTChallenge", "--data.test.root", str(labelled)]
    classes = ["--data.test.classes", "[disk,square,triangle]"]
    main(["test", *checkpoint, *source, *classes, *ALL_QUERIES])
    main(["predict", *checkpoint, *ALL_QUERIES, "--data.predict_path", str(labelled)])
    tracks = in_tmp / "runs/version_1/tracks"
    assert sorted(path.name for path in tracks.iterdir()) == ["WALK-01.mp4", "WALK-01.txt"]
    expected = json.loads((in_tmp / "runs/version_0/test_metrics.json").read_text())["WALK-01"]
    # One class after the other, as `test` combines several.
    table, truth = read_mot(tracks / "WALK-01.txt", ground_truth=False), read_mot(labelled / "gt/gt.txt")
    assert set(table.classes) <= {1.0, 2.0, 3.0}
    assert table.boxes[:, :2].min() >= 0
    assert (table.boxes[:, :2] + table.boxes[:, 2:] <= np.array([96, 64]) + 1e-9).all()
    counts = dict.fromkeys(("CLR_TP", "CLR_FN", "CLR_FP", "IDTP", "IDFP", "IDSW"), 0.0)
    for number in (1.0, 2.0, 3.0):
        for name, rows in (("gt", truth), ("tracker", table)):
            write_mot(in_tmp / f"{name}.txt", rows[rows.classes == number])
        capsys.readouterr()
        assert score_files([str(in_tmp / "gt.txt"), str(in_tmp / "tracker.txt"), "--json", "--num-frames", "12"]) == 0
        found = json.loads(capsys.readouterr().out)["COMBINED"]
        counts = {field: count + found[field] for field, count in counts.items()}
    assert counts == {field: expected[field] for field in counts}
    assert counts["CLR_FP"] > 0


def test_predict_takes_folders_of_anything_and_names_by_what_it_found(checkpoint, mot_sequence, in_tmp):
    shutil.copytree(mot_sequence / "img1", in_tmp / "all/pictures")
    shutil.copytree(mot_sequence, in_tmp / "all/sequence")
    flags = ["--tracks.output_dir", "out", "--tracks.video", "false", *ALL_QUERIES]
    main(["predict", *checkpoint, "--data.predict_path", "all", *flags])
    assert sorted(path.name for path in (in_tmp / "out").iterdir()) == ["pictures.txt", "sequence.txt"]
    one, other = (read_mot(in_tmp / f"out/{name}.txt", ground_truth=False) for name in ("pictures", "sequence"))
    assert len(one) > 0
    np.testing.assert_array_equal(one.track_ids, other.track_ids)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)


def test_predict_ends_with_where_the_tracks_are(checkpoint, mot_sequence, in_tmp, capsys):
    cli = main(["predict", *checkpoint, "--data.predict_path", str(mot_sequence)])
    assert cli.model.class_names == ["disk", "square", "triangle"]
    assert re.search(r"12 frames.*runs/version_0/tracks", capsys.readouterr().out)


@pytest.mark.slow
def test_tracks_do_not_depend_on_batches_and_workers(checkpoint, mot_sequence, in_tmp):
    texts = set()
    for number, flags in enumerate((["--data.batch_size", "1"], ["--data.batch_size", "5", "--data.num_workers", "1"])):
        run = ["--data.predict_path", str(mot_sequence), "--tracks.output_dir", f"out{number}", *ALL_QUERIES, *flags]
        main(["predict", *checkpoint, *run])
        table = read_mot(in_tmp / f"out{number}/WALK-01.txt", ground_truth=False)
        texts.add((tuple(table.frames), tuple(table.track_ids), tuple(table.boxes.round(2).ravel())))
    assert len(texts) == 1


def test_a_damaged_frame_in_the_middle_is_one_warning(checkpoint, mot_sequence, in_tmp):
    folder = shutil.copytree(mot_sequence / "img1", in_tmp / "pictures")
    (folder / "000005.png").write_bytes((folder / "000005.png").read_bytes()[:90])
    with pytest.warns(UserWarning, match=r"pictures: cannot read frame 5: left out"):
        main(["predict", *checkpoint, "--data.predict_path", "pictures", *ALL_QUERIES])
    frames = read_mot(in_tmp / "runs/version_0/tracks/pictures.txt", ground_truth=False).frames
    assert set(frames) == set(range(12)) - {4}


def test_a_fast_dev_run_of_predict_leaves_nothing(checkpoint, mot_sequence, in_tmp):
    main(["predict", *checkpoint, "--data.predict_path", str(mot_sequence), "--trainer.fast_dev_run", "true"])
    assert list(in_tmp.iterdir()) == []


class TestRejected:
    @pytest.fixture
    def refused(self, rejected, checkpoint):
        return lambda *flags: rejected("predict", *checkpoint, *flags)

    def test_paths(self, refused, in_tmp):
        assert refused().startswith("data.predict_path: ")
        assert refused("--data.predict_path", "nowhere").startswith("data.predict_path: ")
        (in_tmp / "notes.mp4").write_text("no video")
        assert "notes.mp4" in refused("--data.predict_path", "notes.mp4")
        (in_tmp / "empty").mkdir()
        assert "empty" in refused("--data.predict_path", "empty")

    def test_output_folders(self, refused, in_tmp, mot_sequence):
        (in_tmp / "file").write_text("")
        for folder in ("file", "/proc/tracks"):
            sentence = refused("--data.predict_path", mot_sequence, "--tracks.output_dir", folder)
            assert sentence.startswith("tracks.output_dir: ")
        (in_tmp / "link").symlink_to(mot_sequence)
        sentence = refused("--data.predict_path", mot_sequence, "--tracks.output_dir", "link")
        assert "the next predict would track the videos that this one writes there" in sentence

    def test_checkpoints(self, rejected, in_tmp, trained, mot_sequence):
        weights = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
        torch.save({"state_dict": weights}, "foreign.ckpt")
        path = ["--data.predict_path", mot_sequence]
        assert "was not written by this program" in rejected("predict", "--ckpt_path", "foreign.ckpt", *path)
        assert "there is no checkpoints/last.ckpt" in rejected("predict", "--ckpt_path", "last", *path)
        last = trained / "checkpoints/last.ckpt"
        assert rejected("predict", "--ckpt_path", trained, *path).endswith(f"; in that folder there is {last}")

    def test_options(self, refused):
        assert refused("--model.tracking.max_age", "-1").startswith("model.tracking.max_age: expected")
        assert refused("--data.window_overlap", "1") == "data.window_overlap: is set by model.tracking.overlap"
        assert refused("--data.window_length", "0").startswith("data.window_length: expected at least 1")


def test_nothing_is_left_of_a_prediction_that_fails(checkpoint, mot_sequence, in_tmp, monkeypatch):
    monkeypatch.setattr("scene_model.lightning_module.VideoTracker.update", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["predict", *checkpoint, "--data.predict_path", str(mot_sequence), "--tracks.output_dir", "out"])
    assert not list(in_tmp.glob("out/*"))


def test_a_large_frame_that_is_not_square(checkpoint, in_tmp):
    (in_tmp / "large").mkdir()
    for number in range(5):
        Image.new("RGB", (640, 200), (number, 90, 30)).save(in_tmp / f"large/{number}.png")
    main(["predict", *checkpoint, "--data.predict_path", "large", *ALL_QUERIES])
    boxes = read_mot(in_tmp / "runs/version_0/tracks/large.txt", ground_truth=False).boxes
    assert (boxes[:, 0] + boxes[:, 2]).max() > 64, "boxes in pixels of the model's frame"
    assert (boxes[:, 1] + boxes[:, 3]).max() <= 200


def test_a_run_of_predict_keeps_its_config(checkpoint, mot_sequence, in_tmp):
    main(["predict", *checkpoint, "--data.predict_path", str(mot_sequence)])
    config = yaml.safe_load((in_tmp / "runs/version_0/config.yaml").read_text())
    assert config["data"]["predict_path"] == str(mot_sequence)
    assert config["return_predictions"] is False
