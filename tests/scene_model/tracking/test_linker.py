"""What the linker promises, whatever it sees."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from linking_cases import Network, link, still, straight, synthetic

from scene_model.tracking import LinkingConfig, Window, WindowLinker, window_starts

NOISY = Network(num_queries=20, noise=0.05, misses=0.1, blur=0.5, false_alarms=2)
EVERYTHING = ("frames", "track_ids", "boxes", "scores", "classes")


def assert_same(rows, others):
    for name in EVERYTHING:
        np.testing.assert_array_equal(getattr(rows, name), getattr(others, name))


@pytest.mark.parametrize(("length", "overlap"), [(1, 0), (3, 0), (4, 1), (8, 2), (8, 7)])
def test_frames_become_final_in_order_and_after_the_promised_delay(length, overlap):
    video = straight(((0.2, 0.5), (0.8, 0.5)), num_frames=30)
    linker, returned = WindowLinker(LinkingConfig(overlap=overlap)), []
    for window in Network().windows(video, length, overlap):
        rows = linker.update(window)
        returned += rows.frames.tolist()
        assert returned == list(range(window.frames[-1] + 1 - overlap))
        waited = window.frames[-1] - rows.frames
        assert (waited >= overlap).all()
        assert (waited < length).all()
    assert returned + linker.finish().frames.tolist() == list(range(30))
    assert len(linker.finish()) == 0


def test_boxes_and_scores_of_shared_frames_are_averaged():
    first, second = (0.50, 0.5, 0.2, 0.2), (0.53, 0.5, 0.2, 0.26)
    rows = link([still([0, 1], [0.8, 0.8], first), still([1, 2], [0.4, 0.4], second)], LinkingConfig(overlap=1))
    assert rows.track_ids.tolist() == [1, 1, 1]
    np.testing.assert_allclose(rows.scores, [0.8, 0.6, 0.4])
    mean = (0.8 * np.array(first) + 0.4 * np.array(second)) / 1.2
    np.testing.assert_allclose(rows.boxes, [first, mean, second])


def test_frames_that_three_windows_cover_are_averaged_over_all_three():
    windows = [still(range(start, start + 3), [score] * 3) for start, score in enumerate((0.9, 0.6, 0.6))]
    rows = link(windows, LinkingConfig(overlap=2))
    np.testing.assert_allclose(rows.scores, [0.9, 0.75, 0.7, 0.6, 0.6])


def test_a_window_that_does_not_see_a_track_is_no_witness_against_it():
    rows = link([still([0, 1], [0.8, 0.8]), still([1, 2], [0.1, 0.1])], LinkingConfig(overlap=1))
    assert rows.frames.tolist() == [0, 1]
    np.testing.assert_allclose(rows.scores, [0.8, 0.8])


def test_thresholds_of_birth_and_of_going_on():
    config = LinkingConfig(overlap=0, birth_threshold=0.6, keep_threshold=0.3)
    scores = [0.5, 0.5, 0.61, 0.31, 0.29, 0.31]
    rows = link([still([frame], [score]) for frame, score in enumerate(scores)], config)
    assert rows.frames.tolist() == [2, 3, 5]
    assert set(rows.track_ids) == {1}


def test_a_birth_reports_the_whole_window():
    rows = link([still([0, 1, 2], [0.4, 0.2, 0.9])], LinkingConfig())
    assert rows.frames.tolist() == [0, 2]


def test_class_scores_accumulate_over_life():
    windows = []
    for frame, probability in enumerate([0.9, 0.9, 0.2, 0.2, 0.2, 0.2]):
        probs = np.array([[[probability, 1 - probability]]])
        windows.append(replace(still([frame], [0.9]), class_probs=probs))
    rows = link(windows, LinkingConfig(overlap=0))
    assert rows.classes.tolist() == [0, 0, 0, 0, 1, 1]
    assert set(rows.track_ids) == {1}


def test_the_order_of_queries_changes_nothing():
    windows = list(NOISY.windows(synthetic(0, num_frames=60), length=4, overlap=2))
    rng = np.random.default_rng(0)
    shuffled = []
    for window in windows:
        order = rng.permutation(window.scores.shape[1])
        arrays = (window.boxes, window.scores, window.class_probs, window.embeddings)
        shuffled.append(Window(window.frames, *(array[:, order] for array in arrays)))
    rows = link(windows)
    assert len(rows) > 200
    assert_same(rows, link(shuffled))


def test_ids_start_at_one_and_are_no_business_of_other_videos():
    videos = [list(NOISY.windows(synthetic(number, num_frames=40), 4, 2, seed=number)) for number in (0, 1)]
    alone = [link(windows) for windows in videos]
    linkers = [WindowLinker(LinkingConfig()) for _ in videos]
    ids = [[], []]
    for windows in zip(*videos, strict=True):
        for linker, window, ids_of_one in zip(linkers, windows, ids, strict=True):
            ids_of_one += linker.update(window).track_ids.tolist()
    for linker, ids_of_one, rows in zip(linkers, ids, alone, strict=True):
        assert ids_of_one + linker.finish().track_ids.tolist() == rows.track_ids.tolist()
        assert rows.track_ids.min() == 1


@pytest.mark.slow
def test_state_does_not_grow_with_the_video():
    cycle = list(NOISY.windows(synthetic(0, num_frames=42), length=4, overlap=2))[:20]
    linker, sizes = WindowLinker(LinkingConfig(max_age=5)), []
    for number in range(3000):
        linker.update(replace(cycle[number % 20], frames=np.arange(4) + 2 * number))
        if number % 20 == 19:
            sizes.append(len(pickle.dumps(linker)))
    assert max(sizes[1:]) <= 1.2 * sizes[1]
    assert max(sizes[-15:]) <= max(sizes[1:16]) + 16  # the next id takes more digits
    assert linker.update(replace(cycle[0], frames=np.arange(6000, 6004))).track_ids.max() > 1000


def test_rows_are_ordered_and_unique():
    rows = link(NOISY.windows(synthetic(2, num_frames=60), 8, 3), LinkingConfig(overlap=3))
    keys = rows.frames * 10_000 + rows.track_ids
    assert (np.diff(keys) > 0).all()
    assert rows.frames.dtype == rows.track_ids.dtype == rows.classes.dtype == np.int64


def test_numbers_that_are_none_are_dropped():
    windows = list(Network().windows(straight(((0.2, 0.5), (0.8, 0.5)), num_frames=12), length=4, overlap=1))
    query = windows[1].scores.argmax(1)[0]
    windows[1].boxes[1, query, 2] = np.nan
    windows[1].boxes[2, query, 3] = 0
    windows[1].embeddings[1:3, query] = np.inf
    windows[1].class_probs[1, query] = np.nan
    windows[2].scores[1, windows[2].scores.argmax(1)[0]] = np.nan
    rows = link(windows, LinkingConfig(overlap=1))
    assert rows.frames.tolist() == [0, 1, 2, 3, 6, 8, 9, 10, 11]
    assert set(rows.track_ids) == {1}
    assert np.isfinite(rows.boxes).all()
    windows[0].boxes[:] = np.nan
    assert link(windows, LinkingConfig(overlap=1)).frames.min() == 3


@pytest.mark.parametrize("num_queries", [0, 3])
def test_empty_windows(num_queries):
    video = straight(((0.2, 0.5), (0.8, 0.5)), num_frames=20)
    nobody = video.without(np.ones_like(video.present))
    network = Network(num_queries=max(num_queries, 1))
    windows = [
        Window(w.frames, *(a[:, :num_queries] for a in (w.boxes, w.scores, w.class_probs, w.embeddings)))
        for w in network.windows(nobody, length=4, overlap=2)
    ]
    assert len(link(windows)) == 0
    assert len(link([still([], [])])) == 0
    assert len(WindowLinker(LinkingConfig()).finish()) == 0


def test_a_video_of_one_frame():
    assert list(window_starts(1, length=8, overlap=2)) == [0]
    rows = link([still([0], [0.9])])
    assert (rows.frames.tolist(), rows.track_ids.tolist(), rows.classes.tolist()) == ([0], [1], [0])


def test_frames_may_be_missing():
    windows = [still([0, 1, 3, 4], [0.9] * 4), still([3, 4, 7, 8], [0.9] * 4), still([12], [0.9])]
    linker = WindowLinker(LinkingConfig(overlap=2))
    assert [linker.update(window).frames.tolist() for window in windows] == [[0, 1], [3, 4], [7, 8]]
    rows = linker.finish()
    assert (rows.frames.tolist(), rows.track_ids.tolist()) == ([12], [1])


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ([0, 1], "goes beyond frame 3"),
        ([2, 3], "goes beyond frame 3"),
        ([2, 4, 5], "has all from its first one on"),
        ([0, 2, 3, 4], "has all from its first one on"),
        ([4, 4], "ascending order"),
        ([5, 4], "ascending order"),
    ],
)
@pytest.mark.parametrize("overlap", [0, 2, 4])
def test_windows_must_follow_each_other(frames, sentence, overlap):
    linker = WindowLinker(LinkingConfig(overlap=overlap))
    linker.update(still([0, 1, 2, 3], [0.9] * 4))
    with pytest.raises(ValueError, match=rf"^expected .*{sentence}.*, got \[{frames[0]}, ") as caught:
        linker.update(still(frames, [0.9] * len(frames)))
    assert "[]" not in str(caught.value)
    rows = linker.update(still([2, 3, 4, 5], [0.9] * 4))
    assert rows.frames.tolist() == list(range(4 - overlap, 6 - overlap)) if overlap else [4, 5]


def test_windows_before_all_that_is_remembered():
    linker = WindowLinker(LinkingConfig())
    for start in range(0, 40, 2):
        linker.update(still(range(start, start + 4), [0.9] * 4))
    with pytest.raises(ValueError, match=r"goes beyond frame 41 .*, got \[0, 1, 2, 3\]"):
        linker.update(still(range(4), [0.9] * 4))
