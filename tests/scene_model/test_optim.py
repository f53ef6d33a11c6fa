import math

import pytest
import torch
from factories import small_model

from scene_model.config import OptimizerConfig, SchedulerConfig
from scene_model.training.optim import build_optimizer, cosine_schedule, follow_options, warmed_up


@pytest.fixture
def optimizer():
    model = small_model()
    return build_optimizer(model, model.backbone, OptimizerConfig(lr=1e-3, backbone_lr_ratio=0.1, weight_decay=0.05))


def test_every_parameter_is_in_one_group(optimizer):
    model = small_model()
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    found = {(round(group["lr"], 9), group["weight_decay"]) for group in optimizer.param_groups}
    assert found == {(1e-3, 0.05), (1e-3, 0.0), (1e-4, 0.05), (1e-4, 0.0)}
    for group in optimizer.param_groups:
        if group["weight_decay"]:
            assert all(p.ndim > 1 for p in group["params"])


def test_groups_follow_the_closed_form_whatever_the_warm_up_does(optimizer):
    schedule = cosine_schedule(optimizer, SchedulerConfig(min_ratio=0.1), max_epochs=4)
    start = [group["lr"] for group in optimizer.param_groups]
    for epoch in range(6):
        factor = 0.1 + 0.9 * (1 + math.cos(math.pi * min(epoch, 4) / 4)) / 2
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([lr * factor for lr in start])
        with warmed_up(optimizer, step=epoch, warmup_steps=8):
            inside = [group["lr"] for group in optimizer.param_groups]
            assert inside == pytest.approx([lr * factor * (epoch + 1) / 8 for lr in start])
        optimizer.step()
        schedule.step()


def test_the_spec_s_scheduler_agrees_for_a_single_rate():
    parameter = torch.nn.Parameter(torch.zeros(1))
    rates = []
    for ours in (True, False):
        adamw = torch.optim.AdamW([parameter], lr=1e-3)
        schedule = (
            cosine_schedule(adamw, SchedulerConfig(min_ratio=0.05), 10)
            if ours
            else torch.optim.lr_scheduler.CosineAnnealingLR(adamw, T_max=10, eta_min=1e-3 * 0.05)
        )
        run = []
        for _ in range(10):
            run.append(adamw.param_groups[0]["lr"])
            adamw.step()
            schedule.step()
        rates.append(run)
    assert rates[0] == pytest.approx(rates[1])


def test_a_restored_optimiser_follows_new_options(optimizer):
    model = small_model()
    saved = (optimizer.state_dict(), cosine_schedule(optimizer, SchedulerConfig(), 10).state_dict())
    fresh = build_optimizer(model, model.backbone, OptimizerConfig(lr=2e-5, weight_decay=0.3))
    resumed = build_optimizer(model, model.backbone, OptimizerConfig(lr=2e-5, weight_decay=0.3))
    schedule = cosine_schedule(resumed, SchedulerConfig(min_ratio=0.5), 10)
    resumed.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    follow_options(resumed, fresh, schedule)
    assert {group["lr"] for group in resumed.param_groups} == {2e-5}
    assert {group["weight_decay"] for group in resumed.param_groups} == {0.0, 0.3}
    for _ in range(10):
        resumed.step()
        schedule.step()
    assert resumed.param_groups[0]["lr"] == pytest.approx(1e-5)


def test_no_warm_up(optimizer):
    with warmed_up(optimizer, step=0, warmup_steps=0):
        assert optimizer.param_groups[0]["lr"] in (1e-3, pytest.approx(1e-4))


def test_unfused_leaves_the_choice_to_torch():
    """Which updates many parameters at once on a GPU; False would have it update one by one."""
    model = small_model()
    optimizer = build_optimizer(model, model.backbone, OptimizerConfig(), fused=False)
    assert {group["fused"] for group in optimizer.param_groups} == {None}
