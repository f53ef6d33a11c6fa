"""Two people cross and the network confuses them: each has its own track again once they are seen apart."""

from dataclasses import replace

import numpy as np
import pytest
from linking_cases import link, straight

from scene_model.tracking import LinkingConfig, Window
from scene_model.tracking.exchange import exchange
from scene_model.tracking.tracklets import find_tracklets
from scene_model.tracking.tracks import Looks

LOOKS = np.array([[1.0, 0.0, 0.3], [0.0, 1.0, 0.3]])
CROSSING = 20


def confused(video, looks=LOOKS, overlap=2, length=4):
    """Windows in which the queries of two objects change places in the middle of the video."""
    for start in range(0, video.num_frames - overlap, length - overlap):
        frames = np.arange(start, min(start + length, video.num_frames))
        swapped = (frames >= CROSSING) & (start < CROSSING)
        objects = np.where(swapped[:, None], [1, 0], [0, 1])  # [T, Q]
        scores = np.where(video.present[objects, frames[:, None]], 0.9, 0.0)
        yield Window(
            frames, video.boxes[objects, frames[:, None]], scores, np.ones((len(frames), 2, 1)), looks[objects]
        )


def crossing():
    return straight(((0.4, 0.1), (0.6, 0.9)), ((0.4, 0.9), (0.6, 0.1)), num_frames=40)


def track_of(video, rows, item, frame):
    """The track whose box is that of the object."""
    [row] = np.flatnonzero((rows.frames == frame) & np.isclose(rows.boxes, video.boxes[item, frame]).all(1))
    return rows.track_ids[row]


def ends_as_it_began(video, rows, last=39):
    return [track_of(video, rows, item, 0) == track_of(video, rows, item, last) for item in (0, 1)]


@pytest.mark.parametrize("length", [4, 16])
def test_each_has_its_own_track_again(length):
    video = crossing()
    rows = link(confused(video, length=length))
    assert ends_as_it_began(video, rows) == [True, True]
    assert set(rows.track_ids) == {1, 2}
    assert (np.diff(2 * rows.frames + rows.track_ids) > 0).all()
    never = link(confused(video, length=length), LinkingConfig(exchange_margin=2.0))
    assert ends_as_it_began(video, never) == [False, False]


def test_it_comes_with_the_first_window_that_shows_them_apart():
    video = crossing()
    rows = link(confused(video))
    assert track_of(video, rows, 0, CROSSING + 4) == track_of(video, rows, 0, 0)


def test_looks_outlast_a_long_walk_side_by_side():
    """Where the two overlap, both look as the one in front does; there their queries change places."""
    video = straight(((0.1, 0.5), (0.9, 0.5)), ((0.1, 0.5), (0.9, 0.5)), num_frames=80)
    apart = np.interp(np.arange(80), [0, 12, 60, 72], [0.3, 0.05, 0.05, 0.3])
    video.boxes[:, :, 1] += np.array([[-0.5], [0.5]]) * apart
    overlapped = apart < 0.08
    windows = [
        replace(window, embeddings=np.where(overlapped[window.frames][:, None, None], LOOKS[0], window.embeddings))
        for window in confused(video)
    ]
    for margin, again in ((2.0, False), (0.3, True)):
        rows = link(windows, LinkingConfig(exchange_margin=margin))
        assert ends_as_it_began(video, rows, last=79) == [again, again]


def test_who_was_never_seen_alone_exchanges_nothing():
    """One appears behind another and looks like the ground there; when it comes out, that other one is overlapped."""
    video = straight(((0.35, 0.5), (0.35, 0.5)), ((0.3, 0.5), (0.3, 0.5)), ((0.3, 0.9), (0.3, 0.9)), num_frames=24)
    video.boxes[0, :, 0] = np.interp(np.arange(24), [8, 12], [0.35, 0.6])
    video.boxes[2, :, 1] = np.interp(np.arange(24), [6, 8], [0.9, 0.55])
    video.present[0, :6] = False
    looks = np.array([[0.2, 1.0, 0.0], [0.5, 0.0, 1.0], [0.0, 0.0, 1.0]])
    hidden = np.array([[0.0, 0.0, 1.0], *looks[1:]])
    windows = [
        Window(
            frames,
            video.boxes[:, frames].swapaxes(0, 1),
            0.9 * video.present[:, frames].T,
            np.ones((4, 3, 1)),
            np.where((frames < 9)[:, None, None], hidden, looks),
        )
        for frames in (np.arange(start, start + 4) for start in range(0, 21, 2))
    ]
    rows = link(windows, LinkingConfig(exchange_margin=0.05))
    for item, first in enumerate((6, 0, 0)):
        assert track_of(video, rows, item, first) == track_of(video, rows, item, 23)


def test_of_several_pairs_the_best_one_is_exchanged():
    looks = np.eye(3)
    mixed = np.array([[0.1, 0.9, 0.3], [0.9, 0.1, 0.4], [0.0, 0.5, 0.3]])  # the first two are surer than the last two
    boxes = np.array([[0.45, 0.5, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1], [0.55, 0.5, 0.1, 0.1]])
    apart = boxes + np.array([[-0.2, 0, 0, 0], [0, 0, 0, 0], [0.2, 0, 0, 0]])
    order = [apart, apart, boxes, apart, apart]
    ones = np.ones((2, 3, 1))
    windows = [
        Window(
            np.arange(start, start + 2),
            np.array(order[start : start + 2]),
            0.9 * ones[..., 0],
            ones,
            np.tile(looks if start < 2 else mixed, (2, 1, 1)),
        )
        for start in range(4)
    ]
    rows = link(windows, LinkingConfig(overlap=1, exchange_margin=0.1))
    last = rows.frames == 4
    by_place = rows.track_ids[last][np.argsort(rows.boxes[last][:, 0])]
    first = rows.frames == 0
    before = rows.track_ids[first][np.argsort(rows.boxes[first][:, 0])]
    assert by_place.tolist() == before[[1, 0, 2]].tolist()


def test_the_margin_says_how_sure_it_must_be():
    video = crossing()
    gain = 2 - 2 * 0.09 / 1.09
    for margin, expected in ((gain - 0.01, True), (gain + 0.01, False)):
        rows = link(confused(video), LinkingConfig(exchange_margin=margin))
        assert ends_as_it_began(video, rows) == [expected, expected]


@pytest.mark.parametrize("meetings", [(12,), (5, 12), (9, 12)])
def test_an_exchange_lasts_where_it_comes_with_the_window_of_the_meeting(meetings):
    """They pass each other within a frame, so that the same window shows them apart again; the last time, confused."""
    video = straight(((0.3, 0.5), (0.3, 0.5)), ((0.7, 0.5), (0.7, 0.5)), num_frames=24)
    video.boxes[1, meetings, 0] = 0.35
    windows = []
    for start in range(0, 21, 2):
        frames = np.arange(start, start + 4)
        swapped = (frames > meetings[-1]) & (start <= meetings[-1])
        objects = np.where(swapped[:, None], [1, 0], [0, 1])
        boxes, looks = video.boxes[objects, frames[:, None]], LOOKS[objects]
        windows.append(Window(frames, boxes, np.full((4, 2), 0.9), np.ones((4, 2, 1)), looks))
    rows = link(windows, LinkingConfig(exchange_margin=0.15))
    assert ends_as_it_began(video, rows, last=23) == [True, True]
    assert set(rows.track_ids) == {1, 2}


def test_alike_objects_keep_what_they_have():
    video = crossing()
    rows = link(confused(video, looks=np.array([[1.0, 0.0], [1.0, 0.1]])))
    assert ends_as_it_began(video, rows) == [False, False]


def test_who_never_met_exchanges_nothing():
    video = straight(((0.2, 0.3), (0.8, 0.3)), ((0.2, 0.7), (0.8, 0.7)), num_frames=40)
    windows = [
        replace(window, embeddings=np.where(window.frames[:, None, None] < CROSSING, LOOKS, LOOKS[::-1]))
        for window in confused(video)
        if CROSSING not in window.frames[1:]
    ]
    assert ends_as_it_began(video, link(windows, LinkingConfig(overlap=2))) == [True, True]


def test_another_class_is_somebody_else_whatever_it_looks_like():
    video = straight(((0.4, 0.2), (0.6, 0.8)), ((0.4, 0.8), (0.6, 0.2)), num_frames=40)
    windows = [
        replace(
            window,
            embeddings=np.where(window.frames[:, None, None] < CROSSING, LOOKS, LOOKS[::-1]),
            class_probs=np.tile(np.eye(2), (len(window.frames), 1, 1)),
        )
        for window in confused(video)
        if CROSSING not in window.frames[1:]
    ]
    assert ends_as_it_began(video, link(windows, LinkingConfig(overlap=2))) == [True, True]


def test_without_weight_looks_are_not_asked():
    rows = link(confused(crossing()), LinkingConfig(embedding_weight=0.0))
    assert ends_as_it_began(crossing(), rows) == [False, False]


def test_it_goes_as_well_where_one_of_them_is_out_of_sight():
    video = crossing()
    video.present[1, CROSSING:] = False
    rows = link(confused(video))
    assert track_of(video, rows, 0, 0) == track_of(video, rows, 0, 39)


@pytest.mark.parametrize(("distance", "counts"), [(0.5, True), (0.05, False)])
def test_looks_of_overlapped_boxes_hardly_count(distance, counts):
    boxes = np.array([[[0.3, 0.5, 0.1, 0.1], [0.3 + distance, 0.5, 0.1, 0.1]]])
    window = Window(np.array([0]), boxes, np.full((1, 2), 0.8), np.ones((1, 2, 1)), LOOKS[None])
    tracklets = find_tracklets(window, window.frames, LinkingConfig())
    np.testing.assert_allclose(tracklets.looks.weights, 0.8 if counts else 0)
    np.testing.assert_allclose(tracklets.looks.embeddings, (0.8 if counts else 0.008) * LOOKS)


def test_who_is_overlapped_all_the_time_exchanges_nothing_however_long_the_window():
    video = straight(((0.2, 0.45), (0.8, 0.45)), ((0.2, 0.51), (0.8, 0.51)), num_frames=76)
    windows = [
        replace(window, embeddings=np.where(window.frames[:, None, None] < 40, LOOKS, LOOKS[::-1]))
        for window in confused(video, overlap=4, length=40)
    ]
    windows = [replace(window, boxes=video.boxes[[0, 1]][:, window.frames].swapaxes(0, 1)) for window in windows]
    assert ends_as_it_began(video, link(windows, LinkingConfig(overlap=4)), last=75) == [True, True]


def test_who_looked_like_the_other_just_before_they_met_is_known_by_earlier_looks():
    video = crossing()
    deceived = range(CROSSING - 6, CROSSING)
    windows = [
        replace(
            window,
            embeddings=np.where(np.isin(window.frames, deceived)[:, None, None], LOOKS[::-1], window.embeddings),
        )
        for window in confused(video)
    ]
    assert ends_as_it_began(video, link(windows)) == [True, True]


def test_looks_apart_begin_where_another_was_over_it_last():
    boxes = np.tile([0.3, 0.5, 0.1, 0.1], (4, 2, 1))
    boxes[[0, 2, 3], 1, 0] = 0.7  # over the first object in frame 1 alone
    window = Window(np.arange(4), boxes, np.full((4, 2), 0.5), np.ones((4, 2, 1)), np.arange(8.0).reshape(4, 2, 1) + 1)
    tracklets = find_tracklets(window, window.frames, LinkingConfig())
    first = np.argsort(tracklets.motion.center.real)[:1]
    assert tracklets.apart.tolist() == [False, False]
    np.testing.assert_allclose(tracklets[first].looks.weights, 1.5)
    np.testing.assert_allclose(tracklets[first].looks_apart.weights, 1.0)
    np.testing.assert_allclose(tracklets[first].looks_apart.embeddings, 0.5 * (5 + 7))


def test_boxes_of_frames_in_which_an_object_is_not_seen_are_no_meeting():
    boxes = np.tile([0.3, 0.5, 0.1, 0.1], (2, 2, 1))
    boxes[0, 1, 0] = 0.7
    scores = np.array([[0.9, 0.9], [0.9, 0.1]])
    window = Window(np.arange(2), boxes, scores, np.ones((2, 2, 1)), np.ones((2, 2, 1)))
    assert find_tracklets(window, window.frames, LinkingConfig()).apart.tolist() == [True, True]


def test_all_looks_since_the_meeting_count_not_those_of_a_window():
    """Two windows apart show who is who; a later one that deceives is outweighed."""
    video = crossing()
    windows = [
        replace(
            window, embeddings=window.embeddings[:, ::-1] if window.frames[0] == CROSSING + 6 else window.embeddings
        )
        for window in confused(video)
    ]
    rows = link(windows, LinkingConfig(exchange_margin=0.1))
    assert ends_as_it_began(video, rows) == [True, True]
    assert len({int(track_of(video, rows, 0, frame)) for frame in range(CROSSING + 4, 40)}) == 1


def test_an_identity_keeps_no_looks_of_whom_it_was_taken_for():
    tracklets = find_tracklets(
        Window(
            np.arange(1),
            np.array([[[0.3, 0.5, 0.1, 0.1], [0.7, 0.5, 0.1, 0.1]]]),
            np.full((1, 2), 0.9),
            np.ones((1, 2, 1)),
            np.eye(2)[None],
        ),
        np.arange(1),
        LinkingConfig(),
    )
    known = replace(tracklets, looks_before=tracklets.looks_apart[np.array([1, 0])])
    known.take_identities(np.array([1, 0]))
    np.testing.assert_array_equal(known.looks_before.embeddings, known.looks_apart.embeddings)


def test_looks_since_the_meeting_are_not_held_against_themselves():
    """Short lives before it, and an exchange that was overlooked for long."""
    scores, config = np.array([[0.9, 0.8]]), LinkingConfig()

    def shown(distance):
        boxes = np.array([[[0.3, 0.5, 0.1, 0.1], [0.3 + distance, 0.5, 0.1, 0.1]]])
        window = Window(np.array([0]), boxes, scores, np.ones((1, 2, 1)), LOOKS[None, ::-1])
        return find_tracklets(window, window.frames, config)

    seen = shown(distance=0.5)
    long = Looks(20 * seen.looks_apart.embeddings, 20 * seen.looks_apart.weights)
    tracks = replace(shown(distance=0.05), looks_before=Looks(LOOKS, np.ones(2)), looks_apart=long)
    assert exchange(tracks, seen, np.arange(2), config).tolist() == [1, 0]
