"""The line that `predict` shows."""

import re
from io import StringIO

import pytest
import rich
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from track_cases import Tracker, Video, batch_of, batches_of, loader

from callbacks import PredictProgress
from callbacks.predict_progress import FrameCount


@pytest.fixture
def console(monkeypatch):
    """Sets the console, a terminal or not, and returns what is written there."""

    def make(is_terminal):
        file = StringIO()
        monkeypatch.setattr(rich, "_console", rich.console.Console(file=file, force_terminal=is_terminal, width=100))
        return file

    return make


@pytest.fixture
def predict(make_trainer):
    def run(*videos, bars=(), batches=None, module=None, **options):
        trainer = make_trainer(PredictProgress(), *bars, **({"enable_progress_bar": True} | options))
        data = loader(batches_of(*videos) if batches is None else batches)
        trainer.predict(module or Tracker(*videos), data, return_predictions=False)
        return trainer

    return run


def test_a_file_gets_one_line_with_the_true_count(console, predict):
    file = console(is_terminal=False)
    predict(Video("one"), Video("two", num_frames=13))
    (line,) = file.getvalue().splitlines()
    assert line.startswith("two ")
    assert "23/23 frames, " in line
    assert "\x1b" not in line


def test_a_terminal_sees_the_line_grow(console, predict):
    file = console(is_terminal=True)

    class Slow(Callback):
        def on_predict_batch_end(self, trainer, *args):
            self._live(trainer).refresh()

        def _live(self, trainer):
            return next(bar for bar in trainer.callbacks if isinstance(bar, PredictProgress))._line._progress

    predict(Video("one", num_frames=30), bars=[Slow()])
    counts = [int(count) for count in re.findall(r"(\d+)/30 frames", re.sub(r"\x1b\[[\d;?]*\w", "", file.getvalue()))]
    assert {4, 16, 30} <= set(counts)
    assert counts == sorted(counts)


@pytest.mark.parametrize("options", [{"enable_progress_bar": False}, {"fast_dev_run": True}])
def test_is_silent_where_lightning_is_told_to_be(console, predict, options):
    file = console(is_terminal=True)
    predict(Video(), **options)
    assert "frames/s" not in file.getvalue()


@pytest.mark.parametrize("bar", [RichProgressBar, TQDMProgressBar])
def test_lightnings_bar_makes_room_and_comes_back(console, predict, capsys, bar):
    file, bar = console(is_terminal=True), bar()
    predict(Video(), bars=[bar])
    assert "Predicting" not in file.getvalue() + "".join(capsys.readouterr())
    assert bar.is_enabled


def test_an_exception_ends_the_line(console, predict):
    file, bar = console(is_terminal=False), RichProgressBar()
    video = Video(num_frames=30)

    def fail(number):
        if number == 3:
            raise KeyError

    with pytest.raises(KeyError):
        predict(video, bars=[bar], module=Tracker(video, on_batch=fail))
    assert "8/30 frames" in file.getvalue()
    assert bar.is_enabled


def test_names_may_look_like_markup(console, predict):
    file = console(is_terminal=False)
    predict(Video("[red]"), batches=[batch_of(None), *batches_of(Video("[red]")), batch_of(None)])
    assert file.getvalue().startswith("[red] ")


def test_the_data_module_may_know_the_total(console, make_trainer):
    class Data(LightningDataModule):
        num_predict_frames = 500

        def predict_dataloader(self):
            return loader(batches_of(Video(num_frames=60)))

    file = console(is_terminal=False)
    trainer = make_trainer(PredictProgress(), enable_progress_bar=True, limit_predict_batches=2)
    trainer.predict(Tracker(Video(num_frames=60)), datamodule=Data(), return_predictions=False)
    assert "6/500 frames" in file.getvalue()


def test_no_device_is_waited_for(console, predict):
    class Away(Callback):
        def on_predict_batch_start(self, trainer, module, batch, *args):
            batch.padding_mask = batch.padding_mask.to("meta")  # from which nothing can be copied

    class Silent(Tracker):
        def predict_step(self, batch, batch_idx):
            return {}

    file = console(is_terminal=False)
    predict(Video("one", num_frames=13), bars=[Away()], module=Silent())
    assert "13/13 frames" in file.getvalue()


class TestFrameCount:
    def test_begins_with_nothing_seen(self):
        assert FrameCount(estimate=5).done == 0
        with pytest.raises(TypeError):
            FrameCount(5, 3)

    def test_total_grows_with_the_videos_and_ends_with_the_truth(self):
        count, one, two = FrameCount(), Video("one", num_frames=100).sequence, Video("two", num_frames=50).sequence
        assert count.total == 0
        count.update(one, 10, is_last=False)
        assert (count.done, count.total) == (10, 100)
        count.update(two, 60, is_last=False)
        assert (count.done, count.total) == (70, 160)
        count.update(one, 95, is_last=True)
        assert (count.done, count.total) == (155, 155)
        count.update(two, 61, is_last=True)
        assert (count.done, count.total) == (156, 156)

    def test_a_video_of_unknown_length_makes_the_total_unknown(self):
        count, one = FrameCount(), Video("one", num_frames=0).sequence
        count.update(one, 10, is_last=False)
        assert count.total is None
        count.update(one, 30, is_last=True)
        assert (count.done, count.total) == (30, 30)

    def test_estimate_is_mended_by_the_videos_that_have_ended(self):
        count = FrameCount(estimate=150)
        count.update(Video("one", num_frames=100).sequence, 90, is_last=False)
        assert count.total == 150
        count.update(Video("one", num_frames=100).sequence, 90, is_last=True)
        assert count.total == 140
        count.update(Video("two", num_frames=50).sequence, 70, is_last=True)
        assert (count.done, count.total) == (160, 160)
