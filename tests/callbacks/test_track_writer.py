"""Files that `predict` leaves of a foreign module's tracks."""

import os
import shutil
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from track_cases import (
    HEIGHT,
    LEFT,
    OVERLAP,
    TOP,
    TRACK,
    WIDTH,
    ServiceLogger,
    Tracker,
    Video,
    batch_of,
    batches_of,
    brightness,
    decode,
    loader,
    visible_and_hidden,
)

from callbacks import TrackWriter
from callbacks.annotation import Annotator
from callbacks.drawing import identity_color
from callbacks.input_files import InputFiles
from callbacks.track_files import TrackFiles
from callbacks.track_session import TrackSession
from scene_model.errors import UserError
from scene_model.mot_text import read_mot


@pytest.fixture
def predict(make_trainer, tmp_path):
    """Runs `predict` with a `TrackWriter` and returns the folder of its files."""

    def run(*videos, batches=None, callbacks=(), module=None, writer=None, **trainer_options):
        trainer = make_trainer(writer or TrackWriter(), *callbacks, **trainer_options)
        batches = batches_of(*videos) if batches is None else batches
        trainer.predict(module or Tracker(*videos), loader(batches), return_predictions=False)
        return tmp_path / "tracks"

    return run


def backgrounds(pictures):
    """Brightness beside the box, per frame."""
    return pictures[:, TOP : TOP + HEIGHT, LEFT + WIDTH + 20 :].mean((1, 2, 3))


def test_text_holds_the_rows(predict):
    video = Video()
    table, wanted = read_mot(predict(video) / "street.txt", ground_truth=False), video.rows(0, 10)
    for column in vars(wanted):
        np.testing.assert_array_equal(getattr(table, column), getattr(wanted, column))


def test_video_holds_each_frame_once_with_the_box_in_its_place(predict):
    folder = predict(Video(), writer=TrackWriter(line_width=4))
    pictures, rate = decode(folder / "street.mp4")
    assert pictures.shape == (10, 96, 128, 3)
    assert rate == 12.5
    np.testing.assert_allclose(backgrounds(pictures), [brightness(n) for n in range(10)], atol=4)
    edge = pictures[:, TOP + 10 : TOP + HEIGHT - 10, LEFT : LEFT + 4].mean((1, 2))
    np.testing.assert_allclose(edge, [identity_color(TRACK)] * 10, atol=25)


def test_files_appear_when_their_video_ends(predict, tmp_path):
    seen = []

    class Spy(Callback):
        def on_predict_batch_start(self, *args):
            seen.append(visible_and_hidden(tmp_path / "tracks"))

    first, second = Video("first", num_frames=30), Video("second", num_frames=30)
    folder = predict(first, second, callbacks=[Spy()])
    ended = len(list(first.windows()))
    assert all(not visible for visible, _ in seen[:ended])
    assert seen[-1][0] == ["first.mp4", "first.txt"]
    assert len(seen[-1][1]) == 2
    assert visible_and_hidden(folder) == (["first.mp4", "first.txt", "second.mp4", "second.txt"], [])


@pytest.mark.parametrize("missing", [(0,), (4,), (3, 4, 5, 6, 7, 8), (0, 1, 2, 10, 11)])
def test_unreadable_frames_repeat_the_last_picture(predict, missing):
    folder = predict(Video(num_frames=16, missing=missing))
    shown, wanted = 0, []
    for number in range(16):
        shown = shown if number in missing else brightness(number)
        wanted.append(shown)
    np.testing.assert_allclose(backgrounds(decode(folder / "street.mp4")[0]), wanted, atol=4)
    assert set(read_mot(folder / "street.txt").frames) == set(range(16)) - set(missing)


def test_videos_may_be_in_progress_together_beside_blank_windows(predict):
    one, two = Video("one", num_frames=12), Video("two", num_frames=8, is_empty=True)
    windows = [list(one.windows()), [None, *two.windows()]]
    pairs = [batch_of(*pair) for pair in zip(windows[0], windows[1] + [None], strict=True)]
    folder = predict(one, two, batches=pairs)
    np.testing.assert_allclose(backgrounds(decode(folder / "one.mp4")[0]), [brightness(n) for n in range(12)], atol=4)
    assert len(decode(folder / "two.mp4")[0]) == 8
    assert len(read_mot(folder / "one.txt")) == 12
    assert (folder / "two.txt").read_text() == ""
    assert visible_and_hidden(folder)[0] == ["one.mp4", "one.txt", "two.mp4", "two.txt"]


def test_several_windows_of_a_video_may_share_a_batch(predict):
    video = Video()
    folder = predict(video, batches=[batch_of(*video.windows())])
    np.testing.assert_allclose(
        backgrounds(decode(folder / "street.mp4")[0]), [brightness(n) for n in range(10)], atol=4
    )


@pytest.mark.parametrize(("error", "raised"), [(ValueError, ValueError), (KeyboardInterrupt, SystemExit)])
def test_failure_leaves_the_videos_that_have_ended(predict, tmp_path, error, raised):
    first, second = Video("first"), Video("second", num_frames=40)
    num_batches = len(list(first.windows()))
    (tmp_path / "tracks").mkdir()
    (tmp_path / "tracks" / "second.txt").write_text("of an earlier run")

    def fail(number):
        if number == num_batches + 5:
            raise error

    with pytest.raises(raised):
        predict(first, second, module=Tracker(first, second, on_batch=fail))
    assert visible_and_hidden(tmp_path / "tracks") == (["first.mp4", "first.txt", "second.txt"], [])
    assert (tmp_path / "tracks" / "second.txt").read_text() == "of an earlier run"
    assert len(decode(tmp_path / "tracks" / "first.mp4")[0]) == 10


def test_sigterm_ends_predict_and_leaves_nothing(predict, tmp_path):
    video, batches = Video(num_frames=60), []

    def kill(number):
        batches.append(number)
        if number == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SIGTERMException):
        predict(video, module=Tracker(video, on_batch=kill))
    assert batches == [0, 1, 2, 3]
    assert visible_and_hidden(tmp_path / "tracks") == ([], [])


@pytest.mark.filterwarnings("ignore:.*no original frames")
@pytest.mark.parametrize("has_pictures", [True, False])
def test_full_disk_ends_predict_in_a_sentence_and_leaves_nothing(predict, tmp_path, full_disk, has_pictures):
    video = Video(num_frames=300, is_noisy=True)
    with full_disk(), pytest.raises(UserError, match="cannot be written"):
        predict(video, batches=batches_of(video, originals=has_pictures))
    assert visible_and_hidden(tmp_path / "tracks") == ([], [])


def test_limited_predict_writes_a_preview(predict):
    with pytest.warns(match=r"the beginning: street \(8 frames\)"):
        folder = predict(Video(num_frames=60), limit_predict_batches=4)
    assert len(decode(folder / "street.mp4")[0]) == 8
    assert len(read_mot(folder / "street.txt")) == 8


@pytest.mark.parametrize("name", ["../../outside", "a/b", "/outside", "..", ".", ""])
def test_names_never_lead_out_of_the_folder(predict, tmp_path, name):
    inner = tmp_path / "a" / "b" / "c"
    with pytest.raises(UserError, match="video's name"):
        predict(Video(name), writer=TrackWriter(output_dir=str(inner)))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_odd_sides_are_rounded_up(predict):
    pictures, _ = decode(predict(Video(size=(95, 127))) / "street.mp4")
    assert pictures.shape == (10, 96, 128, 3)
    np.testing.assert_allclose(pictures[:, 95, 100:].mean((1, 2)), pictures[:, 94, 100:].mean((1, 2)), atol=4)


def test_class_names_are_optional(predict):
    module = Tracker(Video())
    del module.class_names
    assert len(decode(predict(Video(), module=module) / "street.mp4")[0]) == 10


def test_no_originals_means_text_only_and_one_warning(predict, recwarn):
    videos = Video("one"), Video("two")
    folder = predict(*videos, batches=batches_of(*videos, originals=False))
    assert visible_and_hidden(folder) == (["one.txt", "two.txt"], [])
    assert sum("original frames" in str(warning.message) for warning in recwarn) == 1


def test_video_can_be_switched_off(predict, recwarn):
    assert visible_and_hidden(predict(Video(), writer=TrackWriter(video=False))) == (["street.txt"], [])
    assert not any("original frames" in str(warning.message) for warning in recwarn)


def test_files_go_to_the_run_folder_or_where_they_are_sent(predict, tmp_path):
    logger = CSVLogger(tmp_path, name="run")
    predict(Video(), logger=logger)
    predict(Video(), writer=TrackWriter(output_dir=str(tmp_path / "elsewhere" / "deep")))
    texts = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt")}
    assert texts == {"run/version_0/tracks/street.txt", "elsewhere/deep/street.txt"}


def test_loggers_of_services_do_not_move_the_files(predict, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = predict(Video(), logger=ServiceLogger())
    assert visible_and_hidden(folder)[0] == ["street.mp4", "street.txt"]
    assert visible_and_hidden(tmp_path / "here") == ([], [])


def test_names_may_be_as_long_as_a_file_system_takes(predict):
    name = "n" * 251
    assert visible_and_hidden(predict(Video(name))) == ([f"{name}.mp4", f"{name}.txt"], [])


def test_names_that_are_too_long_are_found_before_the_first_frame(predict, tmp_path):
    batches = []
    with pytest.raises(UserError, match=r"n\.txt: cannot be written \(File name too long\)"):
        predict(Video("n" * 252), module=Tracker(Video("n" * 252), on_batch=batches.append))
    assert batches == [0]
    assert visible_and_hidden(tmp_path / "tracks") == ([], [])


def test_a_text_that_cannot_be_completed_leaves_the_old_video_too(tmp_path, full_disk):
    video = Video(num_frames=280)
    (tmp_path / "street.mp4").write_text("of an earlier run")
    files = TrackFiles(tmp_path, video.sequence, Annotator(), InputFiles())
    with full_disk():
        files.append(video.rows(0, 280))  # little enough to be kept back until the end
        files.show(video.frame(0), 0, video.rows(0, 1))
        with pytest.raises(UserError, match=r"street\.txt: cannot be written \(File too large\)"):
            files.finish()
    files.discard()
    assert visible_and_hidden(tmp_path) == (["street.mp4"], [])
    assert (tmp_path / "street.mp4").read_text() == "of an earlier run"


@pytest.mark.parametrize(("world_size", "says"), [(1, "0 videos, 0 frames, 0 tracks, "), (2, "")])
def test_of_several_processes_those_without_videos_are_silent(tmp_path, capsys, world_size, says):
    writer, trainer = TrackWriter(video=False), SimpleNamespace(world_size=world_size)
    writer._session = TrackSession(tmp_path, None)
    writer.on_predict_end(trainer, None)
    out = capsys.readouterr().out
    assert out.startswith(says)
    assert out.count("\n") == bool(says)


def test_says_what_was_written(predict, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    predict(Video("one"), Video("two", num_frames=13))
    words = capsys.readouterr().out.splitlines()[-1].split()
    assert words[:6] == ["2", "videos,", "23", "frames,", "2", "tracks,"]
    assert words[7:] == ["frames/s", "->", "tracks"]


def test_an_identity_is_counted_once_in_each_video(predict, capsys):
    predict(Video("one"), Video("two"), Video("three", is_empty=True), Video("unfinished"), limit_predict_batches=13)
    lines = capsys.readouterr().out.splitlines()
    assert ", 3 tracks, " in lines[-1]


def test_says_what_to_do_about_no_tracks(predict, capsys):
    predict(Video(is_empty=True))
    line, advice = capsys.readouterr().out.splitlines()[-2:]
    assert ", 0 tracks, " in line
    assert advice.startswith("No track: ")
    assert "--model.tracking.birth_threshold" in advice


def test_only_frames_that_are_not_final_are_held(tmp_path):
    video = Video(num_frames=200)
    module, session, held = Tracker(video), TrackSession(tmp_path, Annotator), []
    for batch in batches_of(video):
        session.update(batch, module.tracks(batch))
        held.append(session.num_held)
    assert session.finish() == {}
    assert max(held) == OVERLAP
    assert held[-1] == 0
    assert len(decode(tmp_path / "street.mp4")[0]) == 200


def test_no_device_is_waited_for(tmp_path):
    video = Video(num_frames=13)
    module, session = Tracker(video), TrackSession(tmp_path, Annotator)
    for batch in [batch_of(None), *batches_of(video)]:
        parts = module.tracks(batch)
        batch.padding_mask = batch.padding_mask.to("meta")  # from which nothing can be copied
        session.update(batch, parts)
    session.finish()
    np.testing.assert_allclose(
        backgrounds(decode(tmp_path / "street.mp4")[0]), [brightness(n) for n in range(13)], atol=4
    )


def test_a_callback_serves_several_runs(predict):
    writer = TrackWriter()
    predict(Video(), writer=writer)
    folder = predict(Video(num_frames=6), writer=writer)
    assert len(decode(folder / "street.mp4")[0]) == len(read_mot(folder / "street.txt")) == 6


def test_fast_dev_run_and_other_stages_leave_nothing(predict, make_trainer, tmp_path, capsys):
    predict(Video(), fast_dev_run=True)
    make_trainer(TrackWriter()).test(Tracker(Video()), loader(batches_of(Video())), verbose=False)
    make_trainer(TrackWriter()).validate(Tracker(Video()), loader(batches_of(Video())), verbose=False)
    assert not list(tmp_path.iterdir())
    assert "frames/s" not in capsys.readouterr().out


class Inputs(LightningDataModule):
    """Data of which it is known what files they come from."""

    def __init__(self, video, *paths):
        super().__init__()
        self.video, self.predict_inputs = video, list(paths)

    def predict_dataloader(self):
        return loader(batches_of(self.video))


class TestInputs:
    @pytest.fixture
    def clip(self, tmp_path):
        (tmp_path / "solo").mkdir()
        (tmp_path / "solo" / "street.mp4").write_text("the only copy")
        return tmp_path / "solo" / "street.mp4"

    def refused(self, folder, *paths, **options):
        with pytest.raises(UserError) as error:
            TrackWriter(output_dir=str(folder), **options).check("predict", folder, Inputs(Video(), *paths))
        return str(error.value)

    def accepted(self, folder, *paths, **options):
        TrackWriter(output_dir=str(folder), **options).check("predict", folder, Inputs(Video(), *paths))

    def test_a_video_beside_its_result(self, clip):
        expected = f"tracks.output_dir: {clip} is read and would be written over, expected another folder"
        assert self.refused(clip.parent, clip) == expected
        assert self.refused(clip.parent, clip.parent.parent / "other.avi", clip) == expected

    def test_texts_alone_do_not_touch_videos(self, clip):
        self.accepted(clip.parent, clip, video=False)
        shutil.move(clip, clip.with_suffix(".txt"))
        assert "street.txt is read" in self.refused(clip.parent, clip.with_suffix(".txt"), video=False)

    def test_other_kinds_of_videos_and_folders_stay_where_they_are(self, clip):
        shutil.move(clip, clip.with_suffix(".avi"))
        (clip.parent / "pictures").mkdir()
        self.accepted(clip.parent, clip.with_suffix(".avi"), clip.parent / "pictures", clip.parent)
        self.accepted(clip.parent / "new", clip.with_suffix(".avi"))

    def test_whatever_the_folder_is_called(self, clip, tmp_path, monkeypatch):
        (tmp_path / "link").symlink_to(clip.parent)
        assert "street.mp4 is read" in self.refused(tmp_path / "link", clip)
        assert "street.mp4 is read" in self.refused(clip.parent, tmp_path / "link" / "street.mp4")
        monkeypatch.chdir(clip.parent)
        assert "street.mp4 is read" in self.refused(".", clip)
        assert "street.mp4 is read" in self.refused(clip.parent, "street.mp4")

    @pytest.mark.parametrize("link", [os.symlink, os.link])
    def test_whatever_the_file_is_called(self, clip, tmp_path, link):
        link(clip, tmp_path / "street.mp4")
        assert "street.mp4 is read" in self.refused(clip.parent, tmp_path / "street.mp4")
        assert "street.mp4 is read" in self.refused(tmp_path, clip)

    def test_large_letters(self, clip):
        shutil.move(clip, clip.with_suffix(".MP4"))
        assert "street.MP4 is read" in self.refused(clip.parent, clip.with_suffix(".MP4"))

    def test_without_a_command_line_too(self, clip, make_trainer):
        module = Tracker(Video(), on_batch=lambda _: pytest.fail("work has begun"))
        trainer = make_trainer(TrackWriter(output_dir=str(clip.parent)))
        with pytest.raises(UserError, match=r"street\.mp4 is read"):
            trainer.predict(module, datamodule=Inputs(Video(), clip), return_predictions=False)
        assert clip.read_text() == "the only copy"

    def test_what_comes_into_the_folder_later_stays_as_well(self, clip, make_trainer, tmp_path):
        output = tmp_path / "tracks"
        module = Tracker(Video(), on_batch=lambda number: number or os.link(clip, output / "street.mp4"))
        output.mkdir()
        with pytest.raises(UserError, match=r"street\.mp4 is read"):
            make_trainer(TrackWriter()).predict(module, datamodule=Inputs(Video(), clip), return_predictions=False)
        assert visible_and_hidden(output) == (["street.mp4"], [])
        assert clip.samefile(output / "street.mp4")
        assert clip.read_text() == "the only copy"


class TestCheck:
    def test_accepts_a_folder_and_leaves_nothing(self, tmp_path):
        TrackWriter().check("predict", tmp_path / "runs" / "version_0")
        TrackWriter(output_dir=str(tmp_path / "new" / "deep")).check("predict", tmp_path)
        TrackWriter(output_dir=str(tmp_path)).check("predict", tmp_path / "absent")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("below", ["file", "file/deep"])
    def test_refuses_what_is_no_folder(self, tmp_path, below):
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match=rf"tracks.output_dir: cannot write to .*{below}"):
            TrackWriter(output_dir=str(tmp_path / below)).check("predict", tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_refuses_a_folder_that_may_not_be_written(self):
        folder = "/proc/self/task"  # not even for root
        if not os.path.isdir(folder):
            pytest.skip("no /proc")
        with pytest.raises(UserError, match=r"tracks\.output_dir: cannot write to /proc"):
            TrackWriter(output_dir=f"{folder}/tracks").check("predict", None)

    def test_says_how_to_get_pyav(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(UserError, match=r'PyAV: pip install -e "\.\[video\]", or --tracks\.video false$'):
            TrackWriter().check("predict", tmp_path)
        TrackWriter(video=False).check("predict", tmp_path)

    def test_is_about_predict_only(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "av", None)
        (tmp_path / "tracks").touch()
        TrackWriter().check("fit", tmp_path)


@pytest.mark.parametrize("options", [{"trail": -1}, {"line_width": 0}])
def test_refuses_wrong_options(options):
    with pytest.raises(UserError, match=f"tracks.{next(iter(options))}: expected at least"):
        TrackWriter(**options)
