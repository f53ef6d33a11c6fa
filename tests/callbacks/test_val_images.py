"""Pictures from a foreign module's validation."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from PIL import Image, ImageDraw
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader
from track_cases import ServiceLogger

from callbacks import ValImageLogger, val_images
from callbacks.drawing import GREY, draw_boxes, identity_color, to_uint8, write_label
from scene_model.batch import SceneBatch, SequenceInfo, TargetFrame

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
NUM_QUERIES = 12


def make_scene(num_clips=2, num_frames=4, size=(96, 128)):
    """Two squares that move to the right over a grey ground; their boxes are the truth."""
    frames = torch.full((num_clips, num_frames, 3, *size), 0.3)
    targets = []
    for clip in range(num_clips):
        targets.append([])
        for t in range(num_frames):
            boxes = torch.tensor([[0.2 + 0.15 * t, 0.3, 0.2, 0.25], [0.3 + 0.1 * t, 0.7, 0.15, 0.2]])
            for i, (cx, cy, w, h) in enumerate(boxes.tolist()):
                rows = slice(round((cy - h / 2) * size[0]), round((cy + h / 2) * size[0]))
                columns = slice(round((cx - w / 2) * size[1]), round((cx + w / 2) * size[1]))
                frames[clip, t, i, rows, columns] = 0.9
            targets[clip].append(
                TargetFrame(boxes, torch.tensor([0, 1]), torch.tensor([7, 8]), torch.tensor([False, clip == 1]))
            )
    return SceneBatch(
        frames=(frames - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1),
        targets=targets,
        padding_mask=torch.zeros(num_clips, num_frames, dtype=torch.bool),
        sequences=[SequenceInfo(f"sequence-{clip}", num_frames, *size, fps=25) for clip in range(num_clips)],
        frame_indices=torch.arange(num_frames).repeat(num_clips, 1),
        seeds=torch.arange(num_clips),
        is_last=[True] * num_clips,
        truths=[None] * num_clips,
    )


def make_outputs(batch, confident=True):
    """Two queries follow the truth; the others are unsure boxes somewhere."""
    num_clips, num_frames = batch.padding_mask.shape
    boxes = torch.rand(num_clips, num_frames, NUM_QUERIES, 4, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.2
    boxes[:, :, :2] = torch.stack([torch.stack([target.boxes for target in clip]) for clip in batch.targets]) + 0.01
    confidence = torch.full((num_clips, num_frames, NUM_QUERIES, 1), 0.1)
    confidence[:, :, :2] = 0.9 if confident else 0.2
    logits = torch.zeros(num_clips, num_frames, NUM_QUERIES, 2)
    logits[:, :, 1, 1] = 1
    return {"bbox_center": boxes[..., :2], "bbox_size": boxes[..., 2:], "exist_conf": confidence, "cls_logits": logits}


class Detector(LightningModule):
    def __init__(self, confident=True):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.register_buffer("mean", MEAN)
        self.register_buffer("std", STD)
        self.class_names = ["circle", "square"]
        self.confident = confident

    def training_step(self, batch, batch_idx):
        return self.layer(torch.ones(1)).sum()

    def validation_step(self, batch, batch_idx):
        return {"loss": torch.zeros(()), **make_outputs(batch, self.confident)}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(batches=2):
    return DataLoader([make_scene() for _ in range(batches)], batch_size=None)


def make_trainer(tmp_path, callback, **kwargs):
    options = {"max_epochs": 2, "logger": False, "enable_checkpointing": False, "num_sanity_val_steps": 1}
    return Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        callbacks=[callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        **(options | kwargs),
    )


def count_color(picture, color):
    return int((picture == torch.tensor(color, dtype=torch.uint8).view(3, 1, 1)).all(0).sum())


def test_writes_one_file_per_validation_run_without_a_logger(tmp_path):
    make_trainer(tmp_path, ValImageLogger()).fit(Detector(), loader(), loader())
    names = sorted(path.name for path in (tmp_path / "val_images").iterdir())
    assert names == ["epoch000_step000002.png", "epoch001_step000004.png"]
    width, height = Image.open(tmp_path / "val_images" / names[0]).size
    assert 4 * 320 < width < 4 * 330
    assert 4 * 240 < height < 4 * 250


def test_logs_to_every_logger_that_takes_pictures(tmp_path):
    class WandbLike(Logger):
        name, version, logged = "wandb", "0", ()

        def log_metrics(self, metrics, step=None): ...

        def log_hyperparams(self, params): ...

        def log_image(self, key, images, step=None):
            self.logged += ((key, images[0].shape[-1], step),)

    tensorboard, wandb = TensorBoardLogger(tmp_path, name=""), WandbLike()
    trainer = make_trainer(tmp_path, ValImageLogger(), logger=[CSVLogger(tmp_path / "csv"), tensorboard, wandb])
    trainer.fit(Detector(), loader(), loader())
    assert wandb.logged == (("val/bbox_predictions", 3, 2), ("val/bbox_predictions", 3, 4))
    events = EventAccumulator(tensorboard.log_dir)
    events.Reload()
    assert [event.step for event in events.Images("val/bbox_predictions")] == [2, 4]
    assert not list(tmp_path.rglob("val_images"))


def test_file_goes_to_the_folder_of_a_logger_without_pictures(tmp_path):
    logger = CSVLogger(tmp_path, name="run")
    make_trainer(tmp_path, ValImageLogger(), logger=logger).validate(Detector(), loader(), verbose=False)
    assert [path.name for path in (Path(logger.log_dir) / "val_images").iterdir()] == ["epoch000_step000000.png"]


def test_the_folder_of_a_service_is_not_the_runs(tmp_path, monkeypatch):
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    make_trainer(tmp_path / "run", ValImageLogger(), logger=ServiceLogger()).validate(
        Detector(), loader(), verbose=False
    )
    assert [path.name for path in (tmp_path / "run" / "val_images").iterdir()] == ["epoch000_step000000.png"]
    assert not list((tmp_path / "current").iterdir())


def test_fast_dev_run_leaves_nothing_behind(tmp_path):
    make_trainer(tmp_path, ValImageLogger(), fast_dev_run=True).fit(Detector(), loader(), loader())
    assert not list(tmp_path.iterdir())


def test_draws_what_reaches_the_threshold():
    batch = make_scene()
    picture = ValImageLogger().picture(Detector(), make_outputs(batch), batch)
    assert all(count_color(picture, identity_color(query)) for query in (0, 1))
    assert not any(count_color(picture, identity_color(query)) for query in range(2, 7))
    assert all(count_color(picture, color) for color in (identity_color(7), identity_color(8), GREY))


@pytest.mark.parametrize("max_boxes", [2, 5, 100])
def test_draws_the_best_boxes_where_none_reaches_the_threshold(max_boxes):
    batch = make_scene(num_clips=1, num_frames=1)
    batch.targets = [[TargetFrame.empty()]]
    outputs = make_outputs(make_scene(num_clips=1, num_frames=1), confident=False)
    picture = ValImageLogger(max_boxes=max_boxes).picture(Detector(), outputs, batch)
    drawn = [query for query in range(NUM_QUERIES) if count_color(picture, identity_color(query))]
    assert len(drawn) == min(max_boxes, NUM_QUERIES)
    assert drawn[:2] == [0, 1]


@pytest.mark.parametrize(("max_frames", "columns", "rows"), [(8, 4, 4), (6, 4, 4), (4, 4, 2), (3, 3, 2), (1, 1, 2)])
def test_bounds_the_number_of_frames(max_frames, columns, rows):
    batch = make_scene()
    picture = ValImageLogger(max_frames=max_frames).picture(Detector(), make_outputs(batch), batch)
    assert picture.shape == (3, rows * 242 + 2, columns * 322 + 2)


@pytest.mark.parametrize("first", [1, 596])
def test_frames_are_called_as_in_their_sequence(monkeypatch, first):
    captions = []
    drawing = val_images.draw_boxes
    monkeypatch.setattr(
        val_images, "draw_boxes", lambda *a, caption, **k: captions.append(caption) or drawing(*a, caption=caption, **k)
    )
    batch = make_scene(num_clips=1, num_frames=2)
    batch.frame_indices[:] = torch.tensor([[0, 3]])
    batch.sequences = [replace(info, first_frame=first) for info in batch.sequences]
    ValImageLogger().picture(Detector(), make_outputs(batch), batch)
    assert captions[:2] == [f"truth, frame {first}", f"truth, frame {first + 3}"]


def test_skips_padding():
    batch = make_scene()
    batch.padding_mask[0, 2:] = True
    picture = ValImageLogger().picture(Detector(), make_outputs(batch), batch)
    assert picture[:, 2:242, 2 * 322 + 2 :].eq(255).all()
    batch.padding_mask[:] = True
    assert ValImageLogger().picture(Detector(), make_outputs(batch), batch) is None


@pytest.mark.parametrize("key", ["bbox_center", "bbox_size", "exist_conf", "cls_logits"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3.0])
def test_survives_numbers_that_make_no_sense(key, value):
    batch = make_scene(num_clips=1, num_frames=2)
    outputs = make_outputs(batch)
    outputs[key] = torch.full_like(outputs[key], value)
    batch.frames[0, 0] = value
    assert ValImageLogger().picture(Detector(), outputs, batch) is not None


def test_needs_neither_statistics_nor_class_names():
    class Plain(LightningModule):
        pass

    batch = make_scene(num_clips=1)
    assert ValImageLogger().picture(Plain(), make_outputs(batch), batch) is not None


def test_denormalisation_gives_the_pixels_back():
    pixels = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    normalised = (pixels / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    assert to_uint8(normalised, MEAN, STD).equal(pixels)
    assert to_uint8(pixels / 255).equal(pixels)


def test_box_edges_lie_where_the_box_is():
    frame = torch.zeros(3, 100, 200, dtype=torch.uint8)
    picture = draw_boxes(frame, torch.tensor([[0.5, 0.5, 0.5, 0.4]]), colors=[(255, 0, 0)], width=1)
    rows, columns = picture[0].nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 70, 50, 150)
    assert not frame.any()


@pytest.mark.parametrize(("left", "bottom"), [(190, 50), (500, 50), (-30, 50), (50, 0), (50, -20), (50, 300)])
def test_labels_stay_within_the_frame(left, bottom):
    def drawn(*place):
        image = Image.new("RGB", (200, 100))
        write_label(ImageDraw.Draw(image), *place, "7 square", (255, 0, 0))
        return image.convert("L").point(bool).getbbox()

    (left, top, right, bottom), wanted = drawn(left, bottom), drawn(50, 50)
    assert (right - left, bottom - top) == (wanted[2] - wanted[0], wanted[3] - wanted[1])


def test_neighbouring_identities_have_distant_colors():
    colors = torch.tensor([identity_color(identity) for identity in range(300)])
    distances = (colors[1:] - colors[:-1]).abs().sum(-1)
    assert distances.min() > 150
    assert len({identity_color(identity) for identity in range(100)}) == 100
