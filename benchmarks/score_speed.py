"""Seconds from MOTChallenge text files to the table of scores, ours beside TrackEval's, in turn.

    python benchmarks/score_speed.py                      # 500 frames with 150 objects each
    python benchmarks/score_speed.py --folder FOLDER      # also FOLDER/gt/*.txt against FOLDER/tracker/*.txt

Needs `pip install trackeval`. Both sides compute HOTA, CLEAR and Identity; TrackEval writes and plots nothing.
"""

import argparse
import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from scene_model.metrics import clear_sums, hota_sums, identity_sums, score, scores_table
from scene_model.metrics.files import FilePair, pair_files, read_sequences
from scene_model.metrics.scores import Scores
from scene_model.metrics.sequence import TrackedSequence
from scene_model.mot_text import MotTable, read_mot, write_mot

NUM_FRAMES, NUM_OBJECTS = 500, 150


def write_crowd(folder: Path) -> None:
    """A crowded full HD scene, and a tracker with jitter, misses, false alarms and identity switches."""
    rng = np.random.default_rng(0)
    frames, ids = np.repeat(np.arange(NUM_FRAMES), NUM_OBJECTS), np.tile(np.arange(1, NUM_OBJECTS + 1), NUM_FRAMES)
    space = np.array([1850.0, 880.0])
    walks = rng.uniform(0, space, (NUM_OBJECTS, 2)) + np.arange(NUM_FRAMES)[:, None, None] * rng.normal(
        0, 2, (NUM_OBJECTS, 2)
    )
    corners = np.abs((walks + space) % (2 * space) - space)
    sizes = np.broadcast_to(rng.uniform([30, 80], [80, 200], (NUM_OBJECTS, 2)), corners.shape)
    boxes = np.concatenate([corners, sizes], axis=2).reshape(-1, 4)
    found, false_alarm = rng.random(len(frames)) < 0.9, rng.random(len(frames)) < 0.1
    seen = boxes + rng.normal(0, 4, boxes.shape)
    renamed = ids + NUM_OBJECTS * ((frames + ids * 7) // 120)
    tracker = (
        np.concatenate([frames[found], frames[false_alarm]]),
        np.concatenate([renamed[found], 10000 + ids[false_alarm]]),
        np.concatenate([seen[found], seen[false_alarm] + [70, 40, 0, 0]]),
    )
    for side, rows in (("gt", (frames, ids, boxes)), ("tracker", tracker)):
        order = np.argsort(rows[0], kind="stable")
        frame, identity, box = (column[order] for column in rows)
        write_mot(folder / side / "crowd.txt", MotTable.of_tracks(frame, identity, box.round(2), np.ones(len(frame))))


def run_ours(folder: Path) -> Scores:
    scores = score(read_sequences(pair_files(folder / "gt", folder / "tracker")[0]))
    scores_table(scores)
    return scores


def run_trackeval(folder: Path) -> Scores:
    import trackeval

    pairs, _ = pair_files(folder / "gt", folder / "tracker")
    silent = {"PRINT_CONFIG": False}
    quiet = ("TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES")
    with contextlib.redirect_stdout(io.StringIO()):
        config = {
            "GT_FOLDER": str(folder / "gt"),
            "GT_LOC_FORMAT": "{gt_folder}/{seq}.txt",
            "TRACKERS_FOLDER": str(folder.parent),
            "TRACKERS_TO_EVAL": [folder.name],
            "TRACKER_SUB_FOLDER": "tracker",
            "SEQ_INFO": {pair.name: last_frame(pair) for pair in pairs},
            "SKIP_SPLIT_FOL": True,
            "BENCHMARK": "MOT15",
        }
        dataset = trackeval.datasets.MotChallenge2DBox(config | silent)
        names = ("HOTA", "CLEAR", "Identity")
        metrics = [getattr(trackeval.metrics, name)(dict(silent)) for name in names]
        evaluator = trackeval.Evaluator(silent | dict.fromkeys(quiet, False))
        results = evaluator.evaluate([dataset], metrics)[0]["MotChallenge2DBox"][folder.name]
    return {
        sequence.replace("COMBINED_SEQ", "COMBINED"): {
            field: float(np.mean(value)) for name in names for field, value in result["pedestrian"][name].items()
        }
        for sequence, result in results.items()
    }


def last_frame(pair: FilePair) -> int:
    """TrackEval must be told; looked up at the ends of the files, which are in order, at no cost."""
    return max(int(path.read_bytes().rsplit(b"\n", 2)[-2].split(b",", 1)[0]) for path in (pair.truth, pair.tracker))


def largest_difference(ours: Scores, expected: Scores) -> float:
    return max(abs(ours[name][field] - value) for name, fields in expected.items() for field, value in fields.items())


def in_turn(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = perf_counter()
            side()
            seconds[name].append(perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def print_stages(folder: Path, rounds: int) -> None:
    pairs, _ = pair_files(folder / "gt", folder / "tracker")
    tables = [(read_mot(pair.truth), read_mot(pair.tracker, ground_truth=False)) for pair in pairs]
    sequences = [TrackedSequence.of(*sides) for sides in tables]
    stages = {
        "read and overlaps": lambda: [None for _ in read_sequences(pairs)],
        "overlaps": lambda: [TrackedSequence.of(*sides) for sides in tables],
        "HOTA": lambda: [hota_sums(sequence) for sequence in sequences],
        "CLEAR": lambda: [clear_sums(sequence) for sequence in sequences],
        "Identity": lambda: [identity_sums(sequence) for sequence in sequences],
    }
    seconds = in_turn(stages, rounds)
    seconds["read"] = seconds.pop("read and overlaps") - seconds["overlaps"]
    print("  of ours:", ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in seconds.items()))


def compare(folder: Path, rounds: int) -> None:
    difference = largest_difference(run_ours(folder), run_trackeval(folder))
    print(f"{folder.name}: largest difference of any field {difference:.1e}")
    seconds = in_turn({"ours": lambda: run_ours(folder), "trackeval": lambda: run_trackeval(folder)}, rounds)
    ratio = seconds["trackeval"] / seconds["ours"]
    print(f"  ours {seconds['ours']:.3f} s, trackeval {seconds['trackeval']:.3f} s: {ratio:.1f} times faster")
    print_stages(folder, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, action="append", default=[], help="holds gt/*.txt and tracker/*.txt")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with TemporaryDirectory() as temporary:
        crowd = Path(temporary) / "crowd"
        write_crowd(crowd)
        for folder in (crowd, *args.folder):
            compare(folder.resolve(), args.rounds)


if __name__ == "__main__":
    main()
