"""Embeddings by which objects are known again: who is told from whom, when, and what linking takes."""

import subprocess
import sys
from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch
from factories import random_targets, small_config

from scene_model import IdentityHead, SceneModelLightningModule
from scene_model.config import BackboneConfig
from scene_model.errors import UserError
from scene_model.identity_head import IdentityEmbedding, stripe_colours
from scene_model.network.model import build_scene_model
from scene_model.tracking import Window
from scene_model.training.head_adapter import HeadAdapter
from scene_model.training.targets import QueryTargets

HEAD = IdentityHead(width=8)


def model_with_head():
    torch.manual_seed(0)
    return build_scene_model(small_config(extra_heads=(HEAD,)))


def queries(present):
    """Targets of one clip [1, T, Q] whose query q has the object q."""
    present = torch.tensor(present)[None]
    labels = torch.zeros(1, present.shape[2], dtype=torch.int64)
    return QueryTargets(torch.full((*present.shape, 4), 0.5), labels, present, present)


def painted(looks):
    """Frames [1, T, 3, H, W] of boxes side by side, with the colours [T, N, S, 3] from top to bottom, and the boxes."""
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


def test_looks_are_learnt():
    torch.manual_seed(0)
    network = IdentityEmbedding(8, 8)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)

    def seen(looks):
        """Three frames, each in a light of its own: only the hues tell who is who."""
        light = 2 * torch.randn(3, 1, 1, 1)
        frames, boxes = painted(looks.expand(3, -1, -1, -1) + light)
        return network(torch.zeros(0), boxes, frames)

    def sure(predictions):
        embeddings = predictions["identity_embeddings"][0]
        likeness = torch.einsum("tqe,spe->tsqp", embeddings, embeddings)[~torch.eye(3, dtype=torch.bool)]
        same = torch.eye(2, dtype=torch.bool)
        return (likeness[:, same].mean() - likeness[:, ~same].mean()).item()

    strangers = torch.randn(20, 2, 8, 3)
    before = sum(sure(seen(looks)) for looks in strangers) / 20
    for _ in range(150):
        loss = HEAD.loss(seen(torch.randn(2, 8, 3)), queries([[True, True]] * 3))["identity"].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = sum(sure(seen(looks)) for looks in strangers) / 20
    assert after > before + 0.3


def test_an_object_counts_where_it_is_present_twice_or_more():
    frames, boxes = painted(torch.randn(3, 2, 8, 3))
    predictions = IdentityEmbedding(8, 8)(torch.zeros(0), boxes, frames)

    def loss(*present):
        return HEAD.loss(predictions, queries(list(present)))["identity"]

    assert loss([True, True], [True, True], [False, False]) > loss([True, True], [True, False], [False, False]) > 0
    assert loss([True, False], [False, True], [False, False]) == 0
    assert loss([True, False], [True, False], [True, False]) == 0, "there is nobody to tell it from"
    nobody = loss([False, False], [False, False], [False, False])
    assert nobody == 0
    nobody.sum().backward()


def test_the_loss_is_that_of_leaving_one_out():
    torch.manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(1, 3, 3, 8), dim=-1)
    present = torch.tensor([[True, True, False], [True, True, False], [True, False, False]])
    expected = 0.0
    for time in range(3):
        for query in range(2):
            if not present[time, query]:
                continue
            logits = []
            for other in range(2):
                times = [t for t in range(3) if present[t, other] and not (other == query and t == time)]
                prototype = torch.nn.functional.normalize(embeddings[0, times, other].mean(0), dim=0)
                logits.append(HEAD.scale * embeddings[0, time, query] @ prototype)
            expected -= torch.stack(logits).log_softmax(0)[query]
    loss = HEAD.loss({"identity_embeddings": embeddings}, queries(present.tolist()))["identity"]
    torch.testing.assert_close(loss, HEAD.weight * expected[None])


def test_the_term_reaches_the_head_and_nothing_else():
    model, targets = model_with_head(), random_targets(2, 3)
    outputs = model(torch.randn(2, 3, 3, 64, 64))
    adapter, padding = HeadAdapter(small_config(extra_heads=(HEAD,))), torch.zeros(2, 3, dtype=torch.bool)
    losses = adapter.compute_loss(outputs, targets, padding)
    assert losses["identity"] > 0
    losses["identity"].backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert with_gradient == {name for name, _ in model.named_parameters() if name.startswith("extra_heads.")}
    lengths = outputs["identity_embeddings"].norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


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
@pytest.mark.parametrize("option", ["stripes", "width", "weight", "scale"])
def test_impossible_numbers_are_refused(option, value):
    with pytest.raises(UserError, match=rf"IdentityHead\.{option}: expected"):
        replace(HEAD, **{option: value})


def test_half_precision_does_not_reach_the_colours():
    network = IdentityEmbedding(8, 8)
    frames, boxes = painted(torch.randn(2, 2, 8, 3))
    expected = network(torch.zeros(0), boxes, frames)
    with torch.autocast("cpu", torch.bfloat16):
        predictions = network(torch.zeros(0), boxes, frames)
    for name, values in expected.items():
        torch.testing.assert_close(predictions[name], values, atol=0, rtol=0)


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
