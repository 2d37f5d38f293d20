"""The stage assess: measures the synthetic images against real validation images.

    python -m flows.assess

Writes `reports/synthetic.json` (FID, KID, precision, recall, density, coverage) and, with
intervals, sample sizes and classes, `reports/assess/`.
"""

from pathlib import Path

from prefect import flow

from fgds_core.assess.config import AssessConfig
from fgds_core.files import read_json
from fgds_core.generators.config import GeneratorConfig
from tasks.identity.cache import Outputs, content_digests, run
from tasks.identity.generator import generator_digests
from tasks.identity.links import watch_links
from tasks.watch.progress import say_result
from tasks.workers.config import ComputeConfig
from tasks.workspace import FIRST, Workspace


@flow(name="assess")
def assess(
    seed: int,
    generator: GeneratorConfig,
    assess: AssessConfig,
    compute: ComputeConfig,
    workspace: Workspace = FIRST,
) -> Outputs:
    """Measures the synthetic set."""
    from fgds_core.synthesis.steps import steps_folder
    from tasks.assess import assess_synthetic

    prior = None if generator.prior is None else generator.prior.path
    watch_links("assess", generator.path, prior)
    inputs = content_digests(
        workspace.prepared, workspace.synthetic_index, workspace.baseline, workspace.judge
    )
    beside = (workspace.unguided, steps_folder(workspace.synthetic))
    inputs |= content_digests(*filter(Path.exists, beside))
    if assess.inception_weights is not None:
        inputs |= content_digests(assess.inception_weights)
    outputs = run(
        assess_synthetic,
        generator=generator,
        config=assess,
        seed=seed,
        inputs=inputs | generator_digests(generator),
        compute=compute,
        workspace=workspace,
    )
    for line in results(workspace.reports / "assess" / "measures.json"):
        say_result("assess", line)
    return outputs


def results(measures: Path) -> list[str]:
    """The overall measures in a line, and a line for each warning.

    Args:
        measures: The file the stage has written.
    """
    found = read_json(measures, "run the stage assess again")
    names = {"fid": "FID", "kid": "KID", "density": "density", "coverage": "coverage"}
    values = {name: found[name]["value"] for name in names}
    said = [
        f"{label} {'-' if values[name] is None else f'{values[name]:.3g}'}"
        for name, label in names.items()
    ]
    sizes = (
        f"{found['num_synthetic']:,} synthetic against {found['kid']['num_real']:,} validation"
        " images"
    )
    lines = [f"{', '.join(said)}; {sizes}"]
    lines += [f"warning: {warning}" for warning in found["warnings"]]
    reasons: dict[str, list[str]] = {}
    for name, label in names.items():
        if (reason := found[name].get("reason")) is not None and reason not in found["warnings"]:
            reasons.setdefault(reason, []).append(label)
    return lines + [f"no {', '.join(labels)}: {reason}" for reason, labels in reasons.items()]


if __name__ == "__main__":
    from flows.cli.stage import run_stage

    run_stage(assess, __doc__)
