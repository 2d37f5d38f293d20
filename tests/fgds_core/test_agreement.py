"""What the keys of a recipe have to agree on."""

import pytest
from micro import generator_config, synthesize_config
from training import recipe, retraining

from fgds_core.agreement import disagreements, training_disagreements
from fgds_core.assess.config import AssessConfig


def told(training=None, **changes):
    return list(training_disagreements(recipe(**changes), retraining(training=training or {})))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tune": "head"}, "tune: got head, but pretrained is none"),
        ({"tune": "lora"}, "tune: got lora, but pretrained is none"),
        ({"head": "cosine", "posthoc": "tau_normalization"}, "posthoc: got tau_normalization"),
        ({"loss": "ldam"}, "loss: got ldam, whose margins are of cosines, but head is linear"),
        (
            {"loss": "label_aware_smoothing", "label_smoothing": 0.2},
            "label_smoothing: got 0.2, but loss label_aware_smoothing",
        ),
        ({"loss": "group_dro", "mix": "cutmix"}, "mix: got cutmix, but loss group_dro"),
        (
            {"loss": "logit_adjustment", "loss_kwargs": {"tau": -1}},
            "loss_kwargs: tau must be a number of at least 0, got -1",
        ),
        ({"loss_kwargs": {"tau": 1}}, "loss_kwargs: cross_entropy has no argument tau"),
    ],
)
def test_keys_of_a_recipe_that_do_not_go_together_are_named(changes, message):
    (mistake,) = told(**changes)
    assert mistake.startswith(f"train_baseline.{message}")
    (mistake,) = told(changes)
    assert mistake.startswith(f"retrain.training.{message}")


def test_recipes_whose_keys_agree_pass():
    assert told() == []
    assert told(tune="lora", pretrained="default") == []
    assert told({"head": "cosine"}, posthoc="logit_adjustment", second_stage="crt") == []
    assert told({"loss": "ldam", "loss_kwargs": {"max_margin": 0.4}}, head="cosine") == []
    assert told(loss="label_aware_smoothing", label_smoothing=0.0, mix="mixup") == []
    assert told(loss="group_dro", sampling="group_balanced") == []


@pytest.mark.parametrize(
    ("baseline", "retrain", "message"),
    [
        (
            {"rand_augment": "rand-m9-foo"},
            {"training": {"sampling": "instance"}},
            "train_baseline.rand_augment: must be rand and its sections, such as rand-m9",
        ),
        (
            {},
            {"training": {"rand_augment": "augmix-m5"}},
            "retrain.training.rand_augment: must be rand and its sections",
        ),
        (
            {},
            {"synthetic_weight": 0.0, "real_share": 0.0},
            "retrain.synthetic_weight: got 0, and with real_share 0 there are no other images",
        ),
        (
            {},
            {"split_batch_norm": True, "real_share": 0.9},
            "retrain.split_batch_norm: a batch of 8 with real_share 0.9 holds 7 real images",
        ),
        (
            {"loss": "group_dro"},
            {"synthetic_label_smoothing": 0.3},
            "retrain.synthetic_label_smoothing: got 0.3, but loss group_dro has one smoothing",
        ),
        (
            {"mix": "cmo"},
            {"split_batch_norm": True},
            "retrain.split_batch_norm: mix cmo makes images that are real and synthetic at once",
        ),
        (
            {"tune": "lora", "pretrained": "default"},
            {"split_batch_norm": True},
            "retrain.split_batch_norm: with tune lora batch normalisation keeps the statistics",
        ),
        (
            {"model": "test_vit", "model_kwargs": {}},
            {"split_batch_norm": True},
            "retrain.split_batch_norm: test_vit has no batch normalisation; set it to false",
        ),
    ],
)
def test_what_does_not_go_together_is_said_by_its_key(baseline, retrain, message):
    (said,) = training_disagreements(recipe(**baseline), retraining(**retrain))
    assert said.startswith(message)


@pytest.mark.parametrize(
    ("baseline", "retrain"),
    [
        ({"rand_augment": "rand-m9-mstd0.5-inc1", "mix": "mixup"}, {}),
        ({"mix": "cmo"}, {"split_batch_norm": True, "mix_within_source": True}),
        ({}, {"synthetic_weight": 0.0, "synthetic_label_smoothing": 0.3}),
        ({}, {"real_share": 0.0}),
    ],
)
def test_what_goes_together_is_left_alone(baseline, retrain):
    assert list(training_disagreements(recipe(**baseline), retraining(**retrain))) == []


@pytest.mark.parametrize("processes", [2, None])
def test_several_processes_split_no_batch_norm_and_say_so_at_the_start(processes):
    apart = retraining(split_batch_norm=True)
    (said,) = training_disagreements(recipe(), apart, processes)
    assert said.startswith("retrain.split_batch_norm: needs the whole batch in one process")
    assert not list(training_disagreements(recipe(), apart, 1))


@pytest.mark.parametrize(
    ("key", "value"), [("sampling", "group_balanced"), ("loss", "group_dro"), ("mix", "lisa")]
)
def test_groups_that_synthetic_images_will_not_have_are_missed_before_they_are_drawn(key, value):
    retrain = retraining(training={key: value})

    def told(**changes):
        drawn = synthesize_config(**changes)
        return list(training_disagreements(recipe(), retrain, 1, drawn))

    (said,) = told(conditioning="text")
    assert said.startswith(f"retrain.training.{key}: got {value}, but drawn from text alone")
    assert told(conditioning="text", target_per_group=20) == []
    assert told(conditioning="dual") == []


def told_of_drawing(**changes):
    assess = AssessConfig.model_construct(features="inception")
    return list(disagreements(generator_config("there"), synthesize_config(**changes), assess))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feedback": "disagreement"}, "synthesize.feedback: got disagreement"),
        ({"feedback": "disagreement", "guide": "control"}, "set synthesize.guide to both"),
        ({"feedback": "hardness", "guide": "control"}, "synthesize.feedback: got hardness"),
        ({"feedback": "hardness", "guide": "both"}, "Gaussians of its features is known"),
        ({"feedback_target": "real", "guide": "control"}, "synthesize.feedback_target: got real"),
        ({"feedback_augment": True, "guide": "both"}, "synthesize.feedback_augment: got true"),
        ({"feedback_target": "real", "feedback_tau": 0.5}, "synthesize.feedback_tau: got 0.5"),
        ({"feedback": "hardness", "feedback_tau": 1.0}, "looks at features, not at logits"),
        ({"feedback": "influence", "guide": "both"}, "influence, which is of one last layer"),
        (
            {"feedback": "exemplar_loss", "feedback_target": "real"},
            "synthesize.feedback_target: got real, but feedback exemplar_loss is not measured",
        ),
        ({"feedback": "influence", "feedback_target": "real"}, "to loss, hardness, entropy"),
    ],
)
def test_what_a_guide_cannot_give_is_refused(changes, message):
    (said,) = told_of_drawing(**changes)
    assert message in said
    assert told_of_drawing(**changes | {"feedback": "none"}) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"feedback": "disagreement", "guide": "both", "feedback_tau": 1.0},
        {"feedback": "entropy", "guide": "both", "feedback_calibrated": True},
        {"feedback": "loss", "guide": "control"},
        {"feedback": "hardness", "feedback_target": "real", "feedback_augment": True},
    ],
)
def test_what_a_guide_can_give_is_not(changes):
    assert told_of_drawing(**changes) == []


@pytest.mark.parametrize(
    ("guide", "key"), [("baseline", "train_baseline"), ("control", "retrain.training")]
)
def test_influence_wants_a_linear_last_layer_of_its_guide(guide, key):
    cosine = {"head": "cosine"}
    baseline, final = (cosine, {}) if guide == "baseline" else ({}, cosine)
    retrain = retraining(training={"head": "linear"} | final)

    def told(feedback):
        drawn = synthesize_config(feedback=feedback, guide=guide)
        return list(training_disagreements(recipe(**baseline), retrain, 1, drawn))

    (said,) = told("influence")
    assert said.startswith(f"{key}.head: got cosine, but synthesize.feedback influence")
    assert told("loss") == []


def test_the_classifiers_between_rounds_need_one_too():
    retrain = retraining(training={"head": "cosine"})
    for rounds, number in ((1, 0), (2, 1)):
        drawn = synthesize_config(feedback="influence", rounds=rounds)
        told = list(training_disagreements(recipe(), retrain, 1, drawn))
        assert len(told) == number
        assert all(line.startswith("retrain.training.head: got cosine") for line in told)


def test_rounds_whose_classifiers_decide_nothing_are_refused():
    (said,) = told_of_drawing(rounds=3, round_quotas="even", feedback="none")
    assert said.startswith("synthesize.rounds: got 3, but without feedback and with even")
    assert told_of_drawing(rounds=3, round_quotas="even", feedback_scale=0.0) == [said]
    assert told_of_drawing(rounds=3, round_quotas="even") == []
    assert told_of_drawing(rounds=3, feedback="none") == []
    assert told_of_drawing(round_quotas="even", feedback="none") == []
