import copy

import pytest
import torch
from factories import small_model

from scene_model.config import OptimizerConfig, SchedulerConfig
from scene_model.errors import UserError
from scene_model.training.muon import MuonAdamW, orthogonalised
from scene_model.training.optim import build_optimizer, cosine_schedule, follow_options

SHAPES = [(48, 48), (40, 96), (96, 40)]


def parameters(seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]


def optimiser(matrices, vectors=(), fused=False, **options):
    groups = [{"params": matrices, "muon": True}, {"params": list(vectors), "muon": False}]
    return MuonAdamW([group for group in groups if group["params"]], fused=fused, **options)


def set_gradients(parameters, step):
    draw = torch.Generator().manual_seed(100 + step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=draw)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_singular_values_become_about_one_and_singular_vectors_stay(shape, size):
    matrices = size * torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalised(matrices)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    found = left.mT @ result @ right.mT
    large = values > 0.02 * values.max()
    assert ((found.diagonal(dim1=1, dim2=2) > 0.6) & (found.diagonal(dim1=1, dim2=2) < 1.3))[large].all()
    assert (found - torch.diag_embed(found.diagonal(dim1=1, dim2=2))).abs().max() < 1e-3


def test_no_gradient_moves_nothing():
    assert (orthogonalised(torch.zeros(1, 40, 48)) == 0).all()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
def test_matrices_move_as_torch_s_muon_moves_them():
    ours, theirs = parameters(), parameters()
    options = {"lr": 0.01, "weight_decay": 0.1}
    muon = torch.optim.Muon(theirs, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw", **options)
    optimizer = optimiser(ours, **options)
    before = copy.deepcopy(ours)
    for step in range(4):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        optimizer.step()
        muon.step()
    for mine, other, start in zip(ours, theirs, before, strict=True):
        moved = (other - start).norm()
        assert (mine - other).norm() < 0.03 * moved  # torch computes in bfloat16
        assert moved > 0.1


def test_an_update_is_as_large_as_adamw_s():
    matrices = parameters()
    before = copy.deepcopy(matrices)
    set_gradients(matrices, 0)
    optimiser(matrices, lr=1.0, weight_decay=0.0).step()
    for after, start in zip(matrices, before, strict=True):
        assert float((after - start).detach().square().mean().sqrt()) == pytest.approx(0.2, rel=0.3)


def test_the_other_groups_are_adamw_s():
    ours, theirs = [[torch.nn.Parameter(torch.ones(8)), torch.nn.Parameter(torch.ones(3, 4))] for _ in range(2)]
    matrices = parameters()
    optimizer = optimiser(matrices, ours, lr=0.01)
    adamw = torch.optim.AdamW(theirs, lr=0.01)
    for step in range(3):
        for some in (ours, theirs, matrices):
            set_gradients(some, step)
        optimizer.step()
        adamw.step()
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))


def test_a_kernel_counts_as_a_matrix_with_a_row_per_output():
    kernel = torch.nn.Parameter(torch.zeros(32, 8, 3, 3))
    matrix = torch.nn.Parameter(torch.zeros(32, 72))
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    matrix.grad = kernel.grad.flatten(1)
    optimiser([kernel, matrix], lr=0.1).step()
    assert torch.allclose(kernel.flatten(1), matrix)


def test_frozen_matrices_stay():
    frozen, trained = parameters()[:2]
    before = frozen.detach().clone()
    trained.grad = torch.ones_like(trained)
    optimizer = optimiser([frozen, trained], lr=0.1, weight_decay=0.1)
    optimizer.step()
    assert torch.equal(frozen, before)
    assert frozen not in optimizer.state


def test_a_closure_is_evaluated_with_gradients():
    [matrix] = parameters()[:1]
    optimizer = optimiser([matrix], lr=0.1)

    def closure():
        loss = matrix.square().sum()
        loss.backward()
        return loss

    before = matrix.detach().square().sum()
    assert optimizer.step(closure) == before
    assert matrix.detach().square().sum() < before


@pytest.mark.parametrize("good_steps", [0, 1])
def test_a_bad_step_changes_nothing(good_steps):
    weights = [*parameters(), torch.nn.Parameter(torch.ones(8))]
    optimizer = optimiser(weights[:-1], weights[-1:], fused=True, lr=0.01)

    def known():
        return [*weights, *(v for p in weights for v in optimizer.state[p].values())]

    for step in range(good_steps):
        set_gradients(weights, step)
        optimizer.step()
    before = copy.deepcopy(known())
    for parameter in weights:
        parameter.grad = torch.full_like(parameter, torch.nan)
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, known(), strict=False))
    assert all(not value.any() for value in known()[len(before) :])
    set_gradients(weights, 1)
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    assert all((a != b).any() for a, b in zip(before, weights, strict=False))


def test_a_restored_optimiser_goes_on_alike():
    runs = [parameters(), parameters()]
    whole, first = (optimiser(matrices, lr=0.01) for matrices in runs)
    for step in range(2):
        for matrices, optimizer in zip(runs, (whole, first), strict=True):
            set_gradients(matrices, step)
            optimizer.step()
    second = optimiser(runs[1], lr=0.01)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for matrices, optimizer in zip(runs, (whole, second), strict=True):
        set_gradients(matrices, 2)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def groups_of(ratio):
    model = small_model()
    optimizer = build_optimizer(model, model.backbone, OptimizerConfig(lr=1e-3, muon_lr_ratio=ratio))
    return model, optimizer


def test_muon_moves_large_matrices_outside_the_backbone():
    model, optimizer = groups_of(0.5)
    [group] = [group for group in optimizer.param_groups if group["muon"]]
    assert group["lr"] == pytest.approx(0.5e-3)
    names = {name for name, p in model.named_parameters() if any(p is q for q in group["params"])}
    assert "content.0.weight" in names
    assert not any("backbone" in name or "bias" in name or "norm" in name for name in names)
    assert not any(name in names for name in ("proposals.exist.weight", "denoising_content.weight"))


def groups_of_matrices(model):
    optimizer = build_optimizer(model, model.backbone, OptimizerConfig())
    return [group for group in optimizer.param_groups if group["muon"]]


@pytest.mark.parametrize(("before", "after"), [(1.0, None), (None, 1.0), (1.0, 0.5)])
def test_a_resumed_run_may_change_between_muon_and_adamw(before, after):
    model, optimizer = groups_of(before)
    set_gradients(model.parameters(), 0)
    optimizer.step()
    resumed = build_optimizer(model, model.backbone, OptimizerConfig(lr=1e-3, muon_lr_ratio=after))
    fresh = build_optimizer(model, model.backbone, OptimizerConfig(lr=1e-3, muon_lr_ratio=after))
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    schedule = cosine_schedule(resumed, SchedulerConfig(), 10)
    follow_options(resumed, fresh, schedule)
    switches = (before is None) != (after is None)
    kept = [q for q in model.parameters() if any(q is p for p in resumed.state)]
    forgotten = [p for group in optimizer.param_groups for p in group["params"] if not any(p is q for q in kept)]
    is_matrix = [id(p) for group in groups_of_matrices(model) for p in group["params"]]
    assert {id(p) for p in forgotten} == (set(is_matrix) if switches else set())
    set_gradients(model.parameters(), 1)
    resumed.step()
    for group in resumed.param_groups:
        for parameter in group["params"]:
            assert ("momentum" in resumed.state[parameter]) == group["muon"]
            assert parameter.isfinite().all()


def test_the_state_of_an_optimiser_with_other_groups_is_refused_in_a_sentence():
    model, optimizer = groups_of(1.0)
    saved = torch.optim.AdamW(model.parameters()).state_dict()
    with pytest.raises(UserError, match="another version of SceneModel"):
        optimizer.load_state_dict(saved)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_may_have_another_precision(dtype):
    matrices = [torch.nn.Parameter(p.detach().to(dtype)) for p in parameters()]
    before = copy.deepcopy(matrices)
    for parameter in matrices:
        parameter.grad = torch.ones_like(parameter)
    optimiser(matrices, lr=0.1).step()
    for parameter, start in zip(matrices, before, strict=True):
        assert parameter.dtype == dtype
        assert parameter.isfinite().all()
        assert (parameter != start).any()
