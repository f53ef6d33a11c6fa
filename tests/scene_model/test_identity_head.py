"""Embeddings by which objects are known again: who is told from whom, when, and what linking takes."""

import subprocess
import sys
from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch
from factories import frame_of, random_targets, small_config
from torch import nn

from scene_model import Head, IdentityHead, SceneBatch, SceneModelLightningModule, SequenceInfo
from scene_model.config import BackboneConfig
from scene_model.errors import UserError
from scene_model.identity_head import IdentityEmbedding, _proxy_of, stripe_colours
from scene_model.network.model import build_scene_model
from scene_model.tracking import Window
from scene_model.training.head_adapter import HeadAdapter
from scene_model.training.targets import QueryTargets

HEAD = IdentityHead(width=8, num_proxies=64)


def model_with_head():
    torch.manual_seed(0)
    return build_scene_model(small_config(extra_heads=(HEAD,)))


def queries(track_ids, present):
    """Targets of one clip [1, T, Q] whose query q has the object q."""
    present = torch.tensor(present)[None]
    ids = torch.tensor([track_ids])
    boxes = torch.full((*present.shape, 4), 0.5)
    return QueryTargets(boxes, torch.zeros_like(ids), ids, present, present, torch.arange(len(track_ids))[None])


def painted(looks):
    """A frame [1, T, 3, H, W] that has four boxes side by side, with the colours [T, 4, S, 3] from top to bottom."""
    num_frames, count, stripes, _ = looks.shape
    pixels = looks.permute(0, 3, 2, 1).repeat_interleave(32 // stripes, 2).repeat_interleave(64 // count, 3)
    centers = torch.stack([(torch.arange(count) + 0.5) / count, torch.full((count,), 0.5)], dim=-1)
    boxes = torch.cat([centers, torch.tensor([[1 / count, 1.0]]).expand(count, 2)], dim=-1)
    return pixels[None], boxes.expand(1, num_frames, count, 4)


def test_stripes_have_the_colours_of_the_box():
    looks = torch.rand(2, 4, 8, 3)
    frames, boxes = painted(looks)
    colours = stripe_colours(frames, boxes, 8)
    torch.testing.assert_close(colours[0], looks.transpose(2, 3).flatten(2), atol=0.13, rtol=0)  # edges are blurred
    wider = torch.cat([boxes[..., :2], boxes[..., 2:] * torch.tensor([1.2, 1.0])], dim=-1)
    torch.testing.assert_close(stripe_colours(frames, wider, 8), colours)  # the sides do not count
    assert stripe_colours(frames, boxes + torch.tensor([2.0, 0, 0, 0]), 8).eq(0).all(), (
        "nothing is outside of the frame"
    )
    assert stripe_colours(frames, boxes[:, :, :0], 8).shape == (1, 2, 0, 24)


def test_looks_are_learnt_across_clips():
    torch.manual_seed(0)
    network = IdentityEmbedding(8, 8, 64, HEAD.scale)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    looks = torch.randn(6, 8, 3)

    def seen(order):
        frames, boxes = painted(looks[order].expand(3, -1, -1, -1) + 0.3 * torch.randn(3, len(order), 8, 3))
        return network(torch.zeros(0), boxes, frames)

    for _ in range(60):
        order = torch.randperm(6)[:2]  # a clip never shows more than two of the six
        loss = HEAD.loss(seen(order), queries((order + 40).tolist(), [[True, True]] * 3))["identity"].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    embeddings = torch.cat([seen(torch.arange(first, first + 2))["identity_embeddings"][0] for first in (0, 2, 4)], 1)
    likeness = torch.einsum("tqe,spe->tsqp", embeddings, embeddings)
    same = torch.eye(6, dtype=torch.bool)
    assert likeness[..., same].min() > likeness[..., ~same].max()


def test_an_object_counts_where_it_is_present():
    network = IdentityEmbedding(8, 8, 64, HEAD.scale)
    frames, boxes = painted(torch.randn(2, 2, 8, 3))
    predictions = network(torch.zeros(0), boxes, frames)
    both = HEAD.loss(predictions, queries([3, 4], [[True, True], [True, True]]))["identity"]
    parts = [
        HEAD.loss(predictions, queries([3, 4], present))["identity"]
        for present in ([[True, False], [False, True]], [[False, True], [True, False]])
    ]
    nobody = HEAD.loss(predictions, queries([3, 4], [[False, False]] * 2))["identity"]
    torch.testing.assert_close(both, sum(parts))
    assert nobody == 0
    nobody.sum().backward()
    assert network.proxies.weight.grad is not None, "a rank without objects has the same graph"


def test_training_has_the_term_and_validation_has_not():
    model, targets = model_with_head(), random_targets(2, 2)
    adapter, padding = HeadAdapter(small_config(extra_heads=(HEAD,))), torch.zeros(2, 2, dtype=torch.bool)
    frames = torch.randn(2, 2, 3, 64, 64)
    losses = adapter.compute_loss(model.train()(frames), targets, padding)
    assert losses["identity"] > 0
    losses["identity"].backward()
    assert model.extra_heads[0].proxies.weight.grad.abs().sum() > 0
    outputs = model.eval()(frames)
    assert "identity_logits" not in outputs
    assert "identity" not in adapter.compute_loss(outputs, targets, padding)
    lengths = outputs["identity_embeddings"].norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_identities_share_proxies_evenly():
    counts = torch.bincount(_proxy_of(torch.arange(6400) + (17 << 32), 64), minlength=64)
    assert counts.min() > 50
    assert counts.max() < 150


def batch_of(*names):
    """A clip of each named sequence, with one object that has the same number in all of them."""
    count = len(names)
    return SceneBatch(
        frames=torch.zeros(count, 1, 3, 64, 64),
        targets=[[frame_of([[0.5, 0.5, 0.1, 0.1]], [7])]] * count,
        padding_mask=torch.zeros(count, 1, dtype=torch.bool),
        sequences=[SequenceInfo(name, 1, 64, 64, 30.0) for name in names],
        frame_indices=torch.zeros(count, 1, dtype=torch.int64),
        seeds=torch.arange(count),
        is_last=[True] * count,
        truths=[None] * count,
    )


def test_identities_of_two_sequences_differ():
    batch = batch_of("A", "B", "A")
    first, second, third = (frames[0].track_ids.item() for frames in batch.targets_of_all_sequences())
    assert first == third != second
    assert batch.targets[0][0].track_ids.item() == 7, "the annotations stay as they are"


def test_clips_that_share_frames_have_the_same_embeddings():
    model, frames = model_with_head().eval(), torch.randn(3, 3, 64, 64)
    frame_of = torch.tensor([[0, 1], [1, 2]])
    expected = model(frames[frame_of])["identity_embeddings"]
    torch.testing.assert_close(model(frames, frame_of=frame_of)["identity_embeddings"], expected)


def test_linking_takes_the_embeddings_of_the_head():
    outputs = model_with_head().eval()(torch.randn(1, 2, 3, 64, 64))
    window = Window.of_outputs(outputs, torch.arange(2)[None])[0]
    torch.testing.assert_close(torch.from_numpy(window.embeddings), outputs["identity_embeddings"][0].detach())
    del outputs["identity_embeddings"]
    assert Window.of_outputs(outputs, torch.arange(2)[None])[0].embeddings.shape[-1] == 32


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("option", ["stripes", "width", "num_proxies", "weight", "scale"])
def test_impossible_numbers_are_refused(option, value):
    with pytest.raises(UserError, match=rf"IdentityHead\.{option}: expected"):
        replace(HEAD, **{option: value})


def test_half_precision_does_not_reach_the_colours():
    network = IdentityEmbedding(8, 8, 64, HEAD.scale)
    frames, boxes = painted(torch.randn(2, 2, 8, 3))
    expected = network(torch.zeros(0), boxes, frames)
    with torch.autocast("cpu", torch.bfloat16):
        predictions = network(torch.zeros(0), boxes, frames)
    for name, values in expected.items():
        torch.testing.assert_close(predictions[name], values, atol=0, rtol=0)


class SeenIdentities(Head):
    """Keeps the identities that its loss is given."""

    def build(self, channels, num_classes):
        return NoPredictions()

    def loss(self, predictions, targets):
        self.track_ids = targets.track_ids
        return {}


class NoPredictions(nn.Module):
    def forward(self, hidden, boxes, frames):
        return {}


def test_heads_are_given_the_identities_of_all_sequences():
    head = SeenIdentities()
    module = SceneModelLightningModule(**vars(small_config()) | {"extra_heads": [head]})
    module.predict_and_compare(batch_of("A", "B", "A"))
    first, second, third = head.track_ids.amax(1).tolist()
    assert first == third != second


def test_a_checkpoint_loads_where_nothing_but_the_module_was_imported(tmp_path):
    module = SceneModelLightningModule(backbone=BackboneConfig(name="mobilenet_v3_small"), extra_heads=[HEAD])
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "module.ckpt")
    program = (
        "from scene_model.lightning_module import SceneModelLightningModule as M; "
        "print(M.load_from_checkpoint('module.ckpt', weights_only=True).config.extra_heads)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert loaded.stdout.strip() == str((HEAD,)), loaded.stderr
