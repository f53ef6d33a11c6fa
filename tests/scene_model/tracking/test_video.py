"""Several videos at a time, from batches of letterboxed windows to pixels of the original frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from linking_cases import Network, straight

from scene_model.batch import SceneBatch, SequenceInfo, TargetFrame
from scene_model.mot_text import read_mot, write_mot
from scene_model.tracking import LinkingConfig, VideoTracker, WindowLinker

SIZE = (64, 96)
WIDE = SequenceInfo("wide", 30, 720, 1280, 25.0)  # scaled by 0.075, 10 rows of padding below
TALL = SequenceInfo("tall", 21, 640, 320, 30.0)  # scaled by 0.1, 64 columns of padding to the right


def windows_of(video, length=4, overlap=2, **options):
    return list(Network(num_queries=8, **options).windows(video, length, overlap))


def batch_of(clips, length=4):
    """A batch and its outputs from (sequence, window, is_last), padded to the length."""
    indices = torch.zeros(len(clips), length, dtype=torch.int64)
    padding = torch.ones(len(clips), length, dtype=torch.bool)
    names = {"boxes": 4, "scores": None, "class_probs": 3, "embeddings": 16}
    columns = {name: torch.rand(len(clips), length, 8, *([width] if width else [])) for name, width in names.items()}
    for row, (_, window, _) in enumerate(clips):
        num_frames = len(window.frames)
        indices[row, :num_frames], padding[row, :num_frames] = torch.from_numpy(window.frames), False
        for name, column in columns.items():
            column[row, :num_frames] = torch.from_numpy(getattr(window, name))
    batch = SceneBatch(
        frames=torch.zeros(len(clips), length, 3, *SIZE),
        targets=[[TargetFrame.empty()] * length for _ in clips],
        padding_mask=padding,
        sequences=[sequence for sequence, _, _ in clips],
        frame_indices=indices,
        seeds=torch.zeros(len(clips), dtype=torch.int64),
        is_last=[is_last for _, _, is_last in clips],
        truths=[None] * len(clips),
    )
    outputs = {
        "bbox_center": columns["boxes"][..., :2],
        "bbox_size": columns["boxes"][..., 2:],
        "exist_conf": columns["scores"][..., None],
        "cls_logits": columns["class_probs"].log(),
        "embeddings": columns["embeddings"],
    }
    return batch, outputs


def clips_of(sequence, windows):
    return [(sequence, window, window is windows[-1]) for window in windows]


def merged(parts):
    """The rows of each video, in the order in which they came."""
    rows = {}
    for part in parts:
        rows.setdefault(part.sequence.name, []).append(part)
    return rows


def test_videos_are_followed_each_by_itself_however_batches_mix_them():
    wide, tall = straight(((0.1, 0.2), (0.9, 0.2)), num_frames=30), straight(((0.2, 0.1), (0.2, 0.9)), num_frames=21)
    first, second = clips_of(WIDE, windows_of(wide)), clips_of(TALL, windows_of(tall))
    apart, mixed = VideoTracker(LinkingConfig()), VideoTracker(LinkingConfig())
    expected = merged([part for clip in first + second for part in apart.update(*batch_of([clip]))])
    together = [clip for pair in zip(first, second) for clip in pair] + first[len(second) :]  # noqa: B905
    batches = [together[start : start + 3] for start in range(0, len(together), 3)]
    found = merged([part for clips in batches for part in mixed.update(*batch_of(clips))])
    assert found.keys() == expected.keys() == {"wide", "tall"}
    for name, length in (("wide", 30), ("tall", 21)):
        assert [part.is_last for part in found[name]] == [False] * (len(found[name]) - 1) + [True]
        assert found[name][-1].end == length
        for part, same in zip(found[name], expected[name], strict=True):
            assert part.end == same.end
            np.testing.assert_array_equal(part.table.track_ids, same.table.track_ids)
            np.testing.assert_allclose(part.table.boxes, same.table.boxes, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("told", [0, 2, 3])
def test_frames_are_delivered_once_and_before_the_end_that_is_named(told):
    windows = windows_of(straight(((0.1, 0.2), (0.9, 0.2)), num_frames=30))
    tracker, last_end = VideoTracker(LinkingConfig(overlap=told)), 0
    for clip in clips_of(WIDE, windows):
        [part] = tracker.update(*batch_of([clip]))
        assert part.table.frames.tolist() == list(range(last_end, part.end))
        last_end = part.end
    assert last_end == 30


@pytest.mark.parametrize(
    ("sequence", "box", "pixels"),
    [
        # The content of the wide one is 96x54 of 96x64 pixels, that of the tall one 32x64.
        (WIDE, (0.5, 27 / 64, 0.25, 27 / 64), (480, 180, 320, 360)),
        (TALL, (16 / 96, 0.5, 8 / 96, 0.25), (120, 240, 80, 160)),
        (TALL, (28 / 96, 0.5, 16 / 96, 0.25), (200, 240, 120, 160)),  # reaches into the padding: clipped
    ],
)
def test_a_known_box_in_pixels_of_the_original(sequence, box, pixels, tmp_path):
    window = windows_of(straight(((0.5, 0.5), (0.5, 0.5)), num_frames=4))[0]
    boxes = np.where(window.scores[..., None] > 0.5, np.array(box), window.boxes)
    [part] = VideoTracker(LinkingConfig()).update(*batch_of([(sequence, replace(window, boxes=boxes), True)]))
    np.testing.assert_allclose(part.table.boxes, np.tile(pixels, (4, 1)), atol=1e-2)
    assert set(part.table.classes) == {1.0}
    write_mot(tmp_path / "tracks.txt", part.table)
    np.testing.assert_array_equal(read_mot(tmp_path / "tracks.txt").boxes, part.table.boxes)


def test_boxes_in_the_padding_are_left_out():
    window = windows_of(straight(((0.5, 0.5), (0.5, 0.5)), num_frames=4))[0]
    boxes = np.where(window.scores[..., None] > 0.5, np.array([0.8, 0.5, 0.1, 0.1]), window.boxes)
    [part] = VideoTracker(LinkingConfig()).update(*batch_of([(TALL, replace(window, boxes=boxes), True)]))
    assert (len(part.table), part.end, part.is_last) == (0, 4, True)


def test_windows_of_nothing_but_padding_say_nothing():
    clips = clips_of(WIDE, windows_of(straight(((0.5, 0.5), (0.5, 0.5)), num_frames=4)))
    batch, outputs = batch_of(clips)
    batch.padding_mask[:] = True
    assert VideoTracker(LinkingConfig()).update(batch, outputs) == []


def test_a_name_may_come_again_once_its_video_has_ended():
    clips = clips_of(WIDE, windows_of(straight(((0.1, 0.2), (0.9, 0.2)), num_frames=12)))
    tracker = VideoTracker(LinkingConfig())
    once, again = ([part for clip in clips for part in tracker.update(*batch_of([clip]))] for _ in range(2))
    for part, same in zip(once, again, strict=True):
        np.testing.assert_array_equal(part.table.track_ids, same.table.track_ids)
        np.testing.assert_array_equal(part.table.boxes, same.table.boxes)


def test_the_first_frame_that_is_not_final():
    linker = WindowLinker(LinkingConfig(overlap=1))
    assert linker.next_frame == 0
    window, later = windows_of(straight(((0.1, 0.2), (0.9, 0.2)), num_frames=7), length=4, overlap=1)
    linker.update(window)
    assert linker.next_frame == 3
    linker.update(replace(later, frames=np.array([3, 5, 8, 9])))
    assert linker.next_frame == 9
    linker.finish()
    assert linker.next_frame == 10
