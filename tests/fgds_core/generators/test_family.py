"""What is known of a kind before anything is loaded agrees with its family."""

import inspect
import subprocess
import sys

import diffusers

from fgds_core.agreement import FLOW, TEXT_ALONE
from fgds_core.generators.family import KINDS, load_family

FAMILIES = {kind: load_family(kind) for kind in KINDS}


def test_kinds_of_text_alone_have_no_condition_on_images() -> None:
    assert {kind for kind, family in FAMILIES.items() if family.image is None} == {*TEXT_ALONE}


def test_flows_are_the_kinds_whose_pipelines_are_trained_with_one() -> None:
    def solver(pipeline: str) -> str:
        parameters = inspect.signature(getattr(diffusers, pipeline).__init__).parameters
        return str(parameters["scheduler"].annotation)

    flows = {kind: {"FlowMatch" in solver(p) for p in FAMILIES[kind].layouts} for kind in KINDS}
    assert flows == {kind: {kind in FLOW} for kind in KINDS}


def test_every_pipeline_of_a_family_has_the_component_that_denoises() -> None:
    for family in FAMILIES.values():
        for layout in family.layouts.values():
            assert family.network in layout.components
            assert layout.components.keys() & layout.optional.keys() == set()


def test_a_folder_is_checked_without_a_library_of_models() -> None:
    code = f"""
import sys
from fgds_core.assess.networks import check_tower
from fgds_core.generators.adapter import check_adapter
from fgds_core.generators.family import load_family
from fgds_core.generators.folders import check_generator
for kind in {list(KINDS)}:
    load_family(kind)
print(sorted({{"torch", "diffusers", "transformers"}} & set(sys.modules)))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stdout.strip() == "[]", told.stderr
