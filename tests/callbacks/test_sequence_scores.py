"""Scores of whole sequences, from a foreign module's steps to the log and the files."""

import csv
import json
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from sequence_cases import QUERIES, Scene, blank, make_scene, windows
from torch.utils.data import DataLoader
from track_cases import ServiceLogger

from callbacks import SequenceScores
from scene_model.errors import UserError
from scene_model.metrics import TrackedSequence, apply_rules, score
from scene_model.metrics.__main__ import main as score_files
from scene_model.mot_rules import class_rules
from scene_model.mot_text import MotTable, write_mot
from scene_model.tracking import FinalTracks

OVERLAP = 1


class Tracker(LightningModule):
    """Sees every object that is there, and tracks what the scenes say."""

    def __init__(self, scenes, class_names=("pedestrian",)):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.scenes = {scene.name: scene for scene in scenes}
        self.class_names = list(class_names)

    def training_step(self, batch, batch_idx):
        return self.layer(torch.ones(1)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def test_step(self, batch, batch_idx):
        return {**seen(batch), "tracks": [self._follow(batch)] if not batch.padding_mask.all() else []}

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        return self.test_step(batch, batch_idx) if dataloader_idx else seen(batch)

    def _follow(self, batch):
        scene = self.scenes[batch.sequences[0].name]
        start, last = int(batch.frame_indices[0, 0]), int(batch.frame_indices[0, -1])
        end = scene.num_frames if batch.is_last[0] else last + 1 - OVERLAP
        rows = scene.tracks[(start <= scene.tracks.frames) & (scene.tracks.frames < end)]
        return FinalTracks(scene.info, end, batch.is_last[0], rows)


def seen(batch):
    """Outputs that are right about every target and sure of it."""
    num_clips, num_frames = batch.padding_mask.shape
    boxes, confidence = torch.zeros(num_clips, num_frames, QUERIES, 4), torch.zeros(num_clips, num_frames, QUERIES, 1)
    logits = torch.zeros(num_clips, num_frames, QUERIES, 3)
    for clip, frames in enumerate(batch.targets):
        for time, target in enumerate(frames):
            boxes[clip, time, : len(target)] = target.boxes
            confidence[clip, time, : len(target)] = 0.9
            logits[clip, time, torch.arange(len(target)), target.labels] = 1.0
    return {"bbox_center": boxes[..., :2], "bbox_size": boxes[..., 2:], "exist_conf": confidence, "cls_logits": logits}


def loader(*scenes):
    return DataLoader([batch for scene in scenes for batch in windows(scene, OVERLAP)], batch_size=None)


def read_files(folder, command="test"):
    """Both files, which must say the same to the last bit."""
    scores = json.loads((folder / f"{command}_metrics.json").read_text())
    with (folder / f"{command}_metrics.csv").open(newline="") as file:
        rows = {row.pop("sequence"): {k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)}
    assert rows == scores
    assert list(rows) == list(scores)
    return scores


def without_detection(scores):
    return {name: {k: v for k, v in row.items() if not k.startswith("map")} for name, row in scores.items()}


def test_perfect_tracks(make_trainer, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scenes = [make_scene("B", 9, seed=1), make_scene("A", 6, seed=2)]
    counted = [scene.truth[(scene.truth.conf > 0) & (scene.truth.classes == 1)] for scene in scenes]
    scenes = [
        replace(scene, tracks=replace(rows, track_ids=rows.track_ids + 40))
        for scene, rows in zip(scenes, counted, strict=True)
    ]
    trainer = make_trainer(SequenceScores())
    trainer.test(Tracker(scenes), loader(*scenes), verbose=False)
    scores = read_files(tmp_path)
    assert list(scores) == ["A", "B", "COMBINED"]
    for name in ("HOTA", "DetA", "AssA", "LocA", "IDF1", "MOTA"):
        assert [fields[name] for fields in scores.values()] == pytest.approx([1, 1, 1], abs=1e-12)
        assert trainer.callback_metrics[f"mot/{name}"] == pytest.approx(1)
    assert trainer.callback_metrics["mot/CLR_TP"] == sum(map(len, counted))
    assert scores["COMBINED"]["num_timesteps"] == 15
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [line[:2] for line in printed if line[0] in scores] == [[name, "100.00"] for name in scores]
    assert printed[-1] == ["Scores:", "test_metrics.json", "and", ".csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test_metrics.csv", "test_metrics.json"]


def test_average_precision_is_logged_and_stored(make_trainer, tmp_path):
    pytest.importorskip("faster_coco_eval")
    scene = make_scene("A", 6)
    trainer = make_trainer(SequenceScores())
    trainer.test(Tracker([scene]), loader(scene), verbose=False)
    scores = read_files(tmp_path)
    assert scores["COMBINED"]["map"] == pytest.approx(1)
    assert scores["COMBINED"]["map_50"] == pytest.approx(1)
    assert "map" not in scores["A"]
    assert trainer.callback_metrics["map"] == trainer.callback_metrics["map_50"] == pytest.approx(1)


@pytest.mark.parametrize("benchmark", ["MOT15", "MOT17", "DanceTrack"])
def test_the_numbers_are_those_of_the_same_rows_in_text_files(benchmark, make_trainer, tmp_path, capsys):
    scenes = [make_scene(name, 11, seed, benchmark) for seed, name in enumerate("CAB")]
    for scene in scenes:
        write_mot(tmp_path / "gt" / f"{scene.name}.txt", scene.truth)
        write_mot(tmp_path / "out" / f"{scene.name}.txt", scene.tracks)
    make_trainer(SequenceScores()).test(Tracker(scenes), loader(*scenes), verbose=False)
    capsys.readouterr()
    files = [str(tmp_path / side) for side in ("gt", "out")]
    assert score_files([*files, "--json", "--rules", benchmark, "--num-frames", "11"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert 0 < expected["COMBINED"]["HOTA"] < 1
    assert without_detection(read_files(tmp_path)) == expected


def two_class_scenes():
    scenes = [make_scene(name, 8, seed, "MOT17", classes=("pedestrian", "car")) for seed, name in enumerate("AB")]
    assert all(set(scene.truth.classes) >= {1, 3} for scene in scenes)
    assert all(set(scene.tracks.classes) == {1, 2} for scene in scenes)
    return scenes


def test_two_classes_are_detection_averaged(make_trainer, tmp_path, capsys):
    scenes = two_class_scenes()
    trainer = make_trainer(SequenceScores())
    trainer.test(Tracker(scenes, ["person", "auto"]), loader(*scenes), verbose=False)
    scores = read_files(tmp_path)
    assert list(scores) == ["A", "B", "COMBINED:person", "COMBINED:auto", "COMBINED"]
    assert "COMBINED:auto" in capsys.readouterr().out
    by_class = {}
    for label, name in enumerate(("pedestrian", "car")):
        rules = class_rules("MOT17", [name])
        for scene in scenes:
            rows = scene.tracks[scene.tracks.classes == label + 1]
            unnamed = MotTable.of_tracks(rows.frames, rows.track_ids, rows.boxes, rows.conf)
            left = apply_rules(scene.truth, unnamed, rules)
            by_class.setdefault(name, []).append((scene.name, TrackedSequence.of(*left, scene.num_frames)))
    per_class = [score(by_class[name])["COMBINED"] for name in ("pedestrian", "car")]
    assert without_detection({"": scores["COMBINED:person"]})[""] == per_class[0]
    assert without_detection({"": scores["COMBINED:auto"]})[""] == per_class[1]
    for count in ("CLR_TP", "CLR_FN", "CLR_FP", "IDTP", "IDSW", "HOTA_TP"):
        assert scores["COMBINED"][count] == pytest.approx(sum(fields[count] for fields in per_class))
        assert scores["COMBINED"][count] == pytest.approx(scores["A"][count] + scores["B"][count])
    expected = score(sorted(by_class["pedestrian"] + by_class["car"], key=lambda one: one[0]))
    assert without_detection(scores)["COMBINED"] == expected["COMBINED"]


@pytest.mark.parametrize("benchmark", ["MOT17", "DanceTrack"])
def test_the_numbers_of_two_classes_are_those_of_text_files(benchmark, make_trainer, tmp_path, capsys):
    classes = ("car", "pedestrian")
    scenes = [make_scene(name, 8, seed, benchmark, classes) for seed, name in enumerate("AB")]
    for scene in scenes:
        write_mot(tmp_path / "gt" / f"{scene.name}.txt", scene.truth)
        write_mot(tmp_path / "out" / f"{scene.name}.txt", scene.tracks)
    make_trainer(SequenceScores()).test(Tracker(scenes, classes), loader(*scenes), verbose=False)
    capsys.readouterr()
    files = [str(tmp_path / side) for side in ("gt", "out")]
    assert score_files([*files, "--json", "--rules", benchmark, "--classes", *classes, "--num-frames", "8"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert 0 < expected["COMBINED:car"]["HOTA"] < 1
    assert without_detection(read_files(tmp_path)) == expected


@pytest.mark.parametrize("name", ["COMBINED", "COMBINED:x"])
def test_a_sequence_called_as_all_of_them_is_refused_when_it_begins(name, make_trainer, tmp_path):
    scenes = [make_scene(name, 20), make_scene("A", 6)]
    tracker = Tracker(scenes)
    with pytest.raises(UserError, match=f"^{name}: no sequence can be scored under this name"):
        make_trainer(SequenceScores(), limit_test_batches=1).test(tracker, loader(*scenes), verbose=False)
    assert not list(tmp_path.iterdir())


def test_a_sequence_that_does_not_end_is_not_scored(make_trainer, tmp_path):
    scenes = [make_scene("A", 6), make_scene("B", 20)]
    batches = len(loader(scenes[0])) + 2
    with pytest.warns(UserWarning, match="did not end .* not scored: 1, such as B"):
        make_trainer(SequenceScores(), limit_test_batches=batches).test(Tracker(scenes), loader(*scenes), verbose=False)
    scores = read_files(tmp_path)
    assert list(scores) == ["A", "COMBINED"]
    assert without_detection({"": scores["COMBINED"]})[""]["CLR_TP"] == scores["A"]["CLR_TP"]


def test_nothing_is_written_where_no_sequence_ends(make_trainer, tmp_path):
    scene = make_scene("A", 20)
    trainer = make_trainer(SequenceScores(), limit_test_batches=1)
    with pytest.warns(UserWarning, match="did not end"):
        trainer.test(Tracker([scene]), loader(scene), verbose=False)
    assert not list(tmp_path.iterdir())
    assert not trainer.callback_metrics


def test_unfinished_sequences_do_not_leak_into_the_next_test(make_trainer, tmp_path):
    scene, callback = make_scene("A", 12), SequenceScores()
    with pytest.warns(UserWarning, match="did not end"):
        make_trainer(callback, limit_test_batches=2).test(Tracker([scene]), loader(scene), verbose=False)
    make_trainer(callback).test(Tracker([scene]), loader(scene), verbose=False)
    assert read_files(tmp_path)["A"]["CLR_TP"] > 0


def test_a_sequence_without_annotations_is_not_scored(make_trainer, tmp_path):
    known, unknown = make_scene("A", 6), make_scene("B", 6)
    batches = [*windows(known, OVERLAP), *(replace(batch, truths=[None]) for batch in windows(unknown, OVERLAP))]
    with pytest.warns(UserWarning, match="have no annotations .* 1, such as B"):
        make_trainer(SequenceScores()).test(
            Tracker([known, unknown]), DataLoader(batches, batch_size=None), verbose=False
        )
    assert list(read_files(tmp_path)) == ["A", "COMBINED"]


def test_where_nothing_is_there_all_tracks_are_false(make_trainer, tmp_path):
    scene = make_scene("A", 6)
    empty = replace(scene, truth=scene.truth[np.zeros(len(scene.truth), dtype=bool)])
    make_trainer(SequenceScores()).test(Tracker([empty]), loader(empty), verbose=False)
    scores = read_files(tmp_path)
    assert scores["A"]["CLR_FP"] == len(scene.tracks) > 0
    assert "map" not in scores["COMBINED"]


def test_blank_clips_add_nothing(make_trainer, tmp_path):
    scene = make_scene("A", 6)
    batches = list(windows(scene, OVERLAP))
    make_trainer(SequenceScores()).test(Tracker([scene]), loader(scene), verbose=False)
    expected = read_files(tmp_path)
    filled = DataLoader([blank(batches[0]), *batches, blank(batches[0])], batch_size=None)
    make_trainer(SequenceScores()).test(Tracker([scene]), filled, verbose=False)
    assert read_files(tmp_path) == expected


def test_validate(make_trainer, tmp_path, capsys):
    scene = make_scene("A", 6)
    logger = CSVLogger(tmp_path, name="", version="run")
    trainer = make_trainer(SequenceScores(), logger=logger)
    trainer.validate(Tracker([scene]), [loader(scene), loader(scene)], verbose=False)
    assert read_files(tmp_path / "run", "validate")["A"]["CLR_TP"] > 0
    assert capsys.readouterr().out.endswith(f"Scores: {tmp_path / 'run/validate_metrics.json'} and .csv\n")
    assert "mot/HOTA" in trainer.callback_metrics


def test_the_folder_of_a_service_is_not_the_runs(make_trainer, tmp_path, monkeypatch):
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    scene, run = make_scene("A", 6), tmp_path / "run"
    trainer = make_trainer(SequenceScores(), logger=ServiceLogger(), default_root_dir=run)
    trainer.test(Tracker([scene]), loader(scene), verbose=False)
    assert read_files(run)["A"]["CLR_TP"] > 0
    assert not list((tmp_path / "current").iterdir())


def test_validation_within_fit_only_logs(make_trainer, tmp_path, capsys):
    scene = make_scene("A", 6)
    trainer = make_trainer(SequenceScores(), limit_train_batches=1, num_sanity_val_steps=-1)
    trainer.fit(Tracker([scene]), DataLoader([0.0]), [loader(scene), loader(scene)])
    assert trainer.callback_metrics["mot/HOTA"] > 0
    assert "map" not in trainer.callback_metrics
    assert not list(tmp_path.iterdir())
    out = capsys.readouterr().out
    assert "COMBINED" not in out
    assert "Scores" not in out


def test_validation_of_clips_alone_is_left_alone(make_trainer, tmp_path):
    scene = make_scene("A", 6)
    trainer = make_trainer(SequenceScores())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*not scored.*")
        trainer.validate(Tracker([scene]), loader(scene), verbose=False)
    assert not trainer.callback_metrics
    assert not list(tmp_path.iterdir())


def test_without_the_coco_package(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    scene = make_scene("A", 6)
    with pytest.warns(UserWarning, match=r"scoring map and map_50 needs faster-coco-eval: pip install -e") as caught:
        make_trainer(SequenceScores()).test(Tracker([scene]), loader(scene), verbose=False)
    assert len([one for one in caught if "coco" in str(one.message)]) == 1
    assert "map" not in read_files(tmp_path)["COMBINED"]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*coco.*")
        make_trainer(SequenceScores(detection=False)).test(Tracker([scene]), loader(scene), verbose=False)


def test_fast_dev_run_writes_nothing(make_trainer, tmp_path, capsys):
    scene = make_scene("A", 3)
    make_trainer(SequenceScores(), fast_dev_run=True).test(Tracker([scene]), loader(scene), verbose=False)
    assert not list(tmp_path.iterdir())
    assert "Scores" not in capsys.readouterr().out


class Dealt(Tracker):
    """Deals its scenes out to the processes by hand, unevenly: two to the first, one to the second.

    So that gathering is tested apart from the sampler, which deals out what the command line runs on.
    """

    def test_dataloader(self):
        scenes = sorted(self.scenes.values(), key=lambda scene: scene.name)
        if self.trainer.world_size > 1:
            scenes = [scenes[1]] if self.trainer.global_rank else [scenes[2], scenes[0]]
        return loader(*scenes)


@pytest.mark.slow
def test_scores_gathered_from_two_processes_are_those_of_one(tmp_path):
    scenes: list[Scene] = [make_scene(name, 6 + 3 * seed, seed) for seed, name in enumerate("ABC")]
    results = []
    for strategy, devices in (("auto", 1), ("ddp_spawn", 2)):
        root = tmp_path / strategy
        trainer = Trainer(
            accelerator="cpu",
            devices=devices,
            strategy=strategy,
            default_root_dir=root,
            logger=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
            callbacks=[SequenceScores()],
        )
        logged = trainer.test(Dealt(scenes), verbose=False)[0]
        results.append((read_files(root), {name: value for name, value in logged.items() if "/" in name}))
    assert results[0] == results[1]
    assert list(results[0][0]) == ["A", "B", "C", "COMBINED"]
