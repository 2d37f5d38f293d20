"""What a run is called on Prefect's pages, and the tags by which it is found there."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from httpx import HTTPError
from prefect import Flow, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run

from fgds_core.errors import InputError
from flows.cli.arguments import sections_in
from flows.cli.params import read_params
from tasks.workspace import FIRST, Workspace


def named(flow: Flow[..., Any]) -> Flow[..., Any]:
    """The same flow of a stage, whose runs are called by what they do."""
    return flow.with_options(flow_run_name=stage_run_name)


def stage_run_name() -> str:
    """Such as `synthesize tiny-unclip loss 0.05 seed 0 #12`; called within the run."""
    given = flow_run.parameters
    name = run_name(flow_run.flow_name, sections_in(given), given.get("workspace", FIRST))
    return f"{name}{_number()}"


def pipeline_run_name() -> str:
    """Such as `synth-pipeline fashion-lt tiny-unclip loss 0.05 seed 0 #12`."""
    name = flow_run.flow_name
    try:
        params = flow_run.parameters
        everything = read_params(Path(params["params"]), params["overrides"] or {})
        return f"{run_name(name, everything)}{_number()}"
    except InputError:  # which the run itself will report
        return str(name)


def _number() -> str:
    """Such as ` #12` of the twelfth run of this flow that the server knows; empty if it fails."""
    of_this_flow = FlowFilter(name=FlowFilterName(any_=[str(flow_run.flow_name)]))
    try:
        with get_client(sync_client=True) as client:
            return f" #{client.count_flow_runs(flow_filter=of_this_flow)}"
    except (HTTPError, PrefectHTTPStatusError):  # a name without it is a name
        return ""


def run_name(
    flow_name: str | None, params: Mapping[str, Any], workspace: Workspace = FIRST
) -> str:
    """The name of a flow and the values that tell its runs apart.

    Args:
        flow_name: Of the flow.
        params: Its sections by name.
        workspace: Where it works; a round after the first is named.
    """
    words = [str(flow_name), *described(params).values()]
    if "seed" in params:
        words.append(f"seed {params['seed']}")
    if workspace != FIRST:
        words.append(f"round {workspace.round}")
    return " ".join(words)


def tags_of(params: Mapping[str, Any]) -> set[str]:
    """Such as `data:fashion-lt`, `recipe:loss 0.05` and `commit:1a2b3c4`."""
    tags = {f"{kind}:{value}" for kind, value in described(params).items()}
    if commit := current_commit():
        tags.add(f"commit:{commit}")
    return tags


def described(params: Mapping[str, Any]) -> dict[str, str]:
    """The data, the generator and the recipe, as far as the sections tell them."""
    found = {}
    if "data" in params:
        found["data"] = _last_name(params["data"].root)
    if "generator" in params:
        found["generator"] = _last_name(params["generator"].path)
    if "synthesize" in params:
        recipe = params["synthesize"]
        unguided = recipe.feedback == "none" or not recipe.feedback_scale
        found["recipe"] = (
            "unguided" if unguided else f"{recipe.feedback} {recipe.feedback_scale:g}"
        )
    return found


def current_commit() -> str | None:
    """The short name of the commit that is checked out, with `+` where files were changed."""
    command = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _last_name(place: str) -> str:
    """The last folder of a path, or the name of a model id."""
    return Path(place).name or place
