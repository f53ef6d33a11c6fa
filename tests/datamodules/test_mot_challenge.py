import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.mot_challenge import MOTChallenge
from scene_model.errors import UserError

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "mot"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
INFO = "[Sequence]\nname=x\nimDir=img1\nframeRate=7\nseqLength=4\nimWidth=40\nimHeight=20\nimExt=.png\n"
ONE_BOX = "1,1,10,5,20,10,1,1,1\n"


def make_sequence(path, gt=ONE_BOX, info=None, num_frames=4, name="img1/{:06d}.png", labels=None):
    """A sequence of 40x20 frames, frame number t of grey value t."""
    for number in range(1, num_frames + 1):
        image = path / name.format(number)
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 20), number).save(image)
    for file, text in (("gt/gt.txt", gt), ("seqinfo.ini", info), ("gt/labels.txt", labels)):
        if text is not None:
            (path / file).parent.mkdir(exist_ok=True)
            (path / file).write_text(text)
    return path


def read_error(path, **options):
    """The one sentence that `sequences` says of a folder."""
    with pytest.raises(UserError) as caught:
        MOTChallenge(str(path), **options).sequences()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_frames_targets_and_info(tmp_path):
    gt = "3,8,30,10,20,20,1,1,1\n1,7,10,5,20,10,1,1,0.5\n3,7,-10,5,20,10,1,1,1\n3,9,40,0,5,5,1,1,1\n"
    source = MOTChallenge(str(make_sequence(tmp_path / "one", gt, INFO)))
    (info,) = source.sequences()
    assert (info.name, info.num_frames, info.height, info.width, info.fps) == ("one", 4, 20, 40, 7)
    assert source.class_names == ["pedestrian"]
    for index in range(4):
        frame = source.frame(0, index)
        assert frame.shape == (3, 20, 40)
        assert (frame == index + 1).all()
    assert [len(source.targets(0, index)) for index in range(4)] == [1, 0, 2, 0]
    target = source.targets(0, 2)
    torch.testing.assert_close(target.boxes, torch.tensor([[0.875, 0.75, 0.25, 0.5], [0.125, 0.5, 0.25, 0.5]]))
    assert target.track_ids.tolist() == [8, 7]
    assert target.labels.dtype == target.track_ids.dtype == torch.int64
    assert not target.ignore.any()


@pytest.mark.parametrize("conf", ["0.87", "-0.5"])
def test_a_ground_truth_says_for_sure_what_counts(tmp_path, conf):
    """Official scoring takes such a conf for 0: it would be learnt, and then not scored."""
    path = make_sequence(tmp_path, f"1,1,10,5,20,10,1,1,1\n3,2,10,5,20,10,{conf},1,1\n")
    message = read_error(path)
    assert str(path / "gt" / "gt.txt") in message
    assert message.endswith(
        f"expected 1 in column 7 of a ground truth, or 0 for what is to be ignored, found {conf} (frame 3, id 2)"
    )


def test_construction_reads_nothing_and_empty_root_is_an_error():
    source = MOTChallenge()
    assert source.class_names == ["pedestrian"]
    with pytest.raises(UserError, match="needs `root`"):
        source.sequences()
    with pytest.raises(UserError, match="nowhere: expected a sequence folder"):
        MOTChallenge("nowhere").sequences()


def test_cvat_export_without_seqinfo(tmp_path):
    gt = "1,1,10,5,20,10,1,2,1.0\n2,2,10,5,20,10,1,1,1.0\n3,3,10,5,20,10,1,3,1.0\n"
    path = make_sequence(tmp_path / "cvat", gt, labels="guide dog\ncat\nperson\n", name="img1/frame_{:06d}.PNG")
    source = MOTChallenge(str(path), classes=["cat", "guide dog"])
    assert source.sequences()[0].num_frames == 4
    assert source.sequences()[0].fps == 30
    assert [source.targets(0, index).labels.tolist() for index in range(3)] == [[0], [1], []]
    assert source.truth(0).rules.class_ids == (2, 1)
    assert "gt/labels.txt: names guide dog, cat, person; say which of them to learn" in read_error(path)
    (path / "gt/gt.txt").write_text("1,1,10,5,20,10,1,4,1.0\n")
    assert "class numbers from 1 to 3 in column 8, found 4 (frame 1, id 1)" in read_error(path, classes=["cat"])


def classes_and_ignore(source):
    source.sequences()
    target = source.targets(0, 0)
    return dict(zip(target.track_ids.tolist(), target.ignore.tolist(), strict=True))


ALL_CLASSES = "".join(f"1,{i},10,5,20,10,1,{i},1\n" for i in range(1, 14)) + "1,21,1,1,5,5,0,1,1\n1,23,1,1,5,5,0,3,1\n"
MOT17_IGNORED = {2: True, 7: True, 8: True, 12: True, 21: True}


@pytest.mark.parametrize(
    ("name", "benchmark", "expected"),
    [
        ("MOT16-02", "MOT16", {1: False, **MOT17_IGNORED}),
        ("MOT17-02-FRCNN", "MOT17", {1: False, **MOT17_IGNORED}),
        ("MOT20-01", "MOT20", {1: False, 6: True, **MOT17_IGNORED}),
        ("dancetrack0001", "DanceTrack", {1: False, **MOT17_IGNORED}),
    ],
)
def test_rules_by_folder_name(tmp_path, name, benchmark, expected):
    source = MOTChallenge(str(make_sequence(tmp_path / name, ALL_CLASSES)))
    assert classes_and_ignore(source) == expected
    assert source.truth(0).rules.benchmark == benchmark


def test_class_that_counts_is_no_distractor(tmp_path):
    path = make_sequence(tmp_path / "MOT17-02", ALL_CLASSES)
    source = MOTChallenge(str(path), classes=["car", "static_person"])
    assert classes_and_ignore(source) == {2: True, 3: False, 7: False, 8: True, 12: True, 23: True}
    assert source.targets(0, 0).labels.tolist() == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("world", ["-1,-1,-1", "-4.15,7.2,0", "12.5,0.5,0"])
def test_mot15_by_its_world_coordinates(tmp_path, world):
    path = make_sequence(tmp_path / "MOT17-like", f"1,1,10,5,20,10,1,{world}\n1,2,10,5,20,10,0,{world}\n")
    source = MOTChallenge(str(path))
    assert classes_and_ignore(source) == {1: False, 2: True}
    assert source.truth(0).rules.benchmark == "MOT15"
    assert "MOT17 expects class numbers from 1 to 13 in column 8" in read_error(path, rules="MOT17")


@pytest.mark.parametrize("wrong", [0, -1, 1.5])
def test_one_odd_class_does_not_make_it_mot15(tmp_path, wrong):
    gt = f"1,1,10,5,20,10,1,1,1\n1,2,10,5,20,10,1,3,1\n1,3,10,5,20,10,1,{wrong},1\n"
    said = read_error(make_sequence(tmp_path / "MOT17-02", gt))
    assert f"class numbers from 1 to 13 in column 8, found {wrong} (frame 1, id 3)" in said


def test_classes_that_count_from_0_are_refused(tmp_path):
    gt = "1,1,10,5,20,10,1,0,1\n1,2,10,5,20,10,1,0,1\n1,3,10,5,20,10,1,0,1\n1,4,10,5,20,10,1,2,1\n"
    assert "column 8, found 0 (frame 1, id 1)" in read_error(make_sequence(tmp_path / "mine", gt))


def test_a_class_that_is_ignored_throughout_is_told(tmp_path):
    gt = "1,1,10,5,20,10,1,1,1\n1,2,10,5,20,10,0,3,1\n2,2,10,5,20,10,0,3,1\n"
    source = MOTChallenge(str(make_sequence(tmp_path / "MOT17-02", gt)), classes=["pedestrian", "car"])
    with pytest.warns(UserWarning, match="all 2 boxes of car are to be ignored") as caught:
        source.sequences()
    assert len(caught) == 1


def test_a_class_without_a_box_is_told(tmp_path):
    source = MOTChallenge(str(make_sequence(tmp_path / "mine", "1,1,10,5,20,10,1,2,1\n1,2,10,5,20,10,1,13,1\n")))
    with pytest.warns(UserWarning, match="no box is a pedestrian, .* the class numbers, column 8, are 2, 13"):
        source.sequences()


def test_a_ground_truth_without_a_box_is_told(tmp_path):
    source = MOTChallenge(str(make_sequence(tmp_path / "mine", "1,1,10,5,20,10,1,1,1\n")), frame_range=(2, 2))
    with pytest.warns(UserWarning, match="no box in gt/gt.txt for the frames"):
        source.sequences()


def test_without_a_choice_other_names_of_classes_are_said(tmp_path):
    path = make_sequence(tmp_path, "1,1,10,5,20,10,1,2,1\n", labels="person\ncar\n")
    message = read_error(path)
    assert message.startswith(
        f"{path / 'gt' / 'labels.txt'}: names person, car; say which of them to learn, such as --data"
    )
    with pytest.raises(UserError, match="only names out of person, car, found 'bus'"):
        MOTChallenge(str(path), classes=["bus"]).sequences()


def test_boxes_as_shares_of_the_frame_are_refused(tmp_path):
    path = make_sequence(tmp_path, "1,1,0.65,0.27,0.04,0.13,1,1,1\n2,1,0.66,0.27,0.04,0.13,1,1,1\n")
    assert "columns 3 to 6 are pixels, not shares of the frame" in read_error(path)


def test_distractors_are_none_of_the_boxes_of_a_class(tmp_path):
    """Static persons, which are targets to ignore, where no bicycle was seen."""
    path = make_sequence(tmp_path / "MOT17-02", "1,1,10,5,20,10,0,7,1\n2,1,10,5,20,10,0,7,1\n")
    with pytest.warns(UserWarning, match="no box is a bicycle"):
        MOTChallenge(str(path), classes=["bicycle"]).sequences()


def test_rules_can_be_chosen(tmp_path):
    source = MOTChallenge(str(make_sequence(tmp_path / "MOT17-02", ALL_CLASSES)), rules="MOT15")
    assert classes_and_ignore(source) == {**dict.fromkeys(range(1, 14), False), 21: True, 23: True}


def test_frame_range_and_raw_annotations(tmp_path):
    gt = "".join(f"{t},{t},10,5,20,10,{conf},{t},0.5\n" for t, conf in ((3, 1), (1, 1), (2, 0), (4, 0)))
    source = MOTChallenge(str(make_sequence(tmp_path / "MOT17-1", gt)), frame_range=(2, 3), classes=["car"])
    (info,) = source.sequences()
    assert (info.num_frames, info.first_frame) == (2, 2)
    assert source.frame(0, 0).unique().tolist() == [2]
    assert [source.targets(0, index).track_ids.tolist() for index in (0, 1)] == [[2], [3]]
    table = source.truth(0).table
    assert table.frames.tolist() == [1, 0]
    assert table.classes.tolist() == [3, 2]
    assert table.conf.tolist() == [1, 0]


@pytest.mark.parametrize("frame_range", [(0, 2), (3, 2), (1, 5), (5, 6)])
def test_frame_range_outside_the_sequence(tmp_path, frame_range):
    path = make_sequence(tmp_path / "a")
    message = read_error(path, frame_range=frame_range)
    assert f"a frame_range [first, last] within the frames 1 to 4 of a, found {list(frame_range)}" in message


def test_annotations_may_be_absent_when_asked(tmp_path):
    path = make_sequence(tmp_path / "a", gt=None)
    assert f"{path / 'gt' / 'gt.txt'}: expected annotations" in read_error(path)
    source = MOTChallenge(str(path), require_annotations=False)
    assert source.sequences()[0].num_frames == 4
    assert len(source.targets(0, 3)) == 0
    assert source.truth(0) is None


def test_bad_row_names_file_and_line(tmp_path):
    path = make_sequence(tmp_path / "a", gt=ONE_BOX + "5,1,10,5,20,10,1,1,1\n")
    assert f"{path / 'gt/gt.txt'}, line 2: expected at most the 4 frames" in read_error(path)


def test_bad_images_are_named_when_they_are_read(tmp_path):
    path = make_sequence(tmp_path / "a")
    (path / "img1/000002.png").write_bytes(b"no image")
    source = MOTChallenge(str(path))
    with pytest.raises(UserError, match=r"000002\.png: expected an image"):
        source.frame(0, 1)


def test_frames_of_another_size_are_scaled_with_one_warning(tmp_path):
    path = make_sequence(tmp_path / "a")
    for number in (2, 3):
        Image.new("L", (20, 40), 100 * number - 100).save(path / f"img1/00000{number}.png")
    source = MOTChallenge(str(path), cache_bytes=0)
    with pytest.warns(UserWarning, match=r"000002\.png: expected 40x20 pixels as before, found 20x40") as told:
        frames = [source.frame(0, index) for index in range(4)]
    assert len(told) == 1
    assert {frame.shape for frame in frames} == {(3, 20, 40)}
    assert (frames[2] == 200).all()


def test_cache_and_pickling(tmp_path):
    source = MOTChallenge(str(make_sequence(tmp_path / "a")))
    assert source.frame(0, 1) is source.frame(0, 1)
    copy = pickle.loads(pickle.dumps(source))
    (tmp_path / "a/gt/gt.txt").unlink()
    assert len(copy.targets(0, 0)) == 1
    assert (copy.frame(0, 1) == 2).all()


def test_targets_are_copies(tmp_path):
    source = MOTChallenge(str(make_sequence(tmp_path / "a")))
    source.targets(0, 0).boxes.zero_()
    assert source.targets(0, 0).boxes.all()


@needs_shared
@pytest.mark.parametrize(
    ("name", "num_frames", "num_tracks", "num_boxes", "num_ignored"),
    [("PETS09-S2L1", 795, 19, 4650, 174), ("TUD-Campus", 71, 8, 359, 0)],
)
def test_real_sequences(name, num_frames, num_tracks, num_boxes, num_ignored):
    source = MOTChallenge(str(SHARED / name))
    (info,) = source.sequences()
    assert info.num_frames == num_frames
    table = source.truth(0).table
    assert len(table) == num_boxes
    assert len(np.unique(table.track_ids)) == num_tracks
    targets = [source.targets(0, index) for index in range(num_frames)]
    assert sum(len(target) for target in targets) == num_boxes
    assert sum(int(target.ignore.sum()) for target in targets) == num_ignored
    assert source.truth(0).rules.benchmark == "MOT15"
    assert source.frame(0, num_frames - 1).shape == (3, info.height, info.width)


@needs_shared
def test_usual_split_of_pets():
    source = MOTChallenge(str(SHARED / "PETS09-S2L1"), frame_range=(596, 795))
    whole = MOTChallenge(str(SHARED / "PETS09-S2L1"))
    assert source.sequences()[0].num_frames == 200
    torch.testing.assert_close(source.targets(0, 0).boxes, whole.targets(0, 595).boxes)
    assert torch.equal(source.frame(0, 0), whole.frame(0, 595))
