import itertools
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from moving_rectangle import MovingRectangle

from datamodules.augmentation import Augmentation
from datamodules.clips import ClipDataset, ClipRequest, ClipSampling, collate

SIZE = (30, 40)


def dataset(*lengths, length=4, source=None, **options):
    source = source or MovingRectangle(lengths, size=SIZE, start=(2, 3, 12, 13))
    return ClipDataset(source, ClipSampling(length, options.pop("size", SIZE), **options))


def indices(clip):
    """The numbers of the frames that are no padding."""
    return clip.frame_indices[~clip.padding_mask].tolist()


@pytest.mark.parametrize("num_frames", range(4, 14))
@pytest.mark.parametrize("length", [1, 3, 4])
def test_windows_cover_each_frame_once(num_frames, length):
    covered = [index for clip in dataset(num_frames, length=length) for index in indices(clip)]
    assert covered == list(range(num_frames))


@pytest.mark.parametrize("num_frames", range(4, 14))
@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_overlapping_windows(num_frames, overlap):
    windows = [indices(clip) for clip in dataset(num_frames, overlap=overlap)]
    assert set().union(*windows) == set(range(num_frames))
    for one, other in itertools.pairwise(windows):
        assert one[-overlap:] == other[:overlap]
        assert other[-1] > one[-1], "none is contained in the one before"


def test_windows_of_several_sequences():
    clips = list(dataset(5, 4, 9))
    assert [(clip.sequence.name, indices(clip)[0]) for clip in clips] == [
        *[("s0", 0), ("s0", 4)],
        *[("s1", 0)],
        *[("s2", 0), ("s2", 4), ("s2", 8)],
    ]
    assert [clip.targets[0].track_ids.item() for clip in clips] == [100, 100, 101, 102, 102, 102]


def test_the_tail_is_padded():
    clip = dataset(6)[1]
    assert clip.frame_indices.tolist() == [4, 5, 5, 5]
    assert clip.padding_mask.tolist() == [False, False, True, True]
    assert [len(target) for target in clip.targets] == [1, 1, 0, 0]
    assert clip.targets[3].boxes.shape == (0, 4)
    assert (clip.frames[2:] == clip.frames[1]).all()
    assert not torch.equal(clip.frames[0], clip.frames[1])


def test_short_sequences_are_padded_and_said_once():
    with pytest.warns(UserWarning, match="2 of 3 sequences, such as s1, have fewer frames than clips of 4: ") as caught:
        clips = dataset(8, 1, 3)
    assert len(caught) == 1
    assert len(clips) == 4
    assert clips[2].frame_indices.tolist() == [0, 0, 0, 0]
    assert clips[2].padding_mask.tolist() == [False, True, True, True]
    assert clips[3].frame_indices.tolist() == [0, 1, 2, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset(4, 5)


def draws(clips, window, number):
    return [indices(clips[ClipRequest(window, draw)]) for draw in range(number)]


def test_strides_are_drawn_from_their_range():
    strides = Counter()
    for drawn in draws(dataset(20, stride=(1, 3), jitter=True), 2, 150):
        steps = set(np.diff(drawn).tolist())
        assert len(drawn) == 4
        assert len(steps) == 1
        strides.update(steps)
    assert set(strides) == {1, 2, 3}
    assert min(strides.values()) > 30


@pytest.mark.parametrize("num_frames", range(4, 14))
def test_strides_never_pad_what_could_be_full(num_frames):
    """A stride too large for the sequence becomes the largest that fits."""
    clips = dataset(num_frames, stride=(3, 4), jitter=True)
    for window in range(len(clips)):
        for drawn in draws(clips, window, 5):
            assert len(drawn) == 4
            assert drawn[1] - drawn[0] in {min(stride, (num_frames - 1) // 3) for stride in (3, 4)}


@pytest.mark.filterwarnings("ignore:1 of 1 sequences")
def test_strides_in_sequences_shorter_than_a_clip():
    clips = dataset(3, stride=(2, 4), jitter=True)
    assert all(drawn == [0, 1, 2] for drawn in draws(clips, 0, 10))
    assert {len(drawn) for drawn in draws(dataset(1, length=1, stride=(1, 4), jitter=True), 0, 10)} == {1}


def test_jitter_begins_everywhere_about_equally_often():
    clips = dataset(22, jitter=True)
    starts = Counter(drawn[0] for window in range(len(clips)) for drawn in draws(clips, window, 100))
    assert set(starts) == set(range(19))
    assert max(starts.values()) < 3 * min(starts.values())
    assert min(drawn[0] for drawn in draws(clips, 3, 50)) > max(drawn[0] for drawn in draws(clips, 2, 50))


def test_reversed_clips():
    clip = dataset(8, augmentation=Augmentation(flip=0, reverse=1, scale=(1, 1)))[1]
    assert clip.frame_indices.tolist() == [7, 6, 5, 4]
    centers = [target.boxes[0, 0].item() for target in clip.targets]
    assert centers == sorted(centers, reverse=True)


def test_blank_clips_are_nothing_but_padding():
    full, blank = (dataset(8)[ClipRequest(1, 1, blank)] for blank in (False, True))
    assert blank.padding_mask.all()
    assert [len(target) for target in blank.targets] == [0, 0, 0, 0]
    assert blank.frames.shape == full.frames.shape
    assert len(full.targets[0]) == 1


def test_seeds_are_functions_of_seed_and_draw():
    clips, others = dataset(8), dataset(8, seed=1)
    seeds = [clips[ClipRequest(window, draw)].seed for window in range(2) for draw in range(5)]
    assert seeds[:5] == seeds[5:]
    assert len({*seeds, *(others[ClipRequest(0, draw)].seed for draw in range(5))}) == 10
    assert all(0 <= seed < 2**62 for seed in seeds)


def test_a_plain_index_is_the_same_clip_each_time():
    clips = dataset(40, stride=(1, 2), jitter=True, augmentation=Augmentation())
    first, second = clips[3], clips[3]
    assert torch.equal(first.frames, second.frames)
    assert first.seed == clips[ClipRequest(3, 3)].seed != clips[4].seed


def test_targets_keep_everything_but_the_boxes():
    source = MovingRectangle((8,), size=SIZE, start=(31, 3, 41, 13), velocity=(1, 0))
    clip = dataset(source=source, length=8, size=(60, 80))[0]
    assert [len(target) for target in clip.targets] == [1] * 8
    assert [target.track_ids.item() for target in clip.targets] == [100] * 8
    assert [target.labels.item() for target in clip.targets] == [1] * 8
    assert [target.ignore.item() for target in clip.targets] == [False, True] * 4
    right = [(target.boxes[0, 0] + target.boxes[0, 2] / 2).item() for target in clip.targets]
    assert right == pytest.approx([1.0] * 8), "cut off at the border"


def test_objects_of_which_nothing_is_seen_are_dropped():
    source = MovingRectangle((8,), size=SIZE, start=(32, 3, 42, 13), velocity=(2, 0))
    clip = dataset(source=source, length=8)[0]
    assert [len(target) for target in clip.targets] == [1, 1, 1, 1, 0, 0, 0, 0], "8, 6, 4 and 2 columns of 10"


def test_objects_outside_the_original_stay_out_of_the_letterbox():
    source = MovingRectangle((2,), size=SIZE, start=(2, 26, 12, 36), velocity=(0, 20))
    clip = dataset(source=source, length=2, size=(40, 40))[0]
    assert [len(target) for target in clip.targets] == [1, 0]
    assert (clip.targets[0].boxes[0, 1] + clip.targets[0].boxes[0, 3] / 2).item() == pytest.approx(30 / 40)


@pytest.mark.parametrize("overlap", [0, 2])
def test_the_last_clip_of_a_sequence_brings_its_annotations(overlap):
    clips = list(dataset(9, 4, 6, overlap=overlap, with_truth=True))
    ends = [clip.sequence.num_frames - 1 in indices(clip) for clip in clips]
    assert [clip.is_last for clip in clips] == ends
    assert [clip.truth is not None for clip in clips] == ends
    assert [(clip.sequence.name, len(clip.truth.table)) for clip in clips if clip.truth] == [
        ("s0", 9),
        ("s1", 4),
        ("s2", 6),
    ]
    assert all(clip.truth is None for clip in dataset(9, overlap=overlap))


def test_blank_clips_read_nothing_and_pass_for_no_frame():
    class Unreadable(MovingRectangle):
        def frame(self, sequence, index):
            raise AssertionError("read")

    blank = dataset(source=Unreadable((9,)))[ClipRequest(1, 7, blank=True)]
    full = dataset(9)[1]
    assert (blank.frames.shape, blank.frames.dtype) == (full.frames.shape, full.frames.dtype)
    assert blank.frame_indices.dtype == full.frame_indices.dtype
    frames, frame_of = collate([full, blank]).distinct_frames()
    assert torch.equal(frames[frame_of[0]], full.frames), "frames that clips share go through the network once"


def test_blank_clips_end_no_sequence():
    clip = dataset(4, with_truth=True)[ClipRequest(0, 0, blank=True)]
    assert not clip.is_last
    assert clip.truth is None


def test_originals_travel_in_batches_where_all_clips_have_them():
    clips = [replace(clip, originals=clip.frames[: 2 + number]) for number, clip in enumerate(dataset(8))]
    assert [len(originals) for originals in collate(clips).originals] == [2, 3]
    assert collate([clips[0], replace(clips[1], originals=None)]).originals is None


def test_collate():
    clips = dataset(6)
    batch = collate([clips[0], clips[1]])
    assert batch.frames.shape == (2, 4, 3, *SIZE)
    assert batch.frames.dtype == torch.uint8
    assert batch.padding_mask.tolist() == [[False] * 4, [False, False, True, True]]
    assert batch.frame_indices.tolist() == [[0, 1, 2, 3], [4, 5, 5, 5]]
    assert [(info.name, info.height, info.width) for info in batch.sequences] == [("s0", 30, 40)] * 2
    assert batch.is_last == [False, True]
    assert batch.truths == [None, None]
    assert batch.originals is None
    assert batch.seeds.tolist() == [clips[0].seed, clips[1].seed]
    assert [len(targets) for targets in batch.targets] == [4, 4]
