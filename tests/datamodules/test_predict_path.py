import os
import pickle
import sys
from pathlib import Path

import pytest
from test_image_files import png_of_size
from videos import numbers_of, write_images, write_sequence, write_video

from datamodules.image_files import read_image
from datamodules.predict_path import find_footage
from scene_model.batch import SequenceInfo
from scene_model.errors import UserError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")


def error_of(path):
    """The one sentence that is said of a path."""
    with pytest.raises(UserError) as caught:
        find_footage(None if path is None else str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(path):
    return [footage.info.name for footage in find_footage(str(path))]


def test_a_video_file_by_any_name(tmp_path):
    write_video(tmp_path / "a.avi").rename(tmp_path / "clip.data")
    (footage,) = find_footage(str(tmp_path / "clip.data"))
    assert footage.info.name == "clip"
    assert numbers_of(footage) == list(range(24))


def test_a_folder_of_images_in_natural_order(tmp_path):
    images = ["img1.png", "img2.jpg", "IMG03.png", "img10.png", "img11b2.png", "img11b10.bmp"]
    folder = write_images(tmp_path / "walk", images)
    for name in ("notes.txt", "Thumbs.db", ".img0.png", "._img1.png"):
        (folder / name).write_text("no image")
    write_images(folder / "thumbnails", ["img1.png"])
    with pytest.warns(UserWarning, match=r"runs on the images in it; .*thumbnails: left out"):
        (footage,) = find_footage(str(folder))
    assert footage.info.name == "walk"
    assert numbers_of(footage) == list(range(6))


def test_a_sequence_in_motchallenge_layout(tmp_path):
    folder = write_sequence(tmp_path / "MOT17-02", 5)
    (footage,) = find_footage(str(folder))
    assert (footage.info.name, footage.info.num_frames, footage.info.fps) == ("MOT17-02", 5, 30)
    assert numbers_of(footage) == list(range(5))
    (folder / "seqinfo.ini").write_text("[Sequence]\nframeRate=14\nseqLength=5\n")
    assert find_footage(str(folder))[0].info.fps == 14
    (folder / "img1" / "000003.png").unlink()
    assert f"{folder / 'img1' / '000003.png'}: missing" in error_of(folder)


def test_a_folder_of_everything(tmp_path):
    write_video(tmp_path / "b10.mp4")
    write_video(tmp_path / "B2.AVI")
    write_video(tmp_path / ".hidden.mp4")
    write_images(tmp_path / "frames", ["1.png"])
    write_images(tmp_path / ".cache", ["1.png"])
    write_sequence(tmp_path / "seq")
    write_images(tmp_path, ["cover.jpg"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "readme.txt").write_text("videos")
    assert names(tmp_path) == ["B2", "b10", "frames", "seq"]


def test_images_and_folders_beside_videos_are_not_their_frames(tmp_path):
    write_images(tmp_path / "clips", ["cover.jpg", "back.jpg"])
    write_video(tmp_path / "clips" / "a.mp4")
    assert names(tmp_path / "clips") == ["a"]


@pytest.mark.parametrize("pictures", [["cover.jpg"], ["back.jpg", "cover.jpg"]])
@pytest.mark.parametrize("below", ["a.mp4", "day/a.mp4", "a/img1", "train/a/img1"])
def test_pictures_beside_videos_and_sequences_are_left_out(tmp_path, pictures, below):
    write_images(tmp_path, pictures)
    (tmp_path / below).parent.mkdir(parents=True, exist_ok=True)
    if below.endswith(".mp4"):
        write_video(tmp_path / below)
    else:
        write_sequence((tmp_path / below).parent)
    with pytest.warns(UserWarning, match=rf"runs on the videos in it; .* such as {pictures[0]}: left out"):
        assert names(tmp_path) == ["a"]


def test_one_picture_beside_folders_of_images(tmp_path):
    write_images(tmp_path, ["cover.jpg"])
    write_images(tmp_path / "a", ["1.png", "2.png"])
    with pytest.warns(UserWarning, match=r"such as cover\.jpg: left out"):
        assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("layout", ["{}", "train/{}"])
def test_a_folder_of_sequences_or_of_splits(tmp_path, layout):
    for name in ("S-10", "S-2"):
        write_sequence(tmp_path / layout.format(name))
    assert sorted(names(tmp_path)) == ["S-10", "S-2"]


def test_splits_with_sequences_of_one_name(tmp_path):
    write_sequence(tmp_path / "train" / "S")
    write_sequence(tmp_path / "test" / "S")
    assert "choose one split" in error_of(tmp_path)


def test_names_are_unique(tmp_path):
    for name in ("a.mp4", "a.avi", "A.mkv", "b.mp4", "a.mp4.avi"):
        write_video(tmp_path / name)
    write_images(tmp_path / "b", ["1.png"])
    found = names(tmp_path)
    assert len(set(found)) == 6
    assert set(found) == {"a.mp4", "a.avi", "A.mkv", "b.mp4", "a.mp4.avi", "b"}
    (tmp_path / "a.mp4.avi").unlink()
    (tmp_path / "b.mp4").unlink()
    assert set(names(tmp_path)) == {"a.mp4", "a.avi", "A.mkv", "b"}


def test_names_of_videos_in_several_folders(tmp_path):
    for folder in ("cam1", "cam2", "odd/a", "odd/a_b"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("cam1/video.mp4", "cam2/video.mp4", "cam2/other.mp4"):
        write_video(tmp_path / name)
    assert set(names(tmp_path)) == {"cam1_video.mp4", "cam2_video.mp4", "other"}
    for name in ("a_b/c.mp4", "a/b_c.mp4", "a/c.mp4", "a_b/b_c.mp4"):
        write_video(tmp_path / "odd" / name)
    assert len(set(names(tmp_path / "odd"))) == 4


def test_the_current_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(write_images(tmp_path / "walk", ["1.png"]))
    assert names(".") == ["walk"]


def test_workers_can_be_given_footage(tmp_path):
    write_video(tmp_path / "a.mp4")
    write_images(tmp_path / "b", ["1.png"])
    for footage in find_footage(str(tmp_path)):
        assert numbers_of(pickle.loads(pickle.dumps(footage))) == numbers_of(footage)


def test_nothing_that_can_be_run_on(tmp_path):
    assert "expected a video file, a folder of images" in error_of(None)
    assert "expected a video file" in error_of("")
    missing = tmp_path / "nowhere.mp4"
    assert error_of(missing).startswith(f"{missing}: cannot be read (No such file or directory); expected a video")
    assert error_of("rtsp://camera/1") == "rtsp://camera/1: streams are not read; record them to a file first"
    assert "found a folder with none of them" in error_of(tmp_path)
    write_images(tmp_path / "too" / "deep", ["1.png"])
    assert "found a folder with none of them" in error_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no video", b"1,2,3\n" * 100, bytes(5000)])
@pytest.mark.parametrize("name", ["a.mp4", "a.txt"])
def test_a_file_that_is_no_video(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    sentence = error_of(tmp_path / name)
    assert sentence.startswith(f"{tmp_path / name}: ")
    assert "video" in sentence


def test_a_video_without_one_frame_that_can_be_decoded(tmp_path):
    path = write_video(tmp_path / "a.mp4", [1, 2])
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(data.index(b"moov") - 4 - start) + data[data.index(b"moov") - 4 :])
    assert error_of(path) == f"{path}: expected a video, found not one frame that can be decoded"


def test_images_that_cannot_be_read(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_of_size(100_000, 100_000))
    assert "bomb.png: expected a video frame, found an image of absurd size" in error_of(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no image")
    assert "a.png: expected an image" in error_of(tmp_path)


def test_what_cannot_be_read_beside_others_is_left_out(tmp_path):
    write_video(tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "seq" / "img1").mkdir(parents=True)
    with pytest.warns(UserWarning, match="left out") as caught:
        assert names(tmp_path) == ["good"]
    sentences = [str(warning.message) for warning in caught]
    assert len(sentences) == 2
    assert sentences[0].startswith(f"{tmp_path / 'bad.mp4'}: cannot be read as a video")
    assert sentences[1].startswith(f"{tmp_path / 'seq' / 'img1'}: expected images")
    assert all(sentence.endswith(": left out") for sentence in sentences)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_without_permission(tmp_path):
    closed = write_images(tmp_path / "closed", ["1.png"])
    video = write_video(tmp_path / "a.mp4")
    closed.chmod(0)
    try:
        assert "closed: cannot be read (Permission denied)" in error_of(closed)
        with pytest.warns(UserWarning, match="closed: cannot be read"):
            assert names(tmp_path) == ["a"]
        video.chmod(0)
        assert "a.mp4: cannot be read as a video (Permission denied)" in error_of(video)
    finally:
        closed.chmod(0o700)


@pytest.mark.parametrize("video", ["a.mp4", "day/a.mp4"])
def test_permission_is_refused(tmp_path, monkeypatch, video):
    """As above, where the tests run as root."""
    closed = write_images(tmp_path / "closed", ["1.png"])
    (tmp_path / video).parent.mkdir(exist_ok=True)
    write_video(tmp_path / video)
    scandir = os.scandir

    def refuse(path):
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UserWarning, match="closed: cannot be read") as caught:
        assert names(tmp_path) == ["a"]
    assert len(caught) == 1
    assert "closed: cannot be read (Permission denied); expected a video file" in error_of(closed)


def test_without_pyav(tmp_path, monkeypatch):
    write_images(tmp_path / "images", ["1.png"])
    write_video(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    assert names(tmp_path / "images") == ["images"]
    for path in (tmp_path, tmp_path / "a.mp4"):
        assert error_of(path) == 'reading video files needs PyAV: pip install -e ".[video]"'


@needs_shared
def test_the_video_of_pets_shows_the_images_of_pets():
    (video,) = find_footage(str(SHARED / "video"))
    images = {footage.info.name: footage for footage in find_footage(str(SHARED / "mot"))}
    assert set(images) == {"PETS09-S2L1", "TUD-Campus"}
    assert video.info == SequenceInfo("vtest", 795, 576, 768, 10.0)
    pets, num_frames = images["PETS09-S2L1"], 0
    for number, frame in enumerate(video.frames()):
        num_frames += 1
        if number % 100 == 0 or number == 794:
            image = read_image(pets.path / f"{number + 1:06d}.jpg").float()
            distances = [(frame.float() - image).abs().mean(), (frame.float() - image.roll(8, -1)).abs().mean()]
            assert distances[0] < min(3.5, 0.6 * distances[1])
    assert num_frames == 795
