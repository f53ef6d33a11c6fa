import warnings

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from PIL import Image
from videos import damage, numbers_of, packets_of, picture, write_images, write_video

from datamodules.footage import Footage, ImageFolder
from datamodules.video_file import VideoFile
from scene_model.batch import SequenceInfo
from scene_model.errors import UserError


def num_user_warnings(caught):
    return sum(warning.category is UserWarning for warning in caught)


def folder_of(path, names):
    return ImageFolder.open(write_images(path / "images", names), np.array(names), "images")


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "JPG"])
def test_images_of_every_format(tmp_path, suffix):
    footage = folder_of(tmp_path, [f"{number}.{suffix}" for number in range(5)])
    assert footage.info == SequenceInfo("images", 5, 48, 64, 30.0)
    frame = next(footage.frames())
    assert frame.shape == (3, 48, 64)
    assert frame.dtype == torch.uint8
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert numbers_of(footage) == [0, 1, 2, 3, 4]


def test_phone_pictures_are_turned_upright(tmp_path):
    footage = folder_of(tmp_path, ["0.png", "1.png"])
    plain, exif = list(footage.frames()), Image.Exif()
    exif[0x0112] = 8  # turn by 90 degrees counterclockwise
    for name in footage.files:
        with Image.open(footage.path / str(name)) as image:
            image.save(footage.path / str(name), exif=exif)
    turned = ImageFolder.open(footage.path, footage.files, "images")
    assert (turned.info.height, turned.info.width) == (64, 48)
    for frame, original in zip(turned.frames(), plain, strict=True):
        assert torch.equal(frame, original.rot90(1, (1, 2)))


def test_images_that_cannot_be_read_leave_gaps_and_one_warning(tmp_path):
    footage = folder_of(tmp_path, [f"{number}.jpg" for number in range(6)])
    (footage.path / "2.jpg").write_bytes(b"no image")
    (footage.path / "4.jpg").write_bytes((footage.path / "4.jpg").read_bytes()[:200])
    (footage.path / "5.jpg").unlink()
    with pytest.warns(UserWarning, match=r"images: cannot read 3 frames \(the first is frame 3\): left out") as caught:
        assert numbers_of(footage) == [0, 1, None, 3, None, None]
    assert num_user_warnings(caught) == 1


def test_the_first_image_that_can_be_read_gives_the_size(tmp_path):
    folder = write_images(tmp_path, ["1.png", "2.png"])
    (tmp_path / "0.png").write_bytes(b"no image")
    footage = ImageFolder.open(folder, np.array(["0.png", "1.png", "2.png"]), "x")
    assert (footage.info.height, footage.info.width, footage.info.num_frames) == (48, 64, 3)
    with pytest.warns(UserWarning, match="cannot read frame 1: left out"):
        assert numbers_of(footage) == [None, 0, 1]
    with pytest.raises(UserError, match=r"0\.png: expected an image"):
        ImageFolder.open(folder, np.array(["0.png", "missing.png"]), "x")


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    footage = folder_of(tmp_path, [f"{number}.png" for number in range(4)])
    for number in (1, 3):
        with Image.open(footage.path / f"{number}.png") as image:
            image.resize((128, 96)).save(footage.path / f"{number}.png")
    with pytest.warns(UserWarning, match=r"scaled 2 frames \(the first is frame 2\) to the size .* 64x48") as caught:
        frames = list(footage.frames())
    assert num_user_warnings(caught) == 1
    assert {tuple(frame.shape) for frame in frames} == {(3, 48, 64)}


def test_frames_are_read_one_by_one():
    class Counted(Footage):
        num_read = 0

        def read(self):
            for _ in range(1000):
                self.num_read += 1
                yield torch.zeros(3, 4, 4, dtype=torch.uint8)

    footage = Counted("x", SequenceInfo("x", 0, 4, 4, 1.0))
    frames = footage.frames()
    assert footage.num_read == 0
    next(frames), next(frames)
    assert footage.num_read == 2


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.mkv", "a.mov"])
def test_frames_of_a_video_file(tmp_path, name):
    codec = "libx264" if name == "a.mov" else "mpeg4"
    footage = VideoFile.open(write_video(tmp_path / name, range(30), codec), "a")
    assert footage.info == SequenceInfo("a", 30, 48, 64, 12.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        frames = list(footage.frames())
        assert numbers_of(footage) == list(range(30)), "it can be read again"
    assert {(tuple(frame.shape), frame.dtype) for frame in frames} == {((3, 48, 64), torch.uint8)}


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_damaged_frames_leave_gaps_and_one_warning(tmp_path, name):
    path = write_video(tmp_path / name, range(30))
    damage(path, 7, 8, 20)
    footage = VideoFile.open(path, "a")
    with pytest.warns(UserWarning, match=r"cannot read 3 frames \(the first is frame 8\): left out") as caught:
        numbers = numbers_of(footage)
    assert numbers == [None if number in (7, 8, 20) else number for number in range(30)]
    assert num_user_warnings(caught) == 1


def test_damage_at_the_beginning_and_at_the_end(tmp_path):
    path = write_video(tmp_path / "a.avi", range(30))
    damage(path, 0, 29)
    with pytest.warns(UserWarning, match="cannot read"):
        numbers = numbers_of(VideoFile.open(path, "a"))
    assert numbers[:26] == [None, *range(1, 26)], "with the last frame, as many may be lost as there are threads"


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_a_truncated_video_ends_with_a_warning(tmp_path, name):
    path = write_video(tmp_path / name, range(30))
    path.write_bytes(path.read_bytes()[: packets_of(path)[15].start + 5])
    expected = {
        "a.avi": r"a\.avi: found 1\d of the 30 frames .*: the others are damaged, cut off,",
        "a.mkv": r"a\.mkv: ends after 1\.\d of the 2\.5 seconds .*: it seems to be damaged or cut off",
    }
    with pytest.warns(UserWarning, match=expected[name]):
        numbers = numbers_of(VideoFile.open(path, "a"))
    assert numbers[:12] == list(range(12))
    assert len(numbers) <= 16


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libvpx"), ("a.mkv", "mpeg4"), ("a.mp4", "mpeg4")])
def test_a_varying_rate_is_no_damage(tmp_path, name, codec):
    """As screen recorders and phones write: thirty frames a second at first, then two."""
    times = [33 * number for number in range(20)] + [700 + 500 * number for number in range(20)]
    footage = VideoFile.open(write_video(tmp_path / name, range(40), codec, rate=30, times=times), "a")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert numbers_of(footage) == list(range(40))


def test_a_gif_is_a_video(tmp_path):
    images = [Image.fromarray(picture(number)) for number in range(6)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100)
    footage = VideoFile.open(tmp_path / "a.gif", "a")
    assert (footage.info.num_frames, footage.info.fps) == (6, 10)
    assert numbers_of(footage) == list(range(6))


def test_a_picture_before_the_main_video_is_not_the_video(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        cover, main = (container.add_stream(codec, rate=12) for codec in ("mjpeg", "mpeg4"))
        (cover.height, cover.width), cover.pix_fmt = (96, 96), "yuvj420p"
        (main.height, main.width), main.pix_fmt = (48, 64), "yuv420p"
        main.disposition = Disposition.default
        images = [(cover, picture(255, (96, 96)))] + [(main, picture(number)) for number in range(5)]
        for stream, image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(cover.encode())
        container.mux(main.encode())
    footage = VideoFile.open(tmp_path / "a.mkv", "a")
    assert (footage.info.height, footage.info.width) == (48, 64)
    assert [number & ~1 for number in numbers_of(footage)] == [0, 0, 2, 2, 4], "the last digit is lost to the codec"


def test_broken_containers_are_read_behind_the_damage(tmp_path):
    path = write_video(tmp_path / "a.avi", range(30))
    data, packets = bytearray(path.read_bytes()), packets_of(path)
    data[packets[10].start - 8 : packets[12].stop] = b"\x5a" * (packets[12].stop - packets[10].start + 8)
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="found 27 of the 30 frames"):
        numbers = numbers_of(VideoFile.open(path, "a"))
    assert numbers == [*range(10), *range(13, 30)]


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_phone_videos_are_turned_upright(tmp_path, rotation):
    av = pytest.importorskip("av")
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write rotations")
    plain = next(VideoFile.open(write_video(tmp_path / "a.mp4", [5]), "a").frames())
    footage = VideoFile.open(write_video(tmp_path / "b.mp4", [5], rotation=rotation), "b")
    turned = next(footage.frames())
    assert (footage.info.height, footage.info.width) == ((64, 48) if rotation != 180 else (48, 64))
    assert torch.equal(turned, plain.rot90(rotation // 90, (1, 2))), "counterclockwise"


def test_videos_whose_size_changes(tmp_path):
    """Two streams of one kind, laid end to end."""
    sizes = [(48, 64), (96, 128)]
    small, large = (write_video(tmp_path / f"{size[0]}.mpg", range(6), "mpeg1video", size, rate=25) for size in sizes)
    path = tmp_path / "both.mpg"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.warns(UserWarning, match="to the size of the first, 64x48"):
        frames = list(VideoFile.open(path, "a").frames())
    assert {tuple(frame.shape) for frame in frames} == {(3, 48, 64)}
