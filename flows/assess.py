"""The stage assess: measures the synthetic images against real validation images.

    python -m flows.assess

Writes `reports/synthetic.json` (FID, KID, precision, recall, density, coverage) and
`reports/assess/`. About half a minute for the embedded default on 2 CPU cores.
"""

from prefect import flow

from fgds_core.config.assess import AssessConfig
from fgds_core.config.compute import ComputeConfig
from fgds_core.config.generator import GeneratorConfig
from tasks.cache import Outputs, content_digests, run
from tasks.generator import generator_digests
from tasks.layout import BASELINE, PREPARED, SYNTHETIC_INDEX
from tasks.watch import watch_links


@flow(name="assess")
def assess(
    seed: int, generator: GeneratorConfig, assess: AssessConfig, compute: ComputeConfig
) -> Outputs:
    """Measures the synthetic set."""
    from tasks.assess import assess_synthetic

    watch_links("assess", generator.path)
    inputs = content_digests(PREPARED, SYNTHETIC_INDEX, BASELINE)
    if assess.inception_weights is not None:
        inputs |= content_digests(assess.inception_weights)
    return run(
        assess_synthetic,
        generator=generator,
        config=assess,
        seed=seed,
        inputs=inputs | generator_digests(generator),
        compute=compute,
    )


if __name__ == "__main__":
    from flows.stage import run_stage

    run_stage(assess, __doc__)
