import warnings
from dataclasses import fields
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from moving_rectangle import MovingRectangle
from PIL import Image
from torch.utils.data import SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from datamodules import MOTChallenge, SceneDataModule, SyntheticScenes
from datamodules.augmentation import Augmentation
from datamodules.normalisation import normalise
from datamodules.sampler import ClipSampler
from scene_model.batch import SceneBatch
from scene_model.errors import UserError


def data(**options):
    """Two training sequences of 5 and 3 clips, one of 2 and a half clips for validation."""
    defaults = {"train": MovingRectangle((20, 12)), "val": MovingRectangle((10,)), "image_size": (32, 40)}
    return SceneDataModule(**(defaults | options))


def same(one, other):
    """Whether two values, batches included, are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dataclass_fields__"):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return one == other


class Recorder(pl.LightningModule):
    """Learns nothing and keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen, self.validated = [], []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch)
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(datamodule, **options):
    """The module that has seen all batches, and the trainer."""
    options = {"max_epochs": 2, "num_sanity_val_steps": 0, "enable_checkpointing": False} | options
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, **options
    )
    module = Recorder()
    trainer.fit(module, datamodule)
    return module, trainer


def test_training_clips_are_augmented_and_shuffled_anew_in_each_epoch():
    module, trainer = fit(data(batch_size=4))
    assert [len(batch) for batch in module.seen] == [4, 4] * 2
    assert isinstance(trainer.train_dataloader.sampler, ClipSampler)
    draws = [seed for batch in module.seen for seed in batch.seeds.tolist()]
    assert len(set(draws)) == 16, "Lightning tells the sampler the epoch"
    assert not same(module.seen[0].frames, module.seen[2].frames)


def test_validation_clips_are_the_same_in_each_epoch():
    module, _ = fit(data(batch_size=2))
    first, second = module.validated[:2], module.validated[2:]
    assert same(first, second)
    shown = [batch.frame_indices[~batch.padding_mask].tolist() for batch in first]
    assert shown == [[*range(8)], [8, 9]]
    overlapping = data(val_overlap=2).val_dataloader().dataset
    assert [clip.frame_indices[0].item() for clip in overlapping] == [0, 2, 4, 6]


def windows_of(loader):
    """(sequence, frames, whether the sequence ends there) of each clip."""
    return [
        (info.name, frames[~mask].tolist(), last)
        for batch in loader
        for info, frames, mask, last in zip(
            batch.sequences, batch.frame_indices, batch.padding_mask, batch.is_last, strict=True
        )
    ]


EXPECTED_WINDOWS = [
    *[("s0", [0, 1, 2, 3, 4, 5], False), ("s0", [4, 5, 6, 7, 8, 9], True)],
    *[("s1", [0, 1, 2, 3, 4, 5], False), ("s1", [4, 5, 6], True)],
]


def test_whole_sequences_are_tested_in_windows():
    loader = data(test=MovingRectangle((10, 7)), window_length=6, batch_size=3).test_dataloader()
    assert windows_of(loader) == EXPECTED_WINDOWS
    truths = [truth for batch in loader for truth in batch.truths]
    assert [None if truth is None else len(truth.table) for truth in truths] == [None, 10, None, 7]


def test_whole_validation_sequences_on_request():
    clips, sequences = data(val=MovingRectangle((10, 7)), window_length=6, val_sequences=True).val_dataloader()
    assert windows_of(sequences) == EXPECTED_WINDOWS
    assert [frames[0] for _, frames, _ in windows_of(clips)] == [0, 4, 8, 0, 4]


def test_windows_are_clips_unless_told_and_always_advance():
    datamodule = data(clip_length=5)
    assert (datamodule.window_length, datamodule.window_overlap) == (5, 2)
    assert data(window_length=1).window_overlap == 0
    short = data(window_length=2, window_overlap=9).test_dataloader()
    assert [frames for _, frames, _ in windows_of(short)] == [[index, index + 1] for index in range(9)]


def test_processes_test_different_sequences():
    found = []
    for rank in range(2):
        datamodule = data(test=MovingRectangle((10, 7, 9)), batch_size=1)
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        datamodule.trainer = SimpleNamespace(world_size=2, global_rank=rank, strategy=strategy)
        found.append(windows_of(datamodule.test_dataloader()))
    assert len(found[0]) == len(found[1])
    names = [{name for name, frames, _ in share if frames} for share in found]
    assert names[0] | names[1] == {"s0", "s1", "s2"}
    assert not names[0] & names[1]
    assert sum(last for share in found for *_, last in share) == 3


def test_frames_are_bytes_from_the_loader_and_normalised_after_the_transfer():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 1.0)
    datamodule = data(mean=mean, std=std, augmentation=None, temporal_stride=(1, 1))
    module, _ = fit(datamodule, limit_train_batches=1, max_epochs=1)
    raw = next(iter(datamodule.train_dataloader()))
    assert isinstance(raw, SceneBatch)
    assert raw.frames.dtype == torch.uint8
    expected = (raw.frames / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(module.seen[0].frames, expected, atol=1e-5, rtol=0)
    again = datamodule.on_after_batch_transfer(module.seen[0], 0)
    torch.testing.assert_close(again.frames, expected, atol=1e-5, rtol=0)
    assert datamodule.on_after_batch_transfer("another batch", 0) == "another batch"


def test_normalise_keeps_the_frames_it_is_given():
    frames = torch.full((1, 3, 2, 2), 51, dtype=torch.uint8)
    assert normalise(frames, (0.2,) * 3, (0.5,) * 3).abs().max() < 1e-6
    assert (frames == 51).all()


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_do_not_depend_on_the_number_of_workers(shuffle):
    batches = []
    for num_workers in (0, 2):
        torch.manual_seed(num_workers)
        datamodule = data(num_workers=num_workers, batch_size=3)
        loader = datamodule.train_dataloader() if shuffle else datamodule.val_dataloader()
        assert loader.persistent_workers == (num_workers > 0)
        batches.append(list(loader))
    assert same(*batches)


@pytest.mark.slow
def test_loaders_leave_the_global_random_numbers_alone():
    datamodule = data()
    state = torch.get_rng_state()
    list(datamodule.train_dataloader()), list(datamodule.val_dataloader())
    assert torch.equal(torch.get_rng_state(), state)


def test_two_processes_of_two_clips_see_what_one_of_four_sees():
    def loader(rank, world_size, batch_size):
        datamodule = data(batch_size=batch_size)
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        datamodule.trainer = SimpleNamespace(world_size=world_size, global_rank=rank, strategy=strategy)
        return datamodule.train_dataloader()

    assert isinstance(loader(0, 2, 2).sampler, DistributedSampler), "which Lightning does not replace"
    single = list(loader(0, 1, 4))
    shares = zip(loader(0, 2, 2), loader(1, 2, 2), strict=True)
    for batch, (one, other) in zip(single, shares, strict=True):
        dealt = torch.stack([one.frames, other.frames], dim=1).flatten(0, 1)
        assert torch.equal(dealt, batch.frames)
        assert torch.stack([one.seeds, other.seeds], dim=1).flatten().tolist() == batch.seeds.tolist()
    two, alone = loader(1, 2, 2), loader(0, 1, 4)
    two.num_batches_seen = lambda: 1
    alone.load_state_dict(two.state_dict())
    rest = list(alone)
    assert len(rest) == len(single) - 1
    assert torch.equal(rest[0].frames, single[1].frames)


def test_pinned_memory_only_for_gpus():
    for device, pinned in (("cpu", False), ("cuda", True)):
        datamodule = data()
        strategy = SimpleNamespace(root_device=torch.device(device))
        datamodule.trainer = SimpleNamespace(world_size=1, global_rank=0, strategy=strategy)
        assert datamodule.train_dataloader().pin_memory == pinned


@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_overfitting_repeats_the_same_clips():
    module, trainer = fit(data(batch_size=2), overfit_batches=1, max_epochs=3)
    assert isinstance(trainer.train_dataloader.sampler, SequentialSampler)
    assert len(module.seen) == 3
    assert same(module.seen[0], module.seen[1])
    assert same(module.seen[0], module.seen[2])
    assert module.seen[0].seeds.unique().numel() == 2


def test_clips_per_epoch():
    module, _ = fit(data(batch_size=2, clips_per_epoch=20), max_epochs=1)
    assert sum(len(batch) for batch in module.seen) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "data.batch_size: expected at least 1, got 0"),
        ({"clip_length": 0}, "data.clip_length: expected at least 1, got 0"),
        ({"window_length": 0}, "data.window_length: expected at least 1, got 0"),
        ({"window_overlap": -1}, "data.window_overlap: expected at least 0, got -1"),
        ({"num_workers": -1}, "data.num_workers: expected at least 0, got -1"),
        ({"seed": -1}, "data.seed: expected at least 0, got -1"),
        ({"val_overlap": 4}, "data.val_overlap: expected 0 to data.clip_length - 1 = 3, got 4"),
        ({"val_overlap": -1}, "data.val_overlap"),
        ({"temporal_stride": (0, 1)}, r"data.temporal_stride: expected 1 <= least <= largest, got \[0, 1\]"),
        ({"temporal_stride": (3, 2)}, "data.temporal_stride"),
        ({"clips_per_epoch": 0}, "data.clips_per_epoch: expected at least 1, got 0"),
        ({"image_size": (31, 64)}, r"data.image_size: .* at least 32 pixels, got \[31, 64\]"),
        ({"mean": (123.7, 116.3, 103.5)}, r"data.mean: expected numbers in \[0, 1\], got \[123.7"),
        ({"std": (0.2, 0.0, 0.2)}, r"data.std: expected numbers in \(0, 1\], got \[0.2, 0.0, 0.2\]"),
        ({"std": (58.4, 57.1, 57.4)}, "data.std"),
        ({"val": "a/folder"}, "data.val: expected a Source, got 'a/folder'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        data(**options)


def test_defaults_are_built_in_scenes_that_differ():
    datamodule = SceneDataModule()
    datamodule.check("fit")
    assert datamodule.class_names == ["disk", "square", "triangle"]
    assert datamodule.num_classes == 3
    assert datamodule.test is datamodule.val
    assert not torch.equal(datamodule.train.frame(0, 0), datamodule.val.frame(0, 0))


def test_check_looks_at_the_sources_of_the_stage():
    datamodule = data(val=MOTChallenge("nowhere", classes=["square", "rectangle"]))
    with pytest.raises(UserError, match=r"data\.val: nowhere: expected a sequence folder"):
        datamodule.check("fit")
    with pytest.raises(UserError, match=r"data\.test: nowhere"):
        datamodule.check("test")
    missing_train = data(train=MOTChallenge(classes=["square", "rectangle"]))
    missing_train.check("validate")
    with pytest.raises(UserError, match=r"data\.train: MOTChallenge needs `root`"):
        missing_train.check("fit")


@pytest.mark.parametrize(("val", "shared"), [([1, 10], "1 to 6"), ([6, 10], "6 to 6"), ([7, 10], None)])
def test_frames_that_are_trained_and_validated_on_are_told(tmp_path, val, shared):
    for number in range(1, 11):
        image = tmp_path / "seq" / "img1" / f"{number:06}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 20)).save(image)
    (tmp_path / "seq" / "gt").mkdir()
    rows = [f"{number},1,10,5,20,10,1,1,1\n" for number in range(1, 11)]
    (tmp_path / "seq" / "gt" / "gt.txt").write_text("".join(rows))
    (tmp_path / "link").symlink_to(tmp_path)
    parts = {"train": MOTChallenge(str(tmp_path), (1, 6)), "val": MOTChallenge(str(tmp_path / "link"), tuple(val))}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data(**parts).check("fit")
    told = [str(warning.message) for warning in caught]
    assert told == [] if shared is None else f"data.val: seq: frames {shared} are trained on as well" in told[0]


def test_check_compares_classes_and_wants_sequences():
    expected = r"data\.val: has the classes \['disk', 'square'\], but data\.train has \['square', 'rectangle'\]"
    with pytest.raises(UserError, match=expected):
        data(val=SyntheticScenes(split="val", num_classes=2)).check("validate")
    with pytest.raises(UserError, match=r"data\.train: holds no sequences"):
        data(train=MovingRectangle(())).check("fit")


def test_checkpoints_of_python_runs_load_without_running_code(tmp_path):
    datamodule = data(augmentation=Augmentation(flip=0.25), batch_size=3)
    _, trainer = fit(datamodule, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["datamodule_hyper_parameters"]
    assert saved["train"] == {"class_path": "moving_rectangle.MovingRectangle"}
    assert saved["augmentation"] == Augmentation(flip=0.25)
    sources = {"train": datamodule.train, "val": datamodule.val}
    restored = SceneDataModule.load_from_checkpoint(tmp_path / "a.ckpt", **sources)
    assert restored.batch_size == 3
    with pytest.raises(UserError, match=r"data\.train: expected a Source"):
        SceneDataModule.load_from_checkpoint(tmp_path / "a.ckpt")
