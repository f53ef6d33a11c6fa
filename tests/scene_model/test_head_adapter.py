"""Losses and counts: what adds to them, what must not, and that everything stays trainable."""

from dataclasses import dataclass, replace

import pytest
import torch
from factories import frame_of, random_targets, small_config, small_model
from torch import nn

from scene_model.batch import TargetFrame
from scene_model.boxes import inverse_sigmoid
from scene_model.config import DenoiserConfig
from scene_model.errors import UserError
from scene_model.heads import Head, matchability_loss
from scene_model.network.model import build_scene_model
from scene_model.training.denoiser import DinoDenoiser
from scene_model.training.head_adapter import COUNTS, HeadAdapter

A, B = [0.3, 0.3, 0.2, 0.2], [0.7, 0.7, 0.2, 0.3]


def adapter(**options):
    return HeadAdapter(small_config(**options))


def no_padding(clips, frames):
    return torch.zeros(clips, frames, dtype=torch.bool)


def outputs_of(boxes, scores, num_classes=3):
    """Model outputs [1, T, Q] that say exactly this, in the last of two layers."""
    boxes = torch.tensor(boxes)[None].repeat(2, 1, 1, 1, 1)
    exist = inverse_sigmoid(torch.tensor(scores))[None, None, ..., None].repeat(2, 1, 1, 1, 1)
    cls = torch.zeros(*exist.shape[:-1], num_classes)
    frames = boxes.shape[2]
    return {
        "layer_boxes": boxes,
        "layer_exist_logits": exist,
        "layer_cls_logits": cls,
        "exist_conf": exist[-1].sigmoid(),
        "enc_boxes": torch.full((1, frames, 4, 4), 0.5),
        "enc_exist_logits": torch.zeros(1, frames, 4),
        "enc_cls_logits": torch.zeros(1, frames, 4, num_classes),
        "enc_centers": torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]),
    }


def trained_step(model, targets, padding_mask, denoise=True, seed=0):
    torch.manual_seed(seed)
    frames = torch.randn(len(targets), len(targets[0]), 3, 64, 64)
    state = DinoDenoiser(DenoiserConfig(num_queries=8), 3).make_noise(targets) if denoise else None
    outputs = model(frames, state, padding_mask)
    return outputs, adapter().compute_loss(outputs, targets, padding_mask, state)


class TestCounts:
    def counts(self, outputs, clip, padding_mask=None):
        losses = adapter().compute_loss(
            outputs, [clip], no_padding(1, len(clip)) if padding_mask is None else padding_mask
        )
        return [int(losses[name]) for name in COUNTS]

    def test_perfect(self):
        clip = [frame_of([A, B], [1, 2])] * 2
        assert self.counts(outputs_of([[A, B]] * 2, [[0.9, 0.9]] * 2), clip) == [4, 4, 4]

    def test_below_the_threshold_is_no_prediction(self):
        clip = [frame_of([A, B], [1, 2])] * 2
        assert self.counts(outputs_of([[A, B]] * 2, [[0.9, 0.39]] * 2), clip) == [2, 4, 2]

    def test_an_identity_keeps_its_query_for_the_clip(self):
        """Boxes that swap between frames match in half of the frames only."""
        clip = [frame_of([A, B], [1, 2])] * 2
        assert self.counts(outputs_of([[A, B], [B, A]], [[0.9, 0.9]] * 2), clip) == [2, 4, 4]

    def test_false_positives_are_predictions(self):
        clip = [frame_of([A], [1]), TargetFrame.empty()]
        assert self.counts(outputs_of([[A, B]] * 2, [[0.9, 0.9]] * 2), clip) == [1, 1, 4]

    def test_ignored_objects_count_neither_for_nor_against(self):
        clip = [frame_of([A, B], [1, 2], ignore=[False, True])] * 2
        assert self.counts(outputs_of([[A, B]] * 2, [[0.9, 0.9]] * 2), clip) == [2, 2, 2]

    def test_padding_counts_nothing(self):
        clip = [frame_of([A], [1]), TargetFrame.empty()]
        mask = torch.tensor([[False, True]])
        assert self.counts(outputs_of([[A, B]] * 2, [[0.9, 0.9]] * 2), clip, mask) == [1, 1, 2]


def test_terms_are_named_weighted_and_summed():
    model = small_model().train()
    targets = random_targets(2, 3)
    _, losses = trained_step(model, targets, no_padding(2, 3))
    terms = {name for name in losses if name not in (*COUNTS, "total")}
    names = ("exist", "l1", "giou", "cls")
    assert terms == {prefix + name for prefix in ("", "aux_", "enc_", "dn_") for name in names}
    torch.testing.assert_close(losses["total"], sum(losses[name] for name in terms))
    doubled = replace(small_config().loss, l1=2 * small_config().loss.l1)
    outputs, _ = trained_step(model, targets, no_padding(2, 3))
    again = adapter(loss=doubled).compute_loss(outputs, targets, no_padding(2, 3))
    single = adapter().compute_loss(outputs, targets, no_padding(2, 3))
    torch.testing.assert_close(again["enc_l1"], 2 * single["enc_l1"])
    torch.testing.assert_close(again["enc_giou"], single["enc_giou"])


@pytest.mark.parametrize("objects", ["some", "none"])
@pytest.mark.parametrize("denoise", [True, False])
def test_every_parameter_stays_in_the_graph(objects, denoise):
    model = small_model().train()
    targets = random_targets(2, 2) if objects == "some" else [[TargetFrame.empty()] * 2] * 2
    _, losses = trained_step(model, targets, no_padding(2, 2), denoise)
    losses["total"].backward()
    assert torch.isfinite(losses["total"])
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []


def test_each_group_of_queries_is_matched_by_itself():
    """The terms of groups are the means of what each would have in the place of the first."""
    config = small_config()
    model = build_scene_model(replace(config, decoder=replace(config.decoder, num_groups=3))).train()
    targets, padding = random_targets(2, 3), no_padding(2, 3)
    outputs, losses = trained_step(model, targets, padding)
    num_layers = len(outputs["layer_boxes"])
    expected = {}
    for first in (0, num_layers):
        alone = {name: value for name, value in outputs.items() if not name.startswith(("group_", "dn_"))}
        for name in ("boxes", "exist_logits", "cls_logits"):
            alone[f"layer_{name}"] = outputs[f"group_{name}"][first : first + num_layers]
        terms = adapter().compute_loss(alone, targets, padding)
        for name in ("exist", "l1", "giou", "cls"):
            expected[name] = expected.get(name, 0) + (terms[name] + terms[f"aux_{name}"]) / 2
    for name, value in expected.items():
        torch.testing.assert_close(losses[f"group_{name}"], value)


def test_a_clip_in_which_nothing_happens_has_no_larger_say():
    """Its proposals, which are many, are divided by its frames, not by one."""
    model = small_model()
    nothing = [[TargetFrame.empty()] * 4]
    outputs, losses = trained_step(model, nothing, no_padding(1, 4), denoise=False)
    background = torch.nn.functional.softplus(outputs["enc_exist_logits"]).sum()
    weights = small_config().loss
    torch.testing.assert_close(losses["enc_exist"], background * weights.encoder * weights.exist / 4)


def test_permuting_objects_changes_nothing():
    model = small_model()
    targets = random_targets(2, 3, seed=4)
    permuted = [[frame[torch.randperm(len(frame))] for frame in clip] for clip in targets]
    _, first = trained_step(model, targets, no_padding(2, 3), denoise=False)
    _, second = trained_step(model, permuted, no_padding(2, 3), denoise=False)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-4, rtol=1e-4)


def test_a_batch_is_the_mean_of_its_clips_weighted_by_their_targets():
    """Losses do not depend on the largest number of objects in the batch."""
    model = small_model()
    targets = random_targets(1, 3, seed=1, max_objects=1) + random_targets(1, 3, seed=2, max_objects=6)
    outputs, both = trained_step(model, targets, no_padding(2, 3))
    norm = max(float(both["num_targets"]), 6)
    total = 0.0
    for clip in range(2):
        one = {
            name: value
            if name == "enc_centers"
            else value[:, clip : clip + 1]
            if name.startswith(("layer_", "dn_"))
            else value[clip : clip + 1]
            for name, value in outputs.items()
        }
        state = DinoDenoiser(DenoiserConfig(num_queries=8), 3).make_noise(targets[clip : clip + 1])
        losses = adapter().compute_loss(one, targets[clip : clip + 1], no_padding(1, 3), state)
        total += (losses["total"] * max(losses["num_targets"], 3)).item() / norm
    assert both["total"].item() == pytest.approx(total, rel=1e-4)


def test_padding_adds_nothing_to_any_term():
    model = small_model()
    targets = random_targets(1, 2, seed=2)
    frames = torch.randn(1, 2, 3, 64, 64)
    padded = torch.cat([frames, torch.randn(1, 2, 3, 64, 64)], 1)
    mask = torch.tensor([[False, False, True, True]])
    short = adapter().compute_loss(model(frames), targets, no_padding(1, 2))
    long_targets = [targets[0] + [TargetFrame.empty()] * 2]
    long = adapter().compute_loss(model(padded, None, mask), long_targets, mask)
    for name, value in short.items():
        torch.testing.assert_close(long[name], value, atol=1e-4, rtol=1e-3)


def test_denoising_queries_on_ignored_objects_count_neither_for_nor_against():
    ignoring = [frame_of([A, B], [1, 2], ignore=[False, True])] * 2
    state = DinoDenoiser(DenoiserConfig(num_queries=4), 3).make_noise([ignoring])
    outputs = outputs_of([[A, A, B, B]] * 2, [[0.9] * 4] * 2)
    negative_on = {name: [A, A, place, place] for name, place in (("ignored", B), ("nothing", [0.1, 0.9, 0.1, 0.1]))}
    losses = {}
    for name, boxes in negative_on.items():
        denoised = outputs_of([boxes] * 2, [[0.9] * 4] * 2)
        dn = {f"dn_{key}": denoised[f"layer_{key}"] for key in ("boxes", "exist_logits", "cls_logits")}
        losses[name] = adapter().compute_loss(outputs | dn, [ignoring], no_padding(1, 2), state)["dn_exist"]
    assert int((state.objects >= 0).sum()) < int((state.group > 0).sum())  # there are negatives
    assert losses["ignored"] < losses["nothing"]


def test_matchability_loss_is_least_at_the_quality():
    quality = torch.tensor([0.0, 0.5, 0.9])
    at_target = matchability_loss(inverse_sigmoid(quality**1.5), quality, 1.5)
    for shift in (-0.5, 0.5):
        moved = matchability_loss(inverse_sigmoid(quality**1.5) + shift, quality, 1.5)
        assert (moved[1:] > at_target[1:]).all()


def test_a_query_without_object_is_pushed_down_for_any_gamma():
    for gamma in (0.0, 1.0, 1.5):
        logits = torch.zeros(1, requires_grad=True)
        matchability_loss(logits, torch.zeros(1), gamma).sum().backward()
        assert logits.grad > 0


@dataclass(frozen=True)
class ColourHead(Head):
    """A second kind of head, in one class."""

    weight: float = 2.0

    def build(self, channels, num_classes):
        class Colour(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(channels, 3)

            def forward(self, hidden, boxes, frames):
                return {"colour": self.linear(hidden)}

        return Colour()

    def loss(self, predictions, targets):
        error = (predictions["colour"] - 0.5).square().sum(-1) * targets.present
        return {"colour": self.weight * error.sum((1, 2))}


def test_a_second_head_plugs_in_as_one_class():
    config = small_config(extra_heads=(ColourHead(),))
    model = build_scene_model(config)
    targets = random_targets(2, 2)
    outputs = model(torch.randn(2, 2, 3, 64, 64))
    assert outputs["colour"].shape == (2, 2, 6, 3)
    losses = HeadAdapter(config).compute_loss(outputs, targets, no_padding(2, 2))
    assert losses["colour"] > 0
    losses["colour"].backward()
    assert model.extra_heads[0].linear.weight.grad.abs().sum() > 0


@dataclass(frozen=True)
class GreedyHead(ColourHead):
    """Takes the name of an output of its own kind twice."""


def test_heads_that_share_a_name_are_refused():
    model = build_scene_model(small_config(extra_heads=(ColourHead(), GreedyHead())))
    with pytest.raises(UserError, match=r"model\.extra_heads: the names \['colour'\]"):
        model(torch.randn(1, 1, 3, 64, 64))


@dataclass(frozen=True)
class LossNamed(ColourHead):
    """Has one loss term of a given name."""

    name: str = ""

    def loss(self, predictions, targets):
        return {self.name: super().loss(predictions, targets)["colour"]}


@pytest.mark.parametrize("name", ["l1", "aux_giou", "enc_l1", "dn_cls", "total", *COUNTS])
def test_no_term_or_count_is_replaced_by_that_of_a_head(name):
    config = small_config(extra_heads=(LossNamed(name=name),))
    targets = random_targets(1, 2)
    state = DinoDenoiser(DenoiserConfig(num_queries=8), 3).make_noise(targets)
    outputs = build_scene_model(config)(torch.randn(1, 2, 3, 64, 64), state)
    with pytest.raises(UserError, match=rf"model\.extra_heads: the names \['{name}'\] are taken"):
        HeadAdapter(config).compute_loss(outputs, targets, no_padding(1, 2), state)
