import itertools
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader
from videos import damage, number_of, picture, write_images, write_sequence, write_video

from datamodules import MOTChallenge, SceneDataModule
from datamodules.clips import collate
from datamodules.footage import Footage
from datamodules.windows import WindowDataset, dealt
from scene_model.batch import SceneBatch, SequenceInfo
from scene_model.errors import UserError
from scene_model.placement import letterbox
from scene_model.tracking import window_starts

SIZE = (48, 64)


class Numbered(Footage):
    """Frames that know their number, but for the gaps; counts how many were read."""

    def __init__(self, num_frames, gaps=(), name="n", size=SIZE):
        super().__init__(name, SequenceInfo(name, 0, *size, 10.0))
        self.num_frames, self.gaps, self.num_read = num_frames, gaps, 0

    def read(self):
        for number in range(self.num_frames):
            self.num_read += 1
            shown = picture(number, (self.info.height, self.info.width))
            yield None if number in self.gaps else torch.from_numpy(shown).permute(2, 0, 1)


def windows(*footage, length=8, overlap=2, size=SIZE, **options):
    return WindowDataset(footage, length, overlap, size, **options)


def indices(clip):
    """The numbers of the frames that are no padding."""
    return clip.frame_indices[~clip.padding_mask].tolist()


@pytest.mark.parametrize("overlap", [0, 1, 2, 7])
@pytest.mark.parametrize("num_frames", [1, 2, 7, 8, 9, 13, 14, 15, 16, 20, 21, 50])
def test_windows_are_those_of_a_video_of_known_length(num_frames, overlap):
    clips = list(windows(Numbered(num_frames), overlap=overlap))
    starts = window_starts(num_frames, 8, overlap)
    assert [indices(clip) for clip in clips] == [list(range(start, min(start + 8, num_frames))) for start in starts]
    assert [clip.is_last for clip in clips] == [False] * (len(clips) - 1) + [True]


@pytest.mark.filterwarnings("ignore:.*cannot read")
@pytest.mark.parametrize("gaps", [{0}, {4}, {7, 8, 9}, {19}, {18, 19}, set(range(1, 20)), set(range(12, 20))])
def test_windows_are_made_of_the_frames_that_can_be_read(gaps):
    clips = list(windows(Numbered(20, gaps)))
    readable = [number for number in range(20) if number not in gaps]
    starts = window_starts(len(readable), 8, 2)
    assert [indices(clip) for clip in clips] == [readable[start : start + 8] for start in starts]
    assert [clip.is_last for clip in clips] == [False] * (len(clips) - 1) + [True]
    for clip in clips:
        shown = [number_of(frame) for frame in clip.originals]
        assert shown == indices(clip), "frames keep their numbers"


def test_a_video_without_a_readable_frame_is_left_out():
    with pytest.warns(UserWarning, match="none: cannot read 3 frames"):
        clips = list(windows(Numbered(3, range(3), "none"), Numbered(3, name="some")))
    assert [clip.sequence.name for clip in clips] == ["some"]


def test_a_padded_window():
    (clip,) = windows(Numbered(3), length=5)
    assert clip.frames.shape == (5, 3, *SIZE)
    assert clip.frames.dtype == torch.uint8
    assert clip.padding_mask.tolist() == [False] * 3 + [True] * 2
    assert clip.frame_indices.tolist() == [0, 1, 2, 2, 2]
    assert [number_of(frame) for frame in clip.frames] == [0, 1, 2, 2, 2]
    assert clip.originals.shape == (3, 3, *SIZE), "padding is left out"
    assert [len(target) for target in clip.targets] == [0] * 5
    assert clip.truth is None
    assert clip.sequence.name == "n"


def test_frames_are_letterboxed_and_originals_are_not():
    (clip,) = windows(Numbered(2, size=(96, 64)), length=2, size=(40, 80))
    originals = torch.stack([torch.from_numpy(picture(number, (96, 64))).permute(2, 0, 1) for number in (0, 1)])
    placement = letterbox((96, 64), (40, 80))
    assert torch.equal(clip.originals, originals)
    assert torch.equal(clip.frames, placement.frame(placement.cut(originals)))
    assert clip.frames.shape == (2, 3, 40, 80)
    assert clip.frames.is_contiguous()


def test_no_more_frames_are_read_than_a_window_and_one_ahead():
    footage = Numbered(200)
    for number, _ in enumerate(itertools.islice(windows(footage), 10)):
        assert footage.num_read == 8 + 6 * number + 1


@pytest.mark.parametrize("num_replicas", [1, 2, 3, 7])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_video_goes_to_one_worker_of_one_process(num_replicas, num_workers):
    videos = [Numbered(number, name=str(number)) for number in (3, 9, 20, 1, 14)]
    seen = {}
    for rank in range(num_replicas):
        dataset = windows(*dealt(videos, num_replicas, rank))
        found = {}
        for batch in DataLoader(dataset, batch_size=2, collate_fn=collate, num_workers=num_workers):
            for info, last, frames, mask in zip(
                batch.sequences, batch.is_last, batch.frame_indices, batch.padding_mask, strict=True
            ):
                found.setdefault(info.name, []).append((frames[~mask].tolist(), last))
        assert not set(found) & set(seen), "a video is not split"
        seen |= found
    for name, clips in seen.items():
        num_frames = int(name)
        starts = window_starts(num_frames, 8, 2)
        assert [frames for frames, _ in clips] == [list(range(s, min(s + 8, num_frames))) for s in starts], "in order"
        assert [last for _, last in clips] == [False] * (len(clips) - 1) + [True]
    assert set(seen) == {"3", "9", "20", "1", "14"}


def data(path, **options):
    defaults = {"predict_path": str(path), "image_size": (48, 64), "window_length": 4, "window_overlap": 1}
    return SceneDataModule(**(defaults | options))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_predict_dataloader(tmp_path, num_workers):
    write_video(tmp_path / "a.mp4", range(10))
    write_images(tmp_path / "b", ["1.png", "2.png"], (96, 128))
    write_sequence(tmp_path / "c", 5)
    datamodule = data(tmp_path, num_workers=num_workers, batch_size=2)
    datamodule.check("predict")
    found = {}
    for batch in datamodule.predict_dataloader():
        assert isinstance(batch, SceneBatch)
        assert batch.frames.dtype == torch.uint8
        assert len(batch.originals) == len(batch) <= 2
        assert batch.truths == [None] * len(batch)
        for info, frames, mask, originals in zip(
            batch.sequences, batch.frame_indices, batch.padding_mask, batch.originals, strict=True
        ):
            assert originals.shape == (int((~mask).sum()), 3, info.height, info.width)
            found.setdefault(info.name, []).append(frames[~mask].tolist())
    assert found == {
        "a": [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]],
        "b": [[0, 1]],
        "c": [[0, 1, 2, 3], [3, 4]],
    }


def on_process(datamodule, rank, num_replicas=2):
    """The data module as one of several processes has it."""
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    datamodule.trainer = SimpleNamespace(world_size=num_replicas, global_rank=rank, strategy=strategy)
    return datamodule


def test_processes_share_the_videos(tmp_path):
    for number, name in enumerate("abc", start=1):
        write_images(tmp_path / name, [f"{index}.png" for index in range(number)])
    shares = []
    for rank in range(2):
        datamodule = on_process(data(tmp_path), rank)
        shares.append([info.name for batch in datamodule.predict_dataloader() for info in batch.sequences])
        assert datamodule.num_predict_frames == sum("_abc".index(name) for name in shares[-1]), "those of this process"
        assert len(datamodule.predict_inputs) == 3, "those of all"
    assert sorted(itertools.chain(*shares)) == ["a", "b", "c"]
    assert all(shares)
    assert on_process(data(tmp_path), 3, num_replicas=4).num_predict_frames == 0


def test_what_predict_reads(tmp_path):
    write_video(tmp_path / "a.mp4", range(10))
    write_images(tmp_path / "b", ["1.png", "2.png"])
    write_sequence(tmp_path / "c", 5)
    datamodule = data(tmp_path)
    assert datamodule.num_predict_frames == 17
    assert datamodule.predict_inputs == [tmp_path / "a.mp4", tmp_path / "b", tmp_path / "c" / "img1"]
    write_video(tmp_path / "d.mjpeg", codec="mjpeg")
    assert data(tmp_path).num_predict_frames == 0, "nothing says how long that is"


def test_originals_only_where_they_are_wanted(tmp_path):
    path = write_images(tmp_path / "b", ["1.png", "2.png"])
    for wanted in (True, False):
        (batch,) = data(path, predict_originals=wanted).predict_dataloader()
        assert (batch.originals is not None) == wanted


def test_gaps_of_damaged_files(tmp_path):
    damage(write_video(tmp_path / "a.avi", range(10)), 2, 3)
    with pytest.warns(UserWarning, match=r"a\.avi: cannot read 2 frames"):
        batches = list(data(tmp_path, batch_size=1).predict_dataloader())
    assert [batch.frame_indices[0].tolist() for batch in batches] == [[0, 1, 4, 5], [5, 6, 7, 8], [8, 9, 9, 9]]


def test_check_looks_at_nothing_but_the_path(tmp_path):
    write_images(tmp_path / "images", ["1.png"])
    absent = {key: MOTChallenge("nowhere") for key in ("train", "val", "test")}
    datamodule = data(tmp_path / "images", **absent)
    datamodule.check("predict")
    assert datamodule.class_names == ["pedestrian"]
    data(tmp_path / "nowhere").check("validate")


@pytest.mark.parametrize("path", [None, "nowhere", "text.mp4", "."])
def test_errors_name_the_key(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"^data\.predict_path: \S.*video") as caught:
        SceneDataModule(predict_path=path).check("predict")
    assert "\n" not in str(caught.value)


class Recorder(pl.LightningModule):
    """Keeps the frames that it is given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def predict_step(self, batch, batch_idx):
        assert batch.frames.is_floating_point()
        self.seen += batch.frame_indices[~batch.padding_mask].tolist()
        return {}


def test_lightning_runs_on_it(tmp_path):
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer, module = pl.Trainer(accelerator="cpu", **options), Recorder()
    datamodule = data(write_video(tmp_path / "a.mp4", range(10)), batch_size=2, window_overlap=0)
    trainer.predict(module, datamodule, return_predictions=False)
    assert module.seen == list(range(10))
