"""Contracts and invariances of the network."""

import copy
from dataclasses import replace

import pytest
import torch
from factories import random_targets, small_config, small_model

from scene_model.config import BackboneConfig, DenoiserConfig
from scene_model.heads import BBoxPredictor
from scene_model.network.model import build_scene_model
from scene_model.network.proposals import ProposalHead, select_tokens
from scene_model.training.denoiser import DinoDenoiser


@pytest.fixture(scope="module")
def model():
    return small_model()


@torch.no_grad()
def run(model, frames, *args):
    return model(frames, *args)


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (2, 4, 64, 96), (1, 7, 75, 101)])
def test_contract_for_any_length_and_size(model, shape):
    clips, frames, height, width = shape
    outputs = run(model, torch.randn(clips, frames, 3, height, width))
    expected = {"bbox_center": 2, "bbox_size": 2, "exist_conf": 1, "cls_logits": 3}
    for name, size in expected.items():
        assert outputs[name].shape == (clips, frames, 6, size)
        assert torch.isfinite(outputs[name]).all()
    assert 0 < outputs["exist_conf"].min() <= outputs["exist_conf"].max() < 1
    assert outputs["bbox_size"].min() > 0
    assert outputs["bbox_center"].max() < 1


def test_clips_of_a_batch_do_not_see_each_other(model):
    frames = torch.randn(3, 2, 3, 64, 64)
    together = run(model, frames)
    alone = run(model, frames[1:2])
    for name in ("bbox_center", "exist_conf", "cls_logits"):
        torch.testing.assert_close(together[name][1:2], alone[name], atol=1e-5, rtol=1e-4)


def test_padding_changes_nothing_in_the_real_frames(model):
    frames = torch.randn(1, 3, 3, 64, 64)
    padded = torch.cat([frames, torch.full((1, 2, 3, 64, 64), 9.0)], dim=1)
    mask = torch.tensor([[False, False, False, True, True]])
    short, long = run(model, frames), run(model, padded, None, mask)
    for name in ("bbox_center", "bbox_size", "exist_conf", "cls_logits"):
        torch.testing.assert_close(long[name][:, :3], short[name], atol=1e-5, rtol=1e-4)


def test_a_clip_of_nothing_but_padding_is_finite(model):
    outputs = run(model, torch.randn(1, 2, 3, 64, 64), None, torch.ones(1, 2, dtype=torch.bool))
    assert all(torch.isfinite(value).all() for value in outputs.values())


def test_frames_that_clips_share_need_not_be_given_twice(model):
    frames = torch.randn(5, 3, 64, 64)
    frame_of = torch.tensor([[0, 1, 2], [2, 3, 4]])
    mask = torch.tensor([[False, False, False], [False, False, True]])
    apart, shared = run(model, frames[frame_of], None, mask), run(model, frames, None, mask, frame_of)
    assert apart.keys() == shared.keys()
    for name, values in apart.items():
        torch.testing.assert_close(shared[name], values, atol=1e-5, rtol=1e-4)


def test_time_matters(model):
    """The temporal attention tells the frames apart: reversing a clip is not reversing its outputs."""
    frames = torch.randn(1, 3, 3, 64, 64)
    forward, backward = run(model, frames), run(model, frames.flip(1))
    assert not torch.allclose(forward["exist_conf"], backward["exist_conf"].flip(1), atol=1e-6)


class TestDenoisingIsolation:
    @pytest.fixture
    def state(self):
        targets = random_targets(2, 3, max_objects=3)
        return DinoDenoiser(DenoiserConfig(num_queries=12), 3).make_noise(targets)

    def test_matching_queries_are_untouched_to_the_bit(self, model, state):
        frames = torch.randn(2, 3, 3, 64, 64)
        other = replace(state, boxes=torch.rand_like(state.boxes), labels=(state.labels + 1) % 3)
        first, second = run(model, frames, state), run(model, frames, other)
        assert not torch.equal(first["dn_boxes"], second["dn_boxes"])
        for name in ("layer_boxes", "layer_exist_logits", "layer_cls_logits", "embeddings"):
            assert torch.equal(first[name], second[name]), name

    def test_groups_do_not_see_each_other(self, model, state):
        changed = (state.group == 1)[:, None, :, None]
        assert changed.any()
        assert (state.group == 2).any()
        frames = torch.randn(2, 3, 3, 64, 64)
        other = replace(state, boxes=torch.where(changed, 0.5, state.boxes))
        first, second = run(model, frames, state), run(model, frames, other)
        rest = state.group != 1
        for name in ("dn_boxes", "dn_exist_logits", "dn_cls_logits"):
            for clip in range(2):
                before, after = first[name][:, clip], second[name][:, clip]
                assert torch.equal(before[:, :, rest[clip]], after[:, :, rest[clip]])
                assert not torch.equal(before[:, :, ~rest[clip]], after[:, :, ~rest[clip]])

    def test_matching_queries_are_those_of_inference(self, model, state):
        frames = torch.randn(2, 3, 3, 64, 64)
        for name in ("bbox_center", "exist_conf"):
            torch.testing.assert_close(run(model, frames, state)[name], run(model, frames)[name], atol=1e-5, rtol=1e-4)


class TestGroups:
    @pytest.fixture(params=[True, False], ids=["denoising", "without"])
    def state(self, request):
        return (
            DinoDenoiser(DenoiserConfig(num_queries=8), 3).make_noise(random_targets(2, 2)) if request.param else None
        )

    @pytest.fixture
    def grouped(self, model):
        config = small_config()
        grouped = build_scene_model(replace(config, decoder=replace(config.decoder, num_groups=3)))
        grouped.load_state_dict(model.state_dict())
        return grouped.train()

    def test_they_change_nothing_for_other_queries(self, model, grouped, state):
        frames = torch.randn(2, 2, 3, 64, 64)
        alone, beside = run(model, frames, state), run(grouped, frames, state)
        assert beside.keys() - alone.keys() == {"group_boxes", "group_exist_logits", "group_cls_logits"}
        for name, values in alone.items():
            torch.testing.assert_close(beside[name], values, atol=1e-5, rtol=1e-4)

    def test_each_is_decoded_as_if_alone_from_the_proposals_that_come_next(self, model, grouped, state, monkeypatch):
        frames = torch.randn(2, 2, 3, 64, 64)
        beside = run(grouped, frames, state)

        def the_last_of(*args):
            return select_tokens(*args[:-1], 3 * args[-1])[:, -args[-1] :]

        monkeypatch.setattr("scene_model.network.model.select_tokens", the_last_of)
        last = run(model, frames, state)
        num_layers = len(last["layer_boxes"])
        for name in ("boxes", "exist_logits", "cls_logits"):
            values = beside[f"group_{name}"]
            assert len(values) == 2 * num_layers
            torch.testing.assert_close(values[num_layers:], last[f"layer_{name}"], atol=1e-5, rtol=1e-4)

    def test_only_training_has_them(self, model, grouped, state):
        frames = torch.randn(2, 2, 3, 64, 64)
        assert run(grouped.eval(), frames, state).keys() == run(model, frames, state).keys()

    def test_as_many_as_there_are_tokens_for(self, grouped):
        outputs = run(grouped, torch.randn(1, 1, 3, 32, 40))  # 4 * 5 + 2 * 3 + 1 * 2 tokens
        assert outputs["group_boxes"].shape[0] == 2 * len(outputs["layer_boxes"])
        outputs = run(grouped, torch.randn(1, 1, 3, 16, 32))  # 2 * 4 + 1 * 2 + 1 tokens
        assert "group_boxes" not in outputs


def test_fewer_tokens_than_queries():
    model = small_model(decoder=replace(small_config().decoder, num_queries=100))
    state = DinoDenoiser(DenoiserConfig(num_queries=8), 3).make_noise(random_targets(1, 1))
    outputs = run(model, torch.randn(1, 1, 3, 32, 32), state)
    tokens = 4 * 4 + 2 * 2 + 1
    assert outputs["exist_conf"].shape == (1, 1, tokens, 1)
    assert outputs["dn_boxes"].shape == (2, 1, 1, 8, 4)


def test_debug_names_the_stage_of_a_wrong_shape():
    model = build_scene_model(small_config(), debug=True).eval()
    model.encoder.forward = lambda features: [level[..., :-1] for level in features]
    with pytest.raises(ValueError, match="level 0 of the encoder has shape"):
        model(torch.randn(1, 2, 3, 64, 64))


def test_debug_names_the_first_module_that_broke():
    model = build_scene_model(small_config(), debug=True).eval()
    frames = torch.randn(1, 2, 3, 64, 64)
    model(frames)
    with torch.no_grad():
        model.encoder.fuse[0][0].weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"encoder\.fuse\.0\.0 \(Conv2d\)"):
        model(frames)


@pytest.mark.slow
def test_debug_takes_maps_that_a_backbone_rounds_down():
    model = build_scene_model(small_config(backbone=BackboneConfig(name="convnext_tiny")), debug=True).eval()
    with torch.no_grad():
        model(torch.randn(1, 1, 3, 70, 101))


def test_scores_and_boxes_are_exact_under_autocast():
    """Half precision knows 8 bits: of 200 scores between 0.8 and 0.9, nearly all would have a twin."""
    torch.manual_seed(0)
    predictor, hidden = BBoxPredictor(32, 1), torch.randn(1, 1, 200, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halved = predictor(hidden, torch.full((1, 1, 200, 4), 0.5))
    exact = predictor(hidden, torch.full((1, 1, 200, 4), 0.5))
    for name, values in exact.items():
        assert halved[name].dtype == torch.float32
        assert torch.equal(halved[name], values)


def test_proposals_are_exact_under_autocast():
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        proposals = ProposalHead(32, 2)([torch.randn(2, 32, 8, 8)])
    for values in (proposals.exist_logits, proposals.cls_logits):
        assert values.dtype == torch.float32
        assert not torch.equal(values, values.bfloat16().float())


def test_debug_refuses_wrong_frames():
    model = build_scene_model(small_config(), debug=True).eval()
    with pytest.raises(ValueError, match=r"expected float frames \[B, T, 3, H, W\]"):
        model(torch.zeros(1, 2, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(FloatingPointError, match="before the first module"):
        model(torch.full((1, 2, 3, 64, 64), float("nan")))


def test_debug_takes_clips_that_share_frames():
    model = build_scene_model(small_config(), debug=True).eval()
    model(torch.zeros(3, 3, 64, 64), frame_of=torch.tensor([[0, 1], [1, 2]]))


@pytest.mark.slow
def test_compile_gives_the_same_numbers_and_keys():
    model = small_model()
    compiled = copy.deepcopy(model)
    compiled.compile(dynamic=False)
    assert compiled.state_dict().keys() == model.state_dict().keys()
    state = DinoDenoiser(DenoiserConfig(num_queries=8), 3).make_noise(random_targets(2, 2))
    frames = torch.randn(2, 2, 3, 64, 64)
    results = []
    for network in (model, compiled):
        outputs = network(frames, state)
        sum(value.square().mean() for value in outputs.values() if value.requires_grad).backward()
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        results.append((outputs["layer_boxes"], outputs["exist_conf"], gradients))
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-3)
