"""Every field of every score against the package that defines them."""

import contextlib
import io

import numpy as np
import pytest
from tracking_cases import random_tables

from scene_model.metrics import CLEAR, HOTA, Identity, TrackedSequence, apply_rules, score
from scene_model.mot_rules import class_rules
from scene_model.mot_text import MotTable, write_mot

trackeval = pytest.importorskip("trackeval", reason="the oracle needs `pip install trackeval`")

SILENT = {"PRINT_CONFIG": False}
ORACLES = (trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(dict(SILENT)), trackeval.metrics.Identity(dict(SILENT)))
TOLERANCE = 1e-9


def as_trackeval_data(truth, tracker, num_frames):
    data = {"num_timesteps": num_frames, "num_gt_dets": len(truth), "num_tracker_dets": len(tracker)}
    for name, table in (("gt", truth), ("tracker", tracker)):
        unique, ids = np.unique(table.track_ids, return_inverse=True)
        data[f"num_{name}_ids"] = len(unique)
        data[f"{name}_ids"] = [ids[table.frames == frame] for frame in range(num_frames)]
    data["similarity_scores"] = [
        trackeval.datasets.MotChallenge2DBox._calculate_box_ious(
            truth.boxes[truth.frames == frame], tracker.boxes[tracker.frames == frame]
        )
        for frame in range(num_frames)
    ]
    return data


def oracle_results(truth, tracker, num_frames):
    data = as_trackeval_data(truth, tracker, num_frames)
    return [oracle.eval_sequence(data) for oracle in ORACLES]


def fields(results):
    return {field: float(np.mean(value)) for result in results for field, value in result.items()}


def assert_fields(ours, expected, note=""):
    assert expected.keys() <= ours.keys()
    worst = max(expected, key=lambda field: abs(ours[field] - expected[field]))
    assert abs(ours[worst] - expected[worst]) <= TOLERANCE, (note, worst, ours[worst], expected[worst])


@pytest.mark.parametrize("first_seed", range(0, 600, 100))
def test_random_sequences_and_their_combination(first_seed):
    cases = {str(seed): random_tables(seed) for seed in range(first_seed, first_seed + 100)}
    expected = {name: oracle_results(*case) for name, case in cases.items()}
    scores = score((name, TrackedSequence.of(*case)) for name, case in cases.items())
    for name in cases:
        assert_fields(scores[name], fields(expected[name]), f"seed {name}")
    combined = [
        oracle.combine_sequences({name: results[index] for name, results in expected.items()})
        for index, oracle in enumerate(ORACLES)
    ]
    assert_fields(scores["COMBINED"], fields(combined))


@pytest.mark.parametrize("seed", range(0, 60, 10))
def test_several_classes_are_detection_averaged(seed):
    cases = [random_tables(seed + offset) for offset in range(4)]
    classes = (1, 2, 6, 8)
    metrics, by_class, sequences = (HOTA(), CLEAR(), Identity()), {}, []
    for number in classes:
        selected = [(gt[gt.classes == number], out[out.classes == number], frames) for gt, out, frames in cases]
        results = [oracle_results(*case) for case in selected]
        by_class[number] = [
            oracle.combine_sequences({str(i): result[index] for i, result in enumerate(results)})
            for index, oracle in enumerate(ORACLES)
        ]
        sequences += [(str(i), TrackedSequence.of(*case)) for i, case in enumerate(selected)]
    expected = [
        oracle.combine_classes_det_averaged({number: by_class[number][index] for number in classes})
        for index, oracle in enumerate(ORACLES)
    ]
    assert_fields(score(sequences)["COMBINED"], fields(expected))
    for metric, result in zip(metrics, expected, strict=True):
        for _, one in sequences:
            metric.update(one)
        assert_fields({field: value.item() for field, value in metric.compute().items()}, fields([result]))


def oracle_with_rules(folder, benchmark, cases):
    for name, (truth, tracker, _) in cases.items():
        write_mot(folder / "gt" / name / "gt" / "gt.txt", truth)
        write_mot(folder / "trackers" / "T" / "data" / f"{name}.txt", tracker)
    config = {
        "GT_FOLDER": str(folder / "gt"),
        "TRACKERS_FOLDER": str(folder / "trackers"),
        "SEQ_INFO": {name: num_frames for name, (*_, num_frames) in cases.items()},
        "SKIP_SPLIT_FOL": True,
        "BENCHMARK": benchmark,
    }
    dataset = trackeval.datasets.MotChallenge2DBox(config | SILENT)
    results = {}
    for name in cases:
        data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("T", name), "pedestrian")
        results[name] = [oracle.eval_sequence(data) for oracle in ORACLES]
    return results


@pytest.mark.parametrize("benchmark", ["MOT15", "MOT16", "MOT17", "MOT20", "DanceTrack"])
def test_benchmark_rules(benchmark, tmp_path):
    cases = {}
    for seed in range(1000, 1040):
        truth, found, num_frames = random_tables(seed)
        tracker = MotTable.of_tracks(found.frames, found.track_ids, found.boxes, found.conf)
        if len(truth) and len(tracker):
            cases[str(seed)] = truth, tracker, num_frames
    with contextlib.redirect_stdout(io.StringIO()):
        expected = oracle_with_rules(tmp_path, benchmark, cases)
    rules = class_rules(benchmark, ["pedestrian"])
    for name, (truth, tracker, num_frames) in cases.items():
        ours = TrackedSequence.of(*apply_rules(truth, tracker, rules), num_frames)
        assert_fields(score([(name, ours)])[name], fields(expected[name]), f"seed {name}")
