"""The error rates of the generator check: its cases, the rules compared, and what is on record."""

import json

import numpy as np
import pytest
from micro import ROOT
from scipy.stats import combine_pvalues

from benchmarks import ability
from benchmarks.ability import CASES, LOOKS, RESULT, RULES, UNKNOWN, alone, fisher, parameters
from fgds_core.ability.evidence import ERROR


@pytest.mark.parametrize("name", CASES)
def test_each_case_is_one_that_a_run_could_have(name, tmp_path) -> None:
    params = parameters(CASES[name], tmp_path)
    assert params["synthesize"].check_images == ability.CHECKED
    assert (tmp_path / params["generator"].path / "model_index.json").is_file()
    if CASES[name].names:
        from fgds_core.images.dataset import read_images

        (file, *_) = sorted((tmp_path / "renamed").glob("*.parquet"))
        assert read_images(file).class_names == UNKNOWN


def test_the_rules_are_those_of_the_books() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.random(3) ** 4
        assert fisher(p) == (combine_pvalues(p).pvalue < 3 * ERROR)
        assert alone(p) == (p.min() < ERROR)


def test_what_is_on_record_is_what_is_promised() -> None:
    found = json.loads((ROOT / RESULT).read_text())
    assert set(found) == set(ability.MEASURED)
    for name in ("garments", "contexts"):
        rates = [each for each in found[name].values() if isinstance(each, dict)]
        assert sum(each["checked"] for each in rates)
        assert sum(each["named"] for each in rates) == 0
    assert found["contexts"]["cells"]["checked"] % 50 == 0
    for name in ("random", "words"):
        assert found[name]["classes"]["named"] == found[name]["classes"]["checked"]
    real, joined = found["real"], found["joined"]
    for named in real["named"].values():
        assert all(n <= 0.01 * real["trials"] for n in named.values())
    shares = joined["named"].values()
    assert all(set(named) == {*RULES, LOOKS} for named in shares)
    assert all(named[LOOKS] >= named["alone"] for named in shares)
    assert joined["named"]["0.0"][LOOKS] == joined["named"]["0.5"][LOOKS] == 0
    # The table of the document
    text = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    letters = found["letters"]["classes"]
    assert f"{letters['named']} of {letters['checked']}" in text
    for share in ("0.6", "0.7", "0.8", "0.9", "1.0"):
        named = joined["named"][share]
        row = [named[rule] for rule in (LOOKS, "alone", "fisher", "cauchy")]
        assert f"| {float(share):.0%}".replace("%", " % | ") + " | ".join(map(str, row)) in text
