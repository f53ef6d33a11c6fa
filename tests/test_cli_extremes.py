"""Data and options at the edge of what is allowed: each trains a step, validates and predicts."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from PIL import Image

from main import main
from scene_model.mot_text import read_mot

ALL_QUERIES = ["--model.tracking.birth_threshold", "0.001", "--model.tracking.keep_threshold", "0.001"]


@dataclass(frozen=True)
class Case:
    """Flags, and the MOTChallenge sequences that are trained on, validated and run on.

    Args:
        flags: over those of a small run.
        sizes: (width, height) of the frames, one sequence each.
        num_frames: of each sequence.
        num_objects: in each frame.
        num_classes: the objects have them in turn.
        num_queries: of the model.
    """

    flags: list[str] = field(default_factory=list)
    sizes: tuple[tuple[int, int], ...] = ((96, 64),)
    num_frames: int = 6
    num_objects: int = 2
    num_classes: int = 1
    num_queries: int = 6


CASES = {
    "one frame per clip, one clip per batch": Case(["--data.clip_length", "1", "--data.batch_size", "1"]),
    "no object in all the data": Case(num_objects=0),
    "one frame per clip": Case(["--data.clip_length", "1"]),
    "one clip per batch": Case(["--data.batch_size", "1"]),
    "no object and no denoising": Case(["--model.denoiser", "null"], num_objects=0),
    "80 classes": Case(num_classes=80, num_objects=80),
    "300 objects in a frame": Case(["--data.image_size", "[160,160]"], num_objects=300, num_queries=300),
    "300 objects for 6 queries": Case(num_objects=300),
    "more queries than tokens": Case(["--data.image_size", "[32,32]"], num_queries=300),
    "the smallest frames": Case(["--data.image_size", "[32,32]"]),
    "odd sizes that 32 does not divide": Case(["--data.image_size", "[33,47]"], sizes=((97, 61),)),
    "strips": Case(sizes=((200, 20), (20, 200)), num_queries=80),
    "sequences of one frame": Case(num_frames=1),
    "sequences of one frame, one frame per clip": Case(["--data.clip_length", "1"], num_frames=1),
    "sequences of different sizes": Case(sizes=((96, 64), (50, 120), (33, 31))),
}
FAST = list(CASES)[:2]


def write_sequences(folder, case):
    """Sequence folders with objects side by side in a grid, and classes of their own."""
    side = math.ceil(math.sqrt(max(1, case.num_objects)))
    for number, (width, height) in enumerate(case.sizes):
        sequence = folder / f"S{number}"
        (sequence / "img1").mkdir(parents=True)
        (sequence / "gt").mkdir()
        (sequence / "gt/labels.txt").write_text("\n".join(class_names(case)))
        rows = []
        for frame in range(1, case.num_frames + 1):
            Image.new("RGB", (width, height), (40, 9 * frame, 60)).save(sequence / "img1" / f"{frame:06d}.png")
            for index in range(case.num_objects):
                left, top = index % side * width / side, index // side * height / side
                box = f"{left:.3f},{top:.3f},{width / side:.3f},{height / side:.3f}"
                rows.append(f"{frame},{index + 1},{box},1,{index % case.num_classes + 1},1\n")
        (sequence / "gt/gt.txt").write_text("".join(rows))


def class_names(case):
    return [f"class_{index}" for index in range(case.num_classes)]


def sources(folder, case):
    names = f"[{','.join(class_names(case))}]"
    for part in ("train", "val"):
        yield from (f"--data.{part}=datamodules.MOTChallenge", f"--data.{part}.root={folder}")
        yield f"--data.{part}.classes={names}"


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CASES])
@pytest.mark.filterwarnings("ignore:.*(fewer frames than clips|holds more objects than).*")
def test_trains_a_step_validates_and_predicts(name, small_model, small_run, in_tmp, logged):
    case = CASES[name]
    write_sequences(in_tmp / "data", case)
    queries = ["--model.decoder.num_queries", str(case.num_queries)]
    run = [
        *small_model,
        *queries,
        *small_run,
        *sources("data", case),
        "--trainer.limit_train_batches",
        "1",
        *case.flags,
    ]
    cli = main(["fit", *run])
    assert cli.trainer.global_step == 1
    rows = logged(in_tmp / "runs/version_0")
    for term in ("train/total", "val/total", "val/clip_idf1"):
        (value,) = [row[term] for row in rows if term in row]
        assert math.isfinite(value), term
    weights = torch.load("runs/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in weights.values())
    main(["predict", "--ckpt_path", "last", "--data.predict_path", "data", *ALL_QUERIES])
    for number, (width, height) in enumerate(case.sizes):
        table = read_mot(in_tmp / f"runs/version_1/tracks/S{number}.txt", ground_truth=False)
        assert len(table) > 0, "every query is a track"
        assert set(table.frames) <= set(range(case.num_frames))
        corners = table.boxes[:, :2] + table.boxes[:, 2:]
        assert (table.boxes >= 0).all()
        assert (corners <= [width + 0.01, height + 0.01]).all()


@pytest.fixture
def mixed(in_tmp):
    """A folder of images that differ in size."""
    folder = in_tmp / "mixed"
    folder.mkdir()
    for number, size in enumerate([(96, 64), (64, 96), (31, 33), (200, 20), (96, 64)]):
        Image.new("RGB", size, (200, 40 * number, 60)).save(folder / f"{number:06d}.png")
    return folder


@pytest.mark.slow
def test_predicts_images_that_differ_in_size(trained, mixed, in_tmp):
    with pytest.warns(UserWarning, match=r"scaled 3 frames \(the first is frame 2\) to the size of the first, 96x64"):
        main(
            [
                "predict",
                "--ckpt_path",
                str(trained / "checkpoints/last.ckpt"),
                "--data.predict_path",
                "mixed",
                *ALL_QUERIES,
            ]
        )
    table = read_mot(in_tmp / "runs/version_0/tracks/mixed.txt", ground_truth=False)
    assert set(table.frames) == set(range(5))


@pytest.mark.slow
def test_trains_on_a_video_whose_frames_differ_in_size(small_model, small_run, in_tmp, logged):
    case = Case()
    write_sequences(in_tmp / "data", case)
    for number, size in enumerate([(64, 96), (31, 33)], start=2):
        Image.new("RGB", size).save(in_tmp / f"data/S0/img1/{number:06d}.png")
    with pytest.warns(UserWarning, match=r"such frames are scaled"):
        cli = main(["fit", *small_model, *small_run, *sources("data", case), "--trainer.limit_train_batches", "1"])
    assert cli.trainer.global_step == 1
    assert any("val/total" in row for row in logged(in_tmp / "runs/version_0"))
    with pytest.warns(UserWarning, match="scaled"):
        main(["predict", "--ckpt_path", "last", "--data.predict_path", "data", *ALL_QUERIES])
    assert len(read_mot(in_tmp / "runs/version_1/tracks/S0.txt", ground_truth=False)) > 0
