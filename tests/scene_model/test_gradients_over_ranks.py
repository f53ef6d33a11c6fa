"""Two processes with two clips each have the gradients of one process with four."""

from dataclasses import replace

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
BOX = [0.5, 0.5, 0.2, 0.2]
PADDED = 1  # the clip of which the second frame is padding


def grouped_model():
    decoder = replace(small_config().decoder, num_groups=2)
    return small_model(extra_heads=HEADS, decoder=decoder).train()


def gradients(model, targets, frames, seeds):
    state = DinoDenoiser(DenoiserConfig(num_queries=8), 3).make_noise(targets, seeds)
    padding_mask = (seeds == PADDED)[:, None] & torch.tensor([False, True])
    adapter = HeadAdapter(small_config(extra_heads=HEADS))
    losses = adapter.compute_loss(model(frames, state, padding_mask), targets, padding_mask, state)
    losses["total"].backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def inputs(objects):
    torch.manual_seed(0)
    targets = {
        "some": lambda: random_targets(2, 2, seed=1, max_objects=1) + random_targets(2, 2, seed=2, max_objects=6),
        "ignored": lambda: [
            *random_targets(1, 2, seed=1),
            [frame_of([BOX], [1]), TargetFrame.empty()],
            [frame_of([BOX, [0.2, 0.2, 0.1, 0.1]], [1, 2], ignore=[True, False])] * 2,
            *random_targets(1, 2, seed=3),
        ],
        "one": lambda: [[frame_of([BOX], [1]), TargetFrame.empty()], *[[TargetFrame.empty()] * 2] * 3],
        "none": lambda: [[TargetFrame.empty()] * 2] * 4,
    }
    clips = targets[objects]()
    clips[PADDED][1] = TargetFrame.empty()
    return clips, torch.randn(4, 2, 3, 64, 64), torch.arange(4)


def _rank(rank, meeting_place, objects, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=meeting_place, rank=rank, world_size=2)
    targets, frames, seeds = inputs(objects)
    mine = slice(2 * rank, 2 * rank + 2)
    model = DistributedDataParallel(grouped_model())
    results[rank] = [g.numpy() for g in gradients(model, targets[mine], frames[mine], seeds[mine])]


@pytest.mark.slow
@pytest.mark.parametrize("objects", ["some", "ignored", "one", "none"])
def test_two_by_two_is_one_by_four(tmp_path, objects):
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        torch.multiprocessing.spawn(_rank, args=(f"file://{tmp_path}/meeting", objects, results), nprocs=2)
        ranks = [[torch.from_numpy(g) for g in results[rank]] for rank in range(2)]
    single = gradients(grouped_model(), *inputs(objects))
    for first, second, expected in zip(*ranks, single, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, expected, atol=1e-5, rtol=1e-4)
