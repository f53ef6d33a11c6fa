"""Tracks drawn on frames."""

import numpy as np
import pytest
import torch

from callbacks.annotation import Annotator, Trails
from callbacks.drawing import identity_color
from scene_model.mot_text import MotTable


def rows(*tracks, frame=0, label=1):
    """One row per (id, left, top, width, height)."""
    ids, boxes = np.array([track[0] for track in tracks], dtype=np.int64), np.array([track[1:] for track in tracks])
    ones = np.ones(len(tracks))
    return MotTable.of_tracks(np.full(len(tracks), frame), ids, boxes.reshape(-1, 4).astype(float), ones, label * ones)


def frame(height=120, width=160):
    return torch.zeros(3, height, width, dtype=torch.uint8)


def where(picture, identity):
    """(left, top, right, bottom) of all pixels of an identity's color; None without any."""
    places = np.argwhere((picture == identity_color(identity)).all(-1))
    return (*places.min(0)[::-1], *places.max(0)[::-1]) if len(places) else None


def test_box_covers_its_first_and_last_pixels():
    picture = Annotator(trail=0, line_width=1).draw(frame(), 0, rows((3, 40, 60, 50, 30)))
    assert where(picture[60:], 3) == (40, 0, 89, 29)  # above is the label


def test_boxes_up_to_the_border_are_drawn_whole():
    picture = Annotator(trail=0, line_width=1).draw(frame(), 0, rows((3, 0, 0, 160, 120)))
    assert where(picture, 3) == (0, 0, 159, 119)


@pytest.mark.parametrize("contiguous", [True, False])
def test_frame_stays_as_it_is(contiguous):
    pixels = torch.randint(0, 256, (120, 160, 3), dtype=torch.uint8).movedim(-1, 0)
    pixels = pixels.contiguous() if contiguous else pixels
    before = pixels.clone()
    assert np.array_equal(Annotator().draw(pixels, 0, rows()), before.movedim(0, -1).numpy())
    Annotator().draw(pixels, 0, rows((3, 40, 60, 50, 30)))
    assert pixels.equal(before)


@pytest.mark.parametrize("label", [-1, 0, 1, 2])
def test_labels_name_the_class_if_it_has_a_name(label):
    labels = list(Annotator(["person"])._labels(rows((12, 0, 0, 9, 9), label=label)))
    assert labels == ["12 person 1.00" if label == 1 else "12 1.00"]


def test_lines_and_letters_grow_with_the_frame():
    def thickness(side):
        picture = Annotator(trail=0).draw(frame(side, side), 0, rows((3, side / 4, side / 2, side / 4, side / 4)))
        line = (picture[5 * side // 8, : 3 * side // 8] == identity_color(3)).all(-1).sum()
        return line, side // 2 - where(picture[: side // 2], 3)[1]

    assert thickness(240)[0] == 1
    assert thickness(2160)[0] > 4
    assert thickness(2160)[1] > 3 * thickness(240)[1]


def test_trail_follows_the_lower_end():
    annotator = Annotator(trail=3, line_width=1)
    for number in range(6):
        picture = annotator.draw(frame(), number, rows((3, 10 * number, 20, 21, 60)))
    below = picture[79]  # where the boxes end
    lit = np.flatnonzero((below == identity_color(3)).all(-1))
    assert (lit.min(), lit.max()) == (40, 70)  # the trail begins at 30 + 10, the last box ends at 50 + 20
    assert np.array_equal(Annotator(trail=0).draw(frame(), 0, rows()), np.zeros((120, 160, 3)))


def test_trails_hold_the_last_frames_only():
    trails = Trails(5)
    for number in range(1000):
        trails.advance(number, [(7, (number, 0.0)), (1000 + number, (0.0, 0.0))])
        assert len(trails) <= 6
    points = dict(trails)
    assert points[7] == [(number, 0.0) for number in range(995, 1000)]
    trails.advance(1003, [])
    assert dict(trails) == {7: [(999, 0.0)], 1999: [(0.0, 0.0)]}
    trails.advance(1004, [])
    assert len(trails) == 0
