"""What the keys of a recipe have to agree on."""

import pytest
from micro import ROOT
from training import recipe

from fgds_core.agreement import training_disagreements
from fgds_core.classify.config import RetrainConfig
from flows.cli.params import read_params


def told(training=None, **changes):
    section = read_params(ROOT / "params.yaml")["retrain"].model_dump()
    retrain = RetrainConfig.model_validate({**section, "training": training or {}})
    return list(training_disagreements(recipe(**changes), retrain))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tune": "head"}, "tune: got head, but pretrained is none"),
        ({"tune": "lora"}, "tune: got lora, but pretrained is none"),
        ({"head": "cosine", "posthoc": "tau_normalization"}, "posthoc: got tau_normalization"),
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
