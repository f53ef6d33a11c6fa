from __future__ import annotations

import hashlib
import pickle
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from datamodules.synthetic import SyntheticScenes
from datamodules.synthetic_scene import FrameObjects, Scene, build_scene
from scene_model.errors import UserError

NUM_FRAMES = 24


def scenes(source: SyntheticScenes, count: int) -> list[Scene]:
    return [build_scene(source._config, source._seed, source._split, number) for number in range(count)]


def share_inside(objects: FrameObjects, height: int, width: int) -> np.ndarray:
    low, high = objects.boxes[:, :2] - objects.boxes[:, 2:] / 2, objects.boxes[:, :2] + objects.boxes[:, 2:] / 2
    inside = np.clip(high, 0, [width, height]) - np.clip(low, 0, [width, height])
    return inside.prod(axis=1) / objects.boxes[:, 2:].prod(axis=1)


def hidden_episodes(scene: Scene) -> list[tuple[int, int]]:
    """(track id, frames) of the times that an object is in the frame and, for 2 frames or more, behind others."""
    lengths: dict[int, int] = defaultdict(int)
    episodes = []
    for index in range(len(scene.views)):
        objects = scene.objects(index)
        hidden = (objects.visible < 0.1) & (share_inside(objects, *scene.image_size) > 0.6)
        now = set(objects.track_ids[hidden].tolist())
        for track in set(lengths) - now:
            episodes.append((track, lengths.pop(track)))
        for track in now:
            lengths[track] += 1
    return [(track, length) for track, length in [*episodes, *lengths.items()] if length >= 2]


def lookalikes_meet(scene: Scene) -> bool:
    """Whether the boxes of two visible objects of one class in the same colours overlap in some frame."""
    looks = {track.number: (track.label, np.unique(track.sprite).tobytes()) for track in scene.tracks}
    for index in range(len(scene.views)):
        objects = scene.objects(index)
        seen = np.flatnonzero(objects.visible >= 0.1)
        for first in seen:
            for second in seen[seen > first]:
                a, b = objects.boxes[first], objects.boxes[second]
                alike = looks[objects.track_ids[first]] == looks[objects.track_ids[second]]
                if alike and (np.abs(a[:2] - b[:2]) <= (a[2:] + b[2:]) / 2).all():
                    return True
    return False


@pytest.mark.parametrize("size", [(128, 128), (64, 64), (96, 160), (288, 384)])
@pytest.mark.parametrize("num_frames", [1, 5])
def test_frames_and_targets_have_the_declared_form(size: tuple[int, int], num_frames: int):
    source = SyntheticScenes(split="val", num_scenes=3, num_frames=num_frames, image_size=size)
    assert source.class_names == ["disk", "square", "triangle"]
    infos = source.sequences()
    assert [info.name for info in infos] == ["val_00000", "val_00001", "val_00002"]
    assert {(info.num_frames, info.height, info.width, info.fps) for info in infos} == {(num_frames, *size, 10.0)}
    for sequence in range(3):
        for index in range(num_frames):
            frame, targets = source.frame(sequence, index), source.targets(sequence, index)
            assert frame.shape == (3, *size)
            assert frame.dtype == torch.uint8
            assert frame.is_contiguous()
            assert [item.dtype for item in (targets.boxes, targets.labels, targets.track_ids, targets.ignore)] == [
                torch.float32,
                torch.int64,
                torch.int64,
                torch.bool,
            ]
            assert len({len(targets.boxes), len(targets.labels), len(targets.track_ids), len(targets.ignore)}) == 1
            assert not targets.ignore.any()
            assert targets.labels.lt(3).all()
            assert targets.track_ids.unique().numel() == len(targets)
            low, high = targets.boxes[:, :2] - targets.boxes[:, 2:] / 2, targets.boxes[:, :2] + targets.boxes[:, 2:] / 2
            assert low.ge(-1e-6).all()
            assert high.le(1 + 1e-6).all()
            assert targets.boxes[:, 2:].gt(0).all()


def test_every_bit_is_the_same_on_every_machine():
    source = SyntheticScenes()
    digest = hashlib.sha256()
    for sequence, index in [(0, 0), (0, 23), (7, 5), (123, 11)]:
        digest.update(source.frame(sequence, index).numpy().tobytes())
        targets = source.targets(sequence, index)
        digest.update(targets.boxes.numpy().astype("<f4").tobytes() + bytes(targets.track_ids.tolist()))
    digest.update(SyntheticScenes(split="test", num_frames=300, image_size=(96, 160)).frame(2, 299).numpy().tobytes())
    assert digest.hexdigest() == "5b3df3e4efaf8756f3521e3921d59025acccce7155d263b8d103337866ea4e79"


def test_frames_depend_on_neither_order_nor_copies_nor_global_randomness():
    source = SyntheticScenes(num_frames=6)
    places = [(sequence, index) for sequence in range(8) for index in range(6)]
    expected = {place: source.frame(*place) for place in places}
    build_scene.cache_clear()
    torch.manual_seed(5)
    np.random.seed(5)
    copy: SyntheticScenes = pickle.loads(pickle.dumps(source))
    for place in sorted(places, key=lambda place: (place[1], -place[0])):
        assert torch.equal(copy.frame(*place), expected[place])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_frames_do_not_depend_on_the_number_of_workers(num_workers: int):
    source = SyntheticScenes(num_frames=2, image_size=(32, 32))
    loader: DataLoader[Any] = DataLoader(
        [(sequence, 1) for sequence in range(6)],  # type: ignore[arg-type]
        batch_size=None,
        num_workers=num_workers,
        collate_fn=lambda place: source.frame(*place),
    )
    for sequence, frame in enumerate(loader):
        assert torch.equal(frame, source.frame(sequence, 1))


def test_splits_and_seeds_share_no_scene():
    sources = [SyntheticScenes(split=split, seed=seed) for split in ("train", "val", "test") for seed in (0, 1)]
    pictures = {source.frame(number, 0).numpy().tobytes() for source in sources for number in range(10)}
    assert len(pictures) == 60


@pytest.mark.parametrize("num_classes", [3, 6])
def test_boxes_fit_what_is_drawn(num_classes: int):
    source = SyntheticScenes(num_frames=4, num_classes=num_classes, image_size=(96, 160), seed=3)
    checked = set()
    for scene in scenes(source, 15):
        empty = replace(scene, tracks=[]).picture(2)
        for track in scene.tracks:
            alone = replace(scene, tracks=[track])
            objects = alone.objects(2)
            if not len(objects.boxes) or share_inside(objects, 96, 160)[0] < 1:
                continue
            rows, columns = np.nonzero((alone.picture(2) != empty).any(axis=0))
            cx, cy, w, h = objects.boxes[0]
            drawn = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert drawn == pytest.approx([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], abs=1.0)
            checked.add(track.label)
    assert checked == set(range(num_classes))


def test_targets_are_the_visible_objects_cut_off_at_the_border():
    source = SyntheticScenes(min_visibility=0.3)
    num_left_out = 0
    for sequence, scene in enumerate(scenes(source, 20)):
        objects, targets = scene.objects(12), source.targets(sequence, 12)
        seen = objects.visible >= 0.3
        num_left_out += int((~seen).sum())
        assert targets.track_ids.tolist() == objects.track_ids[seen].tolist()
        areas = targets.boxes[:, 2:].prod(dim=1).numpy() * 128 * 128
        full_areas = objects.boxes[seen, 2:].prod(axis=1)
        assert areas / full_areas == pytest.approx(share_inside(objects, 128, 128)[seen], abs=1e-5)
    assert num_left_out > 0


@pytest.mark.slow
def test_rates_of_the_default_scenes():
    """Three standard deviations of 200 scenes; the seed is fixed, so the outcome is, too."""
    some = scenes(SyntheticScenes(num_frames=NUM_FRAMES), 200)
    assert np.mean([bool(hidden_episodes(scene)) for scene in some]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([lookalikes_meet(scene) for scene in some]) == pytest.approx(1 / 3, abs=0.1)
    assert np.mean([np.ptp(scene.views, axis=0).any() for scene in some]) == pytest.approx(0.5, abs=0.1)
    changes = [track.first > 0 or len(track.boxes) < NUM_FRAMES for scene in some for track in scene.tracks]
    assert np.mean(changes) > 0.2
    assert {track.label for scene in some for track in scene.tracks} == {0, 1, 2}


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize("num_objects", [2, 3, 5])
def test_rates_of_nothing_and_everything(rate: float, num_objects: int):
    some = scenes(
        SyntheticScenes(
            num_frames=NUM_FRAMES,
            num_objects=(num_objects, num_objects),
            occlusion_rate=rate,
            lookalike_rate=rate,
            camera_motion_rate=rate,
        ),
        20,
    )
    assert np.mean([bool(hidden_episodes(scene)) for scene in some]) == pytest.approx(rate, abs=0.1)
    assert np.mean([lookalikes_meet(scene) for scene in some]) == pytest.approx(rate, abs=0.1)
    assert all(np.ptp(scene.views, axis=0).any() == bool(rate) for scene in some)


def test_sizes_counts_and_speeds_of_the_default_scenes():
    sizes, counts, speeds = [], [], []
    for scene in scenes(SyntheticScenes(num_frames=NUM_FRAMES, camera_motion_rate=0.0), 50):
        counts += [int((scene.objects(index).visible >= 0.1).sum()) for index in range(NUM_FRAMES)]
        for track in scene.tracks:
            sizes += track.boxes[:, 2:].max(axis=1).tolist()
            speeds += np.linalg.norm(np.diff(track.boxes[:, :2], axis=0), axis=1).tolist()
    assert min(sizes) > 0.09 * 128
    assert max(sizes) < 0.33 * 128
    assert np.mean([2 <= count <= 6 for count in counts]) > 0.9
    assert 0.01 * 128 < np.median(speeds) < 0.03 * 128
    assert max(speeds) < 0.1 * 128


def test_a_hidden_object_returns_under_its_id():
    source = SyntheticScenes(num_frames=40, num_objects=(2, 2), occlusion_rate=1.0, enter_leave=0.0)
    num_returns = 0
    for sequence in range(10):
        seen = [set(source.targets(sequence, index).track_ids.tolist()) for index in range(40)]
        assert set.union(*seen) == {1, 2}
        gone = [track for track in (1, 2) for before, now in pairwise(seen) if track in before - now]
        back = [track for track in (1, 2) for before, now in pairwise(seen) if track in now - before]
        num_returns += bool(set(gone) & set(back))
    assert num_returns >= 8


def test_things_go_on_happening_in_long_scenes():
    source = SyntheticScenes(num_frames=300, num_objects=(4, 4), occlusion_rate=1.0)
    for sequence, scene in enumerate(scenes(source, 3)):
        counts = [len(source.targets(sequence, index)) for index in range(0, 300, 5)]
        assert np.mean([3 <= count <= 4 for count in counts]) > 0.8
        assert len(scene.tracks) >= 10
        assert len(hidden_episodes(scene)) >= 5
        assert sorted(track.number for track in scene.tracks) == list(range(1, len(scene.tracks) + 1))


def test_without_entering_and_leaving_everyone_stays():
    for scene in scenes(SyntheticScenes(num_frames=200, enter_leave=0.0), 5):
        assert len(scene.tracks) <= 6
        assert all(track.first == 0 and len(track.boxes) == 200 for track in scene.tracks)


def test_clutter_is_what_makes_the_ground_busy():
    def edges(clutter: float) -> float:
        some = scenes(SyntheticScenes(clutter=clutter), 5)
        grounds = [replace(scene, tracks=[]).picture(0).astype(int) for scene in some]
        return float(np.mean([np.abs(np.diff(ground, axis=2)).mean() for ground in grounds]))

    assert edges(0.0) < 0.8 < 1.6 < edges(0.5) < edges(1.0)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"split": "dev"}, "split must be train, val or test, not 'dev'"),
        ({"num_scenes": 0}, "num_scenes must be at least 1, not 0"),
        ({"num_frames": -1}, "num_frames must be at least 1, not -1"),
        ({"image_size": 128}, "image_size must be two numbers, not 128"),
        ({"image_size": (128, 8)}, r"image_size must be at least 16, not \(128, 8\)"),
        ({"num_objects": (4, 2)}, r"num_objects must be \(least, largest\), not \(4, 2\)"),
        ({"object_size": (0.1, 1.5)}, r"object_size must be from 0.02 to 1, not \(0.1, 1.5\)"),
        ({"num_classes": 7}, "num_classes must be from 1 to 6, not 7"),
        ({"occlusion_rate": float("nan")}, "occlusion_rate must be from 0 to 1, not nan"),
        ({"min_visibility": 0.0}, "min_visibility must be from 0.01 to 1, not 0.0"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(argument: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        SyntheticScenes(**argument)
