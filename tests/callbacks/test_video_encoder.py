"""Video files, and frames and calls on their way there."""

import sys
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from track_cases import decode, visible_and_hidden

from callbacks import video_encoder
from callbacks.background import Background
from callbacks.held_frames import HeldFrames
from callbacks.video_encoder import VideoEncoder, frame_rate
from scene_model.errors import UserError


def pictures(number=12, height=48, width=64):
    """A bright square on colored ground, which moves to the right."""
    frames = np.full((number, height, width, 3), (40, 90, 60), dtype=np.uint8)
    for n, frame in enumerate(frames):
        frame[8:24, 2 * n : 2 * n + 16] = (220, 200, 180)
    return frames


def encode(path, frames, fps=10.0):
    with VideoEncoder(path, frames.shape[1:3], fps) as encoder:
        for frame in frames:
            encoder.write(frame)


@pytest.mark.parametrize("codecs", [None, {"mpeg4"}])
@pytest.mark.parametrize("fps", [10.0, 29.97002997, 239.76])
def test_frames_come_back(tmp_path, monkeypatch, codecs, fps):
    if codecs:
        monkeypatch.setattr(av, "codecs_available", codecs)
    frames = pictures()
    encode(tmp_path / "new" / "v.mp4", frames, fps)
    decoded, rate = decode(tmp_path / "new" / "v.mp4")
    assert float(rate) == pytest.approx(fps, rel=1e-5)
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 5
    with av.open(str(tmp_path / "new" / "v.mp4")) as container:
        assert container.streams.video[0].codec_context.name == ("mpeg4" if codecs else "h264")


@pytest.mark.parametrize(("height", "width"), [(47, 64), (48, 63), (1, 1)])
def test_odd_sides_grow_by_their_last_pixels(tmp_path, height, width):
    frames = pictures(height=height, width=width)
    encode(tmp_path / "v.mp4", frames)
    decoded, _ = decode(tmp_path / "v.mp4")
    assert decoded.shape == (12, height + height % 2, width + width % 2, 3)
    assert np.abs(decoded[:, :height, :width].astype(int) - frames).mean() < 6
    assert np.abs(decoded[:, -1, -1].astype(int) - frames[:, -1, -1]).mean() < 6


@pytest.mark.parametrize(
    ("codec", "size", "shown"),
    [
        ("libx264", (64, 17000), (62, 16384)),
        ("libx264", (32769, 3), (16384, 2)),
        ("mpeg4", (101, 16380), (52, 8190)),
    ],
)
def test_frames_that_no_encoder_takes_are_shown_smaller(tmp_path, monkeypatch, codec, size, shown):
    monkeypatch.setattr(av, "codecs_available", {codec})
    frame = np.full((1, *size, 3), (40, 90, 60), dtype=np.uint8)
    frame[:, size[0] // 2 :, size[1] // 2 :] = (220, 200, 180)
    encode(tmp_path / "v.mp4", frame)
    decoded, _ = decode(tmp_path / "v.mp4")
    assert decoded.shape == (1, *shown, 3)
    height, width = shown
    np.testing.assert_allclose(decoded[0, height // 8, width // 8], (40, 90, 60), atol=8)
    np.testing.assert_allclose(decoded[0, -1, -width // 8], (220, 200, 180), atol=8)


def test_what_the_encoder_refuses_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(video_encoder, "_MAX_SIDES", {"libx264": 20000})
    with pytest.raises(
        UserError, match=r"v\.mp4: the encoder refuses it \(.*\), --tracks\.video false writes text alone$"
    ):
        encode(tmp_path / "v.mp4", np.zeros((1, 2, 17000, 3), dtype=np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_closed_file_is_still_hidden(tmp_path):
    with VideoEncoder(tmp_path / "v.mp4", (48, 64), 10) as encoder:
        encoder.write(pictures()[0])
        encoder.close()
        (hidden,) = tmp_path.iterdir()
        assert hidden.name.startswith(".")
        assert len(decode(hidden)[0]) == 1
    assert visible_and_hidden(tmp_path) == (["v.mp4"], [])


def test_file_appears_at_the_end(tmp_path):
    (tmp_path / "v.mp4").write_text("old")
    with VideoEncoder(tmp_path / "v.mp4", (48, 64), 10) as encoder:
        encoder.write(pictures()[0])
        assert (tmp_path / "v.mp4").read_text() == "old"
    assert visible_and_hidden(tmp_path) == (["v.mp4"], [])
    assert len(decode(tmp_path / "v.mp4")[0]) == 1


@pytest.mark.parametrize("num_frames", [0, 1, 12])
def test_nothing_is_left_after_an_exception(tmp_path, num_frames):
    with pytest.raises(KeyError), VideoEncoder(tmp_path / "v.mp4", (48, 64), 10) as encoder:  # noqa: PT012
        for frame in pictures()[:num_frames]:
            encoder.write(frame)
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_no_frame_makes_no_file(tmp_path):
    encode(tmp_path / "v.mp4", pictures(number=0))
    assert not list(tmp_path.iterdir())


def test_full_disk_is_one_sentence(tmp_path, full_disk):
    noise = np.random.default_rng(0).integers(0, 256, (40, 96, 128, 3), dtype=np.uint8)
    with full_disk(), pytest.raises(UserError, match=r"v\.mp4: cannot be written"):
        encode(tmp_path / "v.mp4", noise)
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"v\.mp4: cannot be written"):
        encode(tmp_path / "file" / "v.mp4", pictures())


def test_missing_pyav_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r'^writing video files needs PyAV: pip install -e "\.\[video\]"$'):
        encode(tmp_path / "v.mp4", pictures())


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_unknown_rates_become_25(fps):
    assert frame_rate(fps) == 25


@pytest.mark.parametrize("fps", [1e-9, 0.5, 1, 7, 23.976, 59.94, 119.88, 1e9])
def test_rates_fit_into_a_file(fps):
    rate = frame_rate(fps)
    assert Fraction(1, 10) <= rate <= 240
    assert rate.numerator <= 65535
    assert fps < 0.1 or fps > 240 or float(rate) == pytest.approx(fps, rel=1e-4)


def test_held_frames_are_taken_once_and_in_order():
    held, frames = HeldFrames(), torch.arange(12).view(12, 1, 1, 1)
    held.add([1, 2, 4], frames[[1, 2, 4]])
    held.add([2, 4, 5], -frames[[2, 4, 5]])
    assert [(n, frame if frame is None else int(frame)) for n, frame in held.take(4)] == [
        *((0, None), (1, 1), (2, 2), (3, None))
    ]
    held.add([2, 3, 4, 6], -frames[[2, 3, 4, 6]])
    assert len(held) == 3
    assert [(n, int(frame)) for n, frame in held.take(7)] == [(4, 4), (5, -5), (6, -6)]
    assert len(held) == 0


class TestBackground:
    def test_calls_run_in_order_in_another_thread(self):
        ran, background = [], Background()
        for number in range(50):
            background.submit(lambda number=number: ran.append((number, threading.current_thread())))
        background.finish()
        assert [number for number, _ in ran] == list(range(50))
        assert threading.current_thread() not in {thread for _, thread in ran}

    def test_few_calls_wait(self):
        ran, background = [], Background(max_waiting=3)

        def work():
            time.sleep(0.01)
            ran.append(0)

        for number in range(10):
            background.submit(work)
            assert number + 1 - len(ran) <= 4
        background.finish()
        assert len(ran) == 10

    def test_an_error_surfaces_and_ends_the_work(self):
        ran, background, gate = [], Background(max_waiting=2), threading.Event()

        def fail():
            gate.wait()
            raise KeyError("disk")

        background.submit(fail)
        background.submit(ran.append, 0)
        gate.set()
        with pytest.raises(KeyError, match="disk"):  # noqa: PT012
            background.submit(ran.append, 1)
            background.submit(ran.append, 2)
        background.abandon()
        assert not ran

    def test_the_last_error_surfaces_in_the_end(self):
        background, gate = Background(), threading.Event()

        def fail():
            gate.wait()
            raise KeyError("disk")

        background.submit(fail)
        gate.set()
        with pytest.raises(KeyError, match="disk"):
            background.finish()
