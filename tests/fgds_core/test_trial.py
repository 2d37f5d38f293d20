"""What would fail in a training or after it is refused before it, with the key at fault."""

import pytest
import torch
from training import TRAIN, VAL, recipe, same_weights

from fgds_core.classify.train import train_classifier
from fgds_core.errors import InputError
from fgds_core.stages.trial import try_training

NAMES = ("cat", "dog", "owl")
SMALL = {"model": "resnet10t", "model_kwargs": {"stem_width": 8, "channels": [8, 8, 16, 16]}}


def attempt(size=16, **changes):
    try_training(recipe(**SMALL | changes), NAMES, (size, size), "cpu")


def test_a_network_that_works_passes_and_no_random_state_moves():
    before = torch.get_rng_state()
    attempt()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 1, "input_size": 32}, r"batch_size: .* trained with 1 .*; 2 works"),
        ({"model": "test_vit", "model_kwargs": {}, "input_size": 8}, "input_size: test_vit"),
        ({"model_kwargs": {"global_pool": ""}}, "model_kwargs: resnet10t"),
        ({"model_kwargs": {"features_only": True}}, "model_kwargs: .* not set features_only"),
        ({"model_kwargs": {"drop_rate": 1.5}}, "model_kwargs: .*dropout probability"),
        ({"model_kwargs": {"depth": 3}}, "model_kwargs: .*depth"),
    ],
)
def test_the_key_that_makes_a_network_fail_is_named(changes, message):
    with pytest.raises(InputError, match=rf"^train_baseline\.{message}"):
        attempt(**changes)


def test_an_unknown_network_is_told_as_such():
    with pytest.raises(InputError, match="no model 'resnet10tt'; did you mean resnet10t"):
        attempt(model="resnet10tt")


def test_a_network_that_died_of_channels_last_trains():
    attempt(model="repvgg_a0", model_kwargs={}, batch_size=2, input_size=32)


def test_a_trial_before_changes_no_result():
    how = {"config": recipe(ema_decay=0.5, sampling="instance"), "seed": 3}
    untried = train_classifier(TRAIN, VAL, **how)
    try_training(how["config"], TRAIN.class_names, TRAIN.size, "cpu")
    assert same_weights(untried, train_classifier(TRAIN, VAL, **how))


@pytest.mark.parametrize(
    "changes",
    [
        {"head": "cosine", "second_stage": "lws", "posthoc": "logit_adjustment"},
        {"second_stage": "crt", "posthoc": "tau_normalization"},
        {"tune": "lora", "second_stage": "real"},
        {"tune": "head", "second_stage": "dfr", "ema_decay": 0.5},
        {"head": "cosine", "second_stage": "last_layer_real"},
    ],
)
def test_what_is_done_with_the_last_layer_is_tried(changes):
    before = torch.get_rng_state()
    attempt(**changes)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head", "cosine"),
        ("tune", "head"),
        ("second_stage", "crt"),
        ("posthoc", "logit_adjustment"),
    ],
)
def test_a_network_without_one_last_layer_is_told_with_the_key_that_needs_it(key, value):
    network = {"model": "resnetv2_18", "model_kwargs": {}, "input_size": 32, "batch_size": 2}
    with pytest.raises(InputError, match=rf"^train_baseline\.{key}: .*no single linear layer"):
        attempt(**network, **{key: value})
