import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.peers import __main__ as command
from benchmarks.peers.data import Dataset, mot_dataset, synthetic_dataset
from benchmarks.peers.ours import Schedule, fitting_schedule
from benchmarks.peers.processes import CommandError, minutes_between, run, run_limited, thread_environment
from benchmarks.peers.report import markdown, write_report
from benchmarks.peers.results import KeptTraining, ResultsFile, Run, planned
from benchmarks.peers.scoring import GRID, choose_threshold, score_detections, score_tracks
from benchmarks.peers.yolo import BATCH, images_for, is_installed
from scene_model.errors import UserError
from scene_model.mot_text import MotTable, read_mot, write_mot

KINDS = ("images", "labels")
RANGES = {"train": (1, 4), "tune": (5, 6), "val": (7, 10)}


def entry(system="ours", minutes=10.0, seed=0, **scores):
    names = ("HOTA", "DetA", "DetRe", "DetPr", "AssA", "IDF1", "IDSW", "map_50", "frames_per_second")
    fields = dict.fromkeys(names, 0.5) | {"threshold": 0.3, "IDSW": 7.0} | scores
    run_ = {"dataset": "pets", "system": system, "minutes": minutes, "seed": seed}
    rest = {"settings": {"threads": 2}, "real_minutes": minutes, "ended_by_itself": True}
    return {**run_, **rest, "scores": {system: fields}}


@pytest.fixture
def sequence(tmp_path):
    """Ten frames of 40x20 in which person 1 walks; person 2 does not count."""
    folder = tmp_path / "WALK"
    (folder / "img1").mkdir(parents=True)
    rows = []
    for frame in range(1, 11):
        Image.new("RGB", (40, 20), (frame, 0, 0)).save(folder / "img1" / f"{frame:06}.png")
        rows += [f"{frame},1,{frame},2,8,10,1,1,1", f"{frame},2,30,2,4,4,0,1,1"]
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("\n".join(rows))
    return folder


@pytest.fixture
def cut(sequence, tmp_path) -> Dataset:
    return mot_dataset("walk", str(sequence), tmp_path / "work", RANGES, ["pedestrian"], imgsz=64)


def test_a_sequence_is_cut_into_parts_whose_frames_are_counted_from_1(cut):
    truth = cut.truth(cut.val)
    assert [(info.name, info.num_frames) for info in truth.sequences()] == [("WALK", 4)]
    assert truth.frame(0, 0)[0, 0, 0] == 7  # the image of frame 7
    table = truth.truth(0).table
    assert table.frames.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert table.boxes[0].tolist() == [7, 2, 8, 10]


def test_yolo_gets_the_training_part_and_no_frame_of_the_validation_part(cut):
    content = yaml.safe_load(cut.yolo.read_text())
    root = Path(content["path"])
    images = {part: sorted(path.name for path in (root / content[part]).iterdir()) for part in ("train", "val")}
    assert images["train"] == [f"{frame - 1:06}_WALK_{frame:06}.png" for frame in range(1, 5)]
    assert cut.num_images == 4
    assert [np.asarray(Image.open(root / content["val"] / name))[0, 0, 0] for name in images["val"]] == [5, 6]
    [line] = (root / "labels/train/000002_WALK_000003.txt").read_text().splitlines()  # person 2 has conf 0
    assert np.allclose([float(cell) for cell in line.split()], [0, 7 / 40, 7 / 20, 8 / 40, 10 / 20])


def test_yolo_finds_the_labels_of_sequences_with_dots_in_their_names(sequence, tmp_path):
    for camera in ("cam.1", "cam.2"):
        shutil.copytree(sequence, tmp_path / "cameras" / camera)
    cut = mot_dataset("walk", str(tmp_path / "cameras"), tmp_path / "work", RANGES, ["pedestrian"], imgsz=64)
    names = {
        kind: sorted(path.stem for path in (cut.yolo.parent / "yolo" / kind / "train").iterdir()) for kind in KINDS
    }
    assert names["images"] == names["labels"]
    assert len(names["images"]) == cut.num_images == 8


def test_parts_that_share_frames_are_refused(sequence, tmp_path):
    ranges = RANGES | {"tune": (4, 6)}
    with pytest.raises(UserError, match="overlap"):
        mot_dataset("walk", str(sequence), tmp_path / "work", ranges, ["pedestrian"], imgsz=64)


def test_synthetic_scenes_are_other_ones_for_training_tuning_and_validation(tmp_path):
    data = synthetic_dataset(tmp_path, num_scenes=6, imgsz=64, yolo_epochs=20, small=True)
    tune, val = data.truth(data.tune), data.truth(data.val)
    assert [source.class_names for source in (tune, val)] == [["disk", "square", "triangle"]] * 2
    images = data.yolo.parent / "yolo" / "images"
    names = sorted(path.stem for path in (images / "train").iterdir())
    assert [name.split("_")[2] for name in names] == [f"{scene:05}" for scene in range(6)]
    frames = {int(name.split("_")[3]) for name in names}
    assert len(frames) > 3, "any frames of the scenes, not their first ones"
    assert max(frames) > 8
    pictures = {path.read_bytes() for path in images.rglob("*.png")} | {
        path.read_bytes() for path in data.val.rglob("*.png")
    }
    assert len(pictures) == 6 + 5 + 2 * 10  # YOLO validates on every fourth frame


def test_the_truth_of_synthetic_scenes_scores_full_marks_as_tracks_and_as_detections(tmp_path):
    data = synthetic_dataset(tmp_path, num_scenes=1, imgsz=64, yolo_epochs=20, small=True)
    truth = data.truth(data.val)
    for folder in data.val.iterdir():
        write_mot(tmp_path / "tracks" / f"{folder.name}.txt", read_mot(folder / "gt/gt.txt"))
    assert score_tracks(truth, tmp_path / "tracks")["HOTA"] == pytest.approx(1)
    pytest.importorskip("faster_coco_eval")
    assert score_detections(truth, tmp_path / "tracks")["map_50"] == pytest.approx(1)


def test_tracks_and_detections_that_are_missing_score_nothing(cut, tmp_path):
    truth = cut.truth(cut.val)
    assert score_tracks(truth, tmp_path / "nothing")["HOTA"] == 0
    pytest.importorskip("faster_coco_eval")
    assert score_detections(truth, tmp_path / "nothing")["map_50"] == 0


def test_only_the_hundred_best_boxes_of_a_frame_count(cut, tmp_path):
    pytest.importorskip("faster_coco_eval")
    number = 101
    boxes = np.tile([0.0, 0, 1, 1], (number, 1))
    boxes[0] = [7, 2, 8, 10]
    for score, expected in ((0.9, 1 / 4), (0.1, 0)):
        conf = np.full(number, 0.5)
        conf[0] = score
        table = MotTable.of_tracks(np.zeros(number, int), np.arange(number), boxes, conf, np.ones(number))
        write_mot(tmp_path / "WALK.txt", table)
        assert score_detections(cut.truth(cut.val), tmp_path)["map_50"] == pytest.approx(expected, abs=0.01)


def test_the_threshold_with_the_best_mean_of_hota_and_idf1_is_chosen_the_lowest_of_equals():
    def score_at(threshold):
        return {"HOTA": 0.4 if threshold == 0.8 else 0.2, "IDF1": 0.5 if threshold in (0.3, 0.4) else 0.2}

    threshold, tried = choose_threshold(score_at)
    assert threshold == 0.3
    assert list(tried) == [f"{value:g}" for value in GRID]


def test_every_systems_default_threshold_is_tried():
    assert {0.25, 0.5} <= set(GRID)


def test_systems_take_turns_in_coming_first():
    runs = planned("pets", ["ours", "yolo"], [10], [0, 1])
    assert [(run_.system, run_.seed) for run_ in runs] == [("ours", 0), ("yolo", 0), ("yolo", 1), ("ours", 1)]


def test_finished_runs_are_known_after_a_new_start(tmp_path):
    ResultsFile(tmp_path / "results.json").add(entry(seed=1))
    again = ResultsFile(tmp_path / "results.json")
    assert again.holds(Run("pets", "ours", 10, 1), {"threads": 2})
    assert not again.holds(Run("pets", "ours", 10, 7), {"threads": 2})
    with pytest.raises(UserError, match="with threads 2, now it is 1"):
        again.holds(Run("pets", "ours", 10, 1), {"threads": 1})
    with pytest.raises(UserError, match="holds pets_ours_10min_seed1 with threads 2"):  # one curve, one configuration
        again.holds(Run("pets", "ours", 30, 0), {"threads": 1})
    others = Run("pets", "ours", 10, 2), Run("pets", "ours", 5, 1), Run("mot", "ours", 10, 1), Run("pets", "x", 10, 1)
    assert not any(again.holds(other, {"threads": 2}) for other in others)


def test_the_settings_of_ours_are_those_of_its_files(cut, tmp_path):
    plain = command.settings_of_ours(cut, ["--model.debug", "true"])
    assert plain["flags"] == ["--model.debug", "true"]
    assert command.settings_of_ours(cut, [])["config"] == plain["config"]
    (tmp_path / "own.yaml").write_text("model: {debug: true}  # a comment")
    own = command.settings_of_ours(cut, ["--config", str(tmp_path / "own.yaml")])["config"]
    assert own != plain["config"]
    (tmp_path / "own.yaml").write_text("model: {debug: true}")
    assert command.settings_of_ours(cut, ["--config", str(tmp_path / "own.yaml")])["config"] == own


def test_options_of_yolo_are_values():
    assert command.read_options(["nbs=16", "close_mosaic=0", "optimizer=SGD", "lr0=1.0e-2"]) == {
        "nbs": 16,
        "close_mosaic": 0,
        "optimizer": "SGD",
        "lr0": 0.01,
    }
    with pytest.raises(UserError, match="expected KEY=VALUE, found nbs"):
        command.read_options(["nbs"])


def test_a_run_that_is_killed_leaves_the_results_as_they_were(tmp_path, monkeypatch):
    results = ResultsFile(tmp_path / "results.json")
    results.add(entry())
    before = results.path.read_bytes()
    monkeypatch.setattr(json, "dumps", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        results.add(entry(seed=1))
    assert results.path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [results.path]


def test_a_training_is_known_by_what_it_was(tmp_path):
    training = KeptTraining(tmp_path, {"seed": 0, "settings": {"threads": 2}})
    assert training.read(of_revision=None) is None
    written = training.write({"revision": "abc", "real_minutes": 9.5})
    assert written == {"seed": 0, "settings": {"threads": 2}, "revision": "abc", "real_minutes": 9.5}
    assert training.read(of_revision=None) == training.read(of_revision="abc") == written
    assert training.read(of_revision="def") is None
    for other in ({"seed": 1, "settings": {"threads": 2}}, {"seed": 0, "settings": {"threads": 1}}):
        assert KeptTraining(tmp_path, other).read(of_revision=None) is None


class Trained:
    """Stands for a system: counts trainings, and scores what the test says."""

    def __init__(self, hota):
        self.trainings, self.hota = 0, hota

    def train(self, run_, dataset, folder):
        self.trainings += 1
        folder.mkdir(parents=True)
        return {"real_minutes": 1.0, "ended_by_itself": True, "command": "fit"}

    def score(self, run_, dataset, folder):
        if self.hota is None:
            raise KeyboardInterrupt
        return {run_.system: entry(HOTA=self.hota)["scores"]["ours"]}


def test_what_was_trained_is_only_scored_after_a_kill_and_on_demand(sequence, tmp_path, monkeypatch):
    pytest.importorskip("faster_coco_eval")
    system = Trained(hota=None)
    monkeypatch.setattr(command, "Ours", lambda *_: system)
    ranges = ["--train-frames", "1", "4", "--tune-frames", "5", "7", "--val-frames", "8", "10"]
    arguments = ["mot", "--root", str(sequence), *ranges, "--systems", "ours", "--seeds", "0"]
    arguments += ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results.json")]
    with pytest.raises(KeyboardInterrupt):
        command.main(arguments)
    for hota, options, expected in ((0.3, [], 0.3), (0.5, [], 0.3), (0.5, ["--score-again"], 0.5)):
        system.hota = hota
        assert command.main([*arguments, *options]) == 0
        [entry_] = ResultsFile(tmp_path / "results.json").entries
        assert (entry_["scores"]["ours"]["HOTA"], system.trainings) == (expected, 1)
    monkeypatch.setattr(command, "circumstances", lambda threads: {"revision": "another", "machine": {}})
    other_results = [*arguments[:-1], str(tmp_path / "others.json")]
    assert command.main([*other_results, "--score-again"]) == 0
    assert system.trainings == 1
    (tmp_path / "others.json").unlink()
    assert command.main(other_results) == 0
    assert system.trainings == 2
    shutil.rmtree(tmp_path / "work")
    system.hota = 0.9
    assert command.main([*arguments, "--score-again"]) == 0
    assert system.trainings == 2
    assert ResultsFile(tmp_path / "results.json").entries[0]["scores"]["ours"]["HOTA"] == 0.5


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"entries": [{"dataset": "pets"}]}')
    with pytest.raises(UserError, match="expected the results of earlier runs"):
        ResultsFile(path)


def test_the_schedule_fills_the_budget_and_no_more():
    assert fitting_schedule(600, step_seconds=0.5, validation_seconds=10, epochs=10) == Schedule(10, 100)
    few = fitting_schedule(60, step_seconds=0.5, validation_seconds=6, epochs=10)
    assert few == Schedule(2, 48)  # ten validations would take the whole minute
    assert fitting_schedule(1, step_seconds=2, validation_seconds=50, epochs=10) == Schedule(1, 1)


def test_of_endless_images_yolo_gets_as_many_as_it_can_see_twenty_times():
    images = images_for(20, 600, batch_seconds=1.0, validation_seconds=5.0, num_images=16384)
    assert images == 25 * BATCH
    assert images_for(20, 6000, 0.1, 0.0, 1000) == 1000


def test_the_table_has_medians_and_the_range_of_the_seeds():
    seeds = [entry(seed=seed, HOTA=hota, DetA=hota) for seed, hota in enumerate((0.1, 0.2, 0.6))]
    lines = markdown([*seeds, entry("YOLO11n + ByteTrack", HOTA=0.3)]).splitlines()
    assert lines[0] == "## pets"
    assert lines[4].startswith("| ours | 10 | 10.0 | 3 | 0.200 (0.100-0.600) | 0.200 | 0.500 ")
    assert lines[5].startswith("| YOLO11n + ByteTrack | 10 | 10.0 | 1 | 0.300 | ")
    assert " | 7 | 0.500 | 0.5 | 0.3 |" in lines[5]


def test_the_table_tells_of_trainings_that_were_stopped():
    stopped = entry() | {"ended_by_itself": False}
    assert "| ours | 10 | 10.0 (1 stopped) | 2 |" in markdown([stopped, entry(seed=1)])


def test_table_and_picture_stand_beside_the_results(tmp_path):
    entries = [entry(minutes=minutes, seed=seed) for minutes in (2.5, 10) for seed in (0, 1)]
    paths = write_report(entries, tmp_path / "results.json")
    assert [path.name for path in paths] == ["results.md", "results_pets.png"]
    assert Image.open(paths[1]).size[0] > 500
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_report_alone_trains_nothing(tmp_path, capsys):
    ResultsFile(tmp_path / "results.json").add(entry())
    assert command.main(["report", "--results", str(tmp_path / "results.json")]) == 0
    assert "results.md" in capsys.readouterr().out


def test_a_missing_package_is_one_sentence_before_anything_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    options = ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results.json")]
    assert command.main(["synthetic", "--systems", "ours", *options]) == 2
    assert "needs faster-coco-eval" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_data_without_a_root_is_one_sentence(tmp_path, capsys):
    arguments = ["pets", "--systems", "ours", "--work", str(tmp_path), "--results", str(tmp_path / "results.json")]
    assert command.main(arguments) == 2
    assert "--root" in capsys.readouterr().err


def python(code):
    return [sys.executable, "-c", code]


def test_a_training_that_overruns_is_stopped_by_sigterm(tmp_path):
    begin = tmp_path / "begin"
    code = f"import signal, sys, time; signal.signal(15, lambda *_: sys.exit(143)); open({str(begin)!r}, 'w'); {{}}"
    environment = thread_environment(1)
    assert run_limited(python(code.format("")), tmp_path / "log", environment, begin, 30)
    begin.unlink()
    assert not run_limited(python(code.format("time.sleep(60)")), tmp_path / "log", environment, begin, 0.1)
    begin.unlink()
    about_to_end = f"import time; open({str(begin)!r}, 'w'); time.sleep(60)"  # no longer minds signals
    assert not run_limited(python(about_to_end), tmp_path / "log", environment, begin, 0.1)


def test_a_failing_command_says_what_it_said(tmp_path):
    with pytest.raises(CommandError, match="no such luck"):
        run(python("raise SystemExit('no such luck')"), tmp_path / "log", thread_environment(1))


def test_all_systems_get_the_same_threads(tmp_path):
    said = run(python("import os; print(os.environ['OMP_NUM_THREADS'])"), tmp_path / "log", thread_environment(3))
    assert said.strip() == "3"


@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason='needs ultralytics: pip install -e ".[benchmarks]"')
def test_ultralytics_keeps_the_number_of_threads(tmp_path):
    code = """
import torch
from benchmarks.peers.yolo_worker import prepare_settings, use_threads
prepare_settings()
use_threads(3)
from ultralytics.utils.torch_utils import select_device
select_device("cpu", verbose=False)
print("threads:", torch.get_num_threads())"""
    environment = thread_environment(3, {"YOLO_CONFIG_DIR": str(tmp_path / "settings")})
    assert "threads: 3" in run(python(code), tmp_path / "log", environment)


def test_minutes_of_training_are_those_between_two_files(tmp_path):
    for name, moment in (("a", 1000), ("b", 1090)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (moment, moment))
    assert minutes_between(tmp_path / "a", tmp_path / "b") == pytest.approx(1.5)


@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason='needs ultralytics: pip install -e ".[benchmarks]"')
def test_the_whole_comparison_within_seconds(tmp_path):
    arguments = ["synthetic", "--small", "--scenes", "8", "--imgsz", "64", "--minutes", "0.05", "--seeds", "0"]
    arguments += ["--work", str(tmp_path), "--results", str(tmp_path / "results.json"), "--threads", "1"]
    flags = ["--model.backbone.name", "mobilenet_v3_small", "--model.decoder.num_layers", "1"]
    assert command.main([*arguments, "--", *flags, "--model.encoder.channels", "32"]) == 0
    entries = ResultsFile(tmp_path / "results.json").entries
    assert [sorted(entry["scores"]) for entry in entries] == [["ours"], ["YOLO11n + BoT-SORT", "YOLO11n + ByteTrack"]]
    for entry_ in entries:
        for scores in entry_["scores"].values():
            assert 0 <= scores["HOTA"] <= 1
            assert 0 <= scores["map_50"] <= 1
            assert scores["frames_per_second"] > 0
