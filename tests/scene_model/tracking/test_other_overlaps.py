"""Windows that share other frames than the linker was told."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from linking_cases import Network, link, scores, still, straight, synthetic

from scene_model.tracking import LinkingConfig, WindowLinker

NOISY = Network(num_queries=20, noise=0.03, misses=0.1, blur=0.5)
SHAPES = [(4, 0), (4, 1), (4, 3), (16, 2), (16, 12)]
TOLD = [0, 1, 2, 4, 14]


def passing(num_frames=60):
    return straight(((0.2, 0.45), (0.8, 0.45)), ((0.8, 0.55), (0.2, 0.55)), num_frames=num_frames)


@pytest.mark.parametrize(("length", "shared"), SHAPES)
@pytest.mark.parametrize("told", TOLD)
def test_every_frame_is_returned_once_and_in_time(length, shared, told):
    linker, returned = WindowLinker(LinkingConfig(overlap=told)), []
    for window in Network().windows(passing(), length, shared):
        frames = np.unique(linker.update(window).frames)
        waited = window.frames[-1] - frames
        assert ((waited >= min(told, len(window.frames))) & (waited < 2 * length)).all()
        returned += frames.tolist()
    assert returned + np.unique(linker.finish().frames).tolist() == list(range(60))


@pytest.mark.parametrize(("length", "shared"), SHAPES)
@pytest.mark.parametrize("told", TOLD)
def test_perfect_windows_give_perfect_tracks(length, shared, told):
    video = passing()
    rows = link(Network().windows(video, length, shared), LinkingConfig(overlap=told))
    assert scores(video, rows)["IDF1"] == 1
    assert set(rows.track_ids) == {1, 2}


def test_final_frames_link_what_motion_cannot():
    video, config = synthetic(0, num_frames=60), LinkingConfig(overlap=0, max_distance=0.0)
    sharing, apart = (scores(video, link(NOISY.windows(video, 8, shared), config)) for shared in (4, 0))
    as_told = scores(video, link(NOISY.windows(video, 8, 4), replace(config, overlap=4)))
    assert sharing["AssA"] > apart["AssA"] + 0.3
    assert sharing["AssA"] > 0.9 * as_told["AssA"]


def test_what_is_final_stays_as_it_was_returned():
    linker = WindowLinker(LinkingConfig(overlap=0))
    first = linker.update(still([0, 1, 2, 3], [0.8] * 4))
    second = linker.update(still([1, 2, 3, 4], [0.4] * 4, box=(0.52, 0.5, 0.2, 0.2)))
    assert (first.frames.tolist(), second.frames.tolist()) == ([0, 1, 2, 3], [4])
    np.testing.assert_allclose(second.boxes, [[0.52, 0.5, 0.2, 0.2]])
    np.testing.assert_allclose(second.scores, [0.4])
    assert second.track_ids.tolist() == [1]


def test_nothing_begins_in_final_frames_alone():
    linker = WindowLinker(LinkingConfig(overlap=0))
    linker.update(still([0, 1, 2, 3], [0.0] * 4))
    assert len(linker.update(still([2, 3, 4, 5], [0.9, 0.9, 0.0, 0.0]))) == 0
    assert linker.update(still([6, 7], [0.9, 0.9], box=(0.1, 0.1, 0.1, 0.1))).track_ids.tolist() == [1, 1]


def test_a_short_window_makes_final_what_a_longer_one_shares_later():
    windows = [still(frames, [0.9] * len(frames)) for frames in ([0, 1, 2, 3], [4], [2, 3, 4, 5], [6])]
    linker = WindowLinker(LinkingConfig(overlap=4))
    returned = [linker.update(window).frames.tolist() for window in windows]
    assert returned == [[], [0, 1, 2, 3], [], [4, 5]]
    assert linker.finish().frames.tolist() == [6]


@pytest.mark.parametrize("told", [0, 14])
def test_memory_does_not_grow(told):
    cycle = list(NOISY.windows(synthetic(0, num_frames=60), 16, 12))
    linker, sizes = WindowLinker(LinkingConfig(overlap=told, max_age=5)), []
    for number in range(300):
        linker.update(replace(cycle[number % 10], frames=np.arange(16) + 4 * number))
        if number % 10 == 9:
            sizes.append(len(pickle.dumps(linker)))
    assert max(sizes[1:]) <= 1.2 * sizes[1]
