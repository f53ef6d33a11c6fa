"""Embeddings by which objects are known again: who is told from whom, when, and what linking takes."""

from dataclasses import replace

import pytest
import torch
from factories import frame_of, random_targets, small_config

from scene_model import IdentityHead, SceneBatch, SequenceInfo
from scene_model.errors import UserError
from scene_model.identity_head import IdentityEmbedding, _proxy_of
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


def test_looks_are_learnt_across_clips():
    torch.manual_seed(0)
    network = IdentityEmbedding(16, 8, 64, HEAD.scale)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    looks = torch.randn(5, 16)

    def seen(order):
        hidden = looks[order][None, None].expand(1, 3, -1, -1)
        return hidden + 0.3 * torch.randn(hidden.shape)

    for _ in range(60):
        order = torch.randperm(5)[:2]  # a clip never shows more than two of the five
        predictions = network(seen(order), torch.zeros(1, 3, 2, 4))
        loss = HEAD.loss(predictions, queries((order + 40).tolist(), [[True, True]] * 3))["identity"].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    embeddings = network.eval()(seen(torch.arange(5)), torch.zeros(1, 3, 5, 4))["identity_embeddings"][0]
    likeness = torch.einsum("tqe,spe->tsqp", embeddings, embeddings)
    same = torch.eye(5, dtype=torch.bool)
    assert likeness[..., same].min() > likeness[..., ~same].max()


def test_an_object_counts_where_it_is_present():
    network = IdentityEmbedding(16, 8, 64, HEAD.scale)
    hidden = torch.randn(1, 2, 2, 16)
    predictions = network(hidden, torch.zeros(1, 2, 2, 4))
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


def test_identities_of_two_sequences_differ():
    clip = [frame_of([[0.5, 0.5, 0.1, 0.1]], [7])]
    sequences = [SequenceInfo(name, 1, 8, 8, 30.0) for name in ("A", "B", "A")]
    batch = SceneBatch(
        frames=torch.zeros(3, 1, 3, 8, 8),
        targets=[clip] * 3,
        padding_mask=torch.zeros(3, 1, dtype=torch.bool),
        sequences=sequences,
        frame_indices=torch.zeros(3, 1, dtype=torch.int64),
        seeds=torch.arange(3),
        is_last=[True] * 3,
        truths=[None] * 3,
    )
    first, second, third = (frames[0].track_ids.item() for frames in batch.targets_of_all_sequences())
    assert first == third != second
    assert batch.targets[0][0].track_ids.item() == 7, "the annotations stay as they are"


def test_linking_takes_the_embeddings_of_the_head():
    outputs = model_with_head().eval()(torch.randn(1, 2, 3, 64, 64))
    window = Window.of_outputs(outputs, torch.arange(2)[None])[0]
    torch.testing.assert_close(torch.from_numpy(window.embeddings), outputs["identity_embeddings"][0].detach())
    del outputs["identity_embeddings"]
    assert Window.of_outputs(outputs, torch.arange(2)[None])[0].embeddings.shape[-1] == 32


@pytest.mark.parametrize("option", ["width", "num_proxies", "weight", "scale"])
def test_impossible_numbers_are_refused(option):
    with pytest.raises(UserError, match=rf"IdentityHead\.{option}: expected"):
        replace(HEAD, **{option: -1})
