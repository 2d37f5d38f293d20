"""`--help` answers what a person asks of a parameter: type, default, choices, range and unit."""

import re
from typing import Annotated, get_args

import pytest
from annotated_types import Ge, Gt, Le, Lt
from micro import ROOT

from fgds_core.synthesis.config import SynthesizeConfig
from flows.cli.keys import UNSET, Key, _kind, describe_keys, keys
from flows.cli.params import SECTIONS, read_params

UNITS = re.compile(
    "image|pixel|step|share|second|hour|byte|MB|GB|class|round|times|weight|ratio|probabilit|part"
    "|fold|level|worker|thread|process|block|sample|neighbour|nats|factor|seed|fraction|group"
)
"""Words that say what a number counts or measures."""

UNITLESS = {
    "prepare.quality",
    "train_baseline.learning_rate",
    "train_baseline.accumulate_steps",
    "train_baseline.lora_rank",
    "adapt.rank",
    "adapt.patience",
    "assess.kid_subsets",
}
"""Numbers that have no unit, or whose name says it."""

ALL = [key for section in SECTIONS for key in keys(section)]


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.path)
def test_every_key_has_a_type_and_a_meaning(key: Key) -> None:
    assert "any value" not in key.kind
    assert key.description


def test_every_number_has_a_unit_or_none() -> None:
    numbers = [key for key in ALL if "number" in key.kind]
    assert len(numbers) > 60
    without = {key.path for key in numbers if not UNITS.search(key.description)}
    assert without <= UNITLESS


def test_choices_ranges_and_defaults_are_those_that_are_checked() -> None:
    told = {key.path: key for key in keys("synthesize")}
    for name, field in SynthesizeConfig.model_fields.items():
        key = told[f"synthesize.{name}"]
        if not field.is_required():
            assert key.default == field.default
        else:
            assert key.default is UNSET
        for choice in get_args(field.annotation):
            if isinstance(choice, str):
                assert choice in key.kind.split(" | ")
    scale = told["synthesize.guidance_scale"].kind
    assert re.fullmatch(r"number, 1 to 1,000", scale)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ((Ge(1), Le(20)), "whole number, 1 to 20"),
        ((Gt(0), Lt(1)), "whole number, above 0 to below 1"),
        ((Ge(1),), "whole number, 1 or more"),
        ((Gt(0),), "whole number, above 0"),
        ((Le(1000),), "whole number, at most 1,000"),
        ((), "whole number"),
    ],
)
def test_a_range_is_told_however_open_it_is(bounds: tuple[object, ...], said: str) -> None:
    annotation = Annotated[(int, *bounds)] if bounds else int
    assert _kind(annotation) == said


def test_help_says_what_a_key_is_now_beside_its_default() -> None:
    values = {
        name: value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        for name, value in read_params(ROOT / "params.yaml").items()
    }
    values["synthesize"]["check_images"] = 33
    text = " ".join(describe_keys(("synthesize",), values).split())
    assert re.search(r"synthesize\.check_images: whole number, [^;]+; default 20 \(now 33\)", text)
    assert 'synthesize.cannot_draw: refuse | resample | keep; default "refuse" (now' in text
