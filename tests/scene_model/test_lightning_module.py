"""Training through Lightning: what is logged, what a checkpoint holds; precision and randomness change nothing."""

from contextlib import nullcontext
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from factories import random_targets
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from scene_model import SceneModelLightningModule
from scene_model.batch import SceneBatch, SequenceInfo
from scene_model.config import BackboneConfig, DecoderConfig, DenoiserConfig, EncoderConfig, SchedulerConfig
from scene_model.errors import UserError
from scene_model.training.head_adapter import COUNTS


def small_module(**options):
    torch.manual_seed(0)
    defaults = {
        "backbone": BackboneConfig(name="mobilenet_v3_small"),
        "encoder": EncoderConfig(channels=32, num_heads=2, feedforward=32),
        "decoder": DecoderConfig(num_queries=6, num_layers=2, num_heads=2, num_points=2, feedforward=32),
        "denoiser": DenoiserConfig(num_queries=8),
        "scheduler": SchedulerConfig(warmup_steps=2),
        "num_classes": 3,
        "class_names": ["a", "b", "c"],
    }
    return SceneModelLightningModule(**(defaults | options))


def batches(count=2, clips=2, frames=2):
    generator = torch.Generator().manual_seed(0)
    return [
        SceneBatch(
            frames=torch.randn(clips, frames, 3, 64, 64, generator=generator),
            targets=random_targets(clips, frames, seed=index),
            padding_mask=torch.zeros(clips, frames, dtype=torch.bool),
            sequences=[SequenceInfo("s", 4, 64, 64, 10.0)] * clips,
            frame_indices=torch.arange(frames).expand(clips, frames),
            seeds=torch.arange(clips) + 10 * index,
            is_last=[False] * clips,
            truths=[None] * clips,
        )
        for index in range(count)
    ]


def loader(items):
    return DataLoader(items, batch_size=None)


@pytest.fixture
def fit(tmp_path):
    def run(module, **options):
        defaults = {
            "max_epochs": 1,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "default_root_dir": tmp_path,
        }
        trainer = pl.Trainer(**(defaults | options))
        trainer.fit(module, loader(batches()), loader(batches(1)))
        return trainer

    return run


TERMS = {prefix + name for prefix in ("", "aux_", "enc_", "dn_") for name in ("exist", "l1", "giou", "cls")} | {"total"}


def test_every_term_and_score_is_logged_under_its_name(fit, tmp_path):
    logger = CSVLogger(tmp_path)
    fit(small_module(), logger=logger, log_every_n_steps=1)
    logged = set(logger.experiment.metrics_keys)
    expected = {f"{stage}/{term}" for stage in ("train", "val") for term in TERMS}
    expected |= {"val/idf1", "val/clip_idf1", "val/clip_idp"}
    assert expected <= logged
    assert not any(name.startswith(("train/num_", "val/num_")) or name.endswith(("_step", "_epoch")) for name in logged)


def test_a_module_built_in_python_loads_from_its_checkpoint(fit, tmp_path):
    module = small_module()
    trainer = fit(module)
    trainer.save_checkpoint(tmp_path / "python.ckpt")
    torch.load(tmp_path / "python.ckpt", weights_only=True)
    loaded = SceneModelLightningModule.load_from_checkpoint(tmp_path / "python.ckpt")
    assert loaded.class_names == ["a", "b", "c"]
    frames = torch.randn(1, 2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(frames)["exist_conf"], module.eval()(frames)["exist_conf"])


def test_validation_is_reproducible_with_its_denoising(fit, tmp_path):
    module = small_module()
    trainer = fit(module)
    options = {"verbose": False}
    first = trainer.validate(module, loader(batches(2)), **options)
    torch.manual_seed(99)
    assert trainer.validate(module, loader(batches(2)), **options) == first


def test_bf16_has_about_the_losses_of_float32():
    module, batch = small_module().eval(), batches(1)[0]
    _, exact = module.predict_and_compare(batch)
    with torch.autocast("cpu", torch.bfloat16):
        _, rounded = module.predict_and_compare(batch)
    for name, loss in exact.items():
        if name not in COUNTS:
            assert rounded[name].dtype == torch.float32
            torch.testing.assert_close(rounded[name], loss, rtol=0.05, atol=0.02)


def test_bf16_trains_with_losses_in_float32(fit):
    module = small_module()
    before = [p.detach().clone() for p in module.parameters()]
    trainer = fit(module, precision="bf16-mixed", gradient_clip_val=1.0)
    assert all(torch.isfinite(p).all() for p in module.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))
    assert trainer.callback_metrics["val/total"].dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        outputs = module.model(torch.randn(1, 2, 3, 64, 64))
    for name in ("bbox_center", "bbox_size", "exist_conf", "cls_logits"):
        assert outputs[name].dtype == torch.float32


def test_without_scheduler_the_rate_is_constant(fit):
    module = small_module(scheduler=None)
    trainer = fit(module, max_epochs=2)
    assert not trainer.lr_scheduler_configs
    assert {group["lr"] for group in trainer.optimizers[0].param_groups} == {module.optimizer_config.lr}


def test_the_schedule_runs_per_epoch_and_ends_at_its_minimum(fit):
    trainer = fit(small_module(scheduler=SchedulerConfig(min_ratio=0.25, warmup_steps=3)), max_epochs=3)
    lr = trainer.lightning_module.optimizer_config.lr
    assert trainer.lr_scheduler_configs[0].interval == "epoch"
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.25 * lr)


def test_mean_and_std_are_buffers_for_pictures_only():
    module = small_module(mean=(0.1, 0.2, 0.3))
    torch.testing.assert_close(module.mean, torch.tensor([0.1, 0.2, 0.3]))
    assert not any(name in module.state_dict() for name in ("mean", "std"))


@pytest.mark.slow
def test_compiled_training_gives_the_numbers_of_eager_training(fit):
    results = []
    for compiled in (False, True):
        module = small_module(compile=compiled)
        trainer = fit(module)
        results.append((module.state_dict(), trainer.callback_metrics["val/total"]))
    assert results[0][0].keys() == results[1][0].keys()
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("device", "mode", "is_refused"), [("cuda", True, True), ("cuda", "warn", False), ("cpu", True, False)]
)
def test_what_a_gpu_cannot_repeat_to_the_bit_is_said_before_the_first_step(device, mode, is_refused):
    trainer = SimpleNamespace(
        max_epochs=1, precision="32-true", strategy=SimpleNamespace(root_device=torch.device(device))
    )
    torch.use_deterministic_algorithms(True, warn_only=mode == "warn")
    try:
        with pytest.raises(UserError, match="warn makes all else") if is_refused else nullcontext():
            small_module().check(trainer)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_weights_of_another_precision_are_refused(fit, precision):
    with pytest.raises(UserError, match=f"expected 32-true, bf16-mixed, 16-mixed, got {precision}"):
        fit(small_module(), precision=precision)


def test_a_cosine_without_end_is_refused_from_python_too(fit):
    with pytest.raises(UserError, match=r"model\.scheduler: the cosine needs a trainer\.max_epochs"):
        fit(small_module(), max_epochs=-1, max_steps=3)
    fit(small_module(scheduler=None), max_epochs=-1, max_steps=3)
