"""Two processes with two clips each have the gradients of one process with four."""

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from factories import frame_of, random_targets, small_config, small_model
from torch.nn.parallel import DistributedDataParallel

from scene_model import IdentityHead
from scene_model.batch import TargetFrame
from scene_model.config import DenoiserConfig
from scene_model.training.denoiser import DinoDenoiser
from scene_model.training.head_adapter import HeadAdapter

HEADS = (IdentityHead(width=8),)


def gradients(model, targets, frames, seeds):
    state = DinoDenoiser(DenoiserConfig(num_queries=8), 3).make_noise(targets, seeds)
    padding_mask = torch.zeros(frames.shape[:2], dtype=torch.bool)
    adapter = HeadAdapter(small_config(extra_heads=HEADS))
    losses = adapter.compute_loss(model(frames, state, padding_mask), targets, padding_mask, state)
    losses["total"].backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def inputs(objects):
    torch.manual_seed(0)
    targets = {
        "some": lambda: random_targets(2, 2, seed=1, max_objects=1) + random_targets(2, 2, seed=2, max_objects=6),
        "one": lambda: [[frame_of([[0.5, 0.5, 0.2, 0.2]], [1]), TargetFrame.empty()], *[[TargetFrame.empty()] * 2] * 3],
        "none": lambda: [[TargetFrame.empty()] * 2] * 4,
    }
    return targets[objects](), torch.randn(4, 2, 3, 64, 64), torch.arange(4)


def _rank(rank, meeting_place, objects, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=meeting_place, rank=rank, world_size=2)
    targets, frames, seeds = inputs(objects)
    mine = slice(2 * rank, 2 * rank + 2)
    model = DistributedDataParallel(small_model(extra_heads=HEADS))
    results[rank] = [g.numpy() for g in gradients(model, targets[mine], frames[mine], seeds[mine])]


@pytest.mark.slow
@pytest.mark.parametrize("objects", ["some", "one", "none"])
def test_two_by_two_is_one_by_four(tmp_path, objects):
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        torch.multiprocessing.spawn(_rank, args=(f"file://{tmp_path}/meeting", objects, results), nprocs=2)
        ranks = [[torch.from_numpy(g) for g in results[rank]] for rank in range(2)]
    single = gradients(small_model(extra_heads=HEADS), *inputs(objects))
    for first, second, expected in zip(*ranks, single, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, expected, atol=1e-5, rtol=1e-4)
