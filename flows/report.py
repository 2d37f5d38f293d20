"""The stage report: puts everything measured on one self-contained page.

    python -m flows.report

Writes `reports/index.html` and `reports/summary.csv`, and prints the table of accuracies.
"""

import os

from prefect import flow

from fgds_core.assess.config import AssessConfig
from fgds_core.classify.config import RetrainConfig, TrainBaselineConfig
from fgds_core.data.config import DataConfig, PrepareConfig
from fgds_core.generators.config import GeneratorConfig
from fgds_core.report.config import ReportConfig
from fgds_core.synthesis.config import SynthesizeConfig
from flows.cli.tables import TABLE_LATER, show_results
from tasks.identity.cache import Outputs, content_digests, run
from tasks.layout import PREPARED, REPORTS

MEASURED = (
    "baseline",
    "baseline.json",
    "control",
    "control.json",
    "assess",
    "final",
    "final.json",
)
"""What the page reads of the reports."""


@flow(name="report")
def report(
    seed: int,
    data: DataConfig,
    prepare: PrepareConfig,
    train_baseline: TrainBaselineConfig,
    generator: GeneratorConfig,
    synthesize: SynthesizeConfig,
    assess: AssessConfig,
    retrain: RetrainConfig,
    report: ReportConfig,
) -> Outputs:
    """Writes the page; it shows the parameters of all stages."""
    from tasks.report import write_page

    sections = {
        "data": data,
        "prepare": prepare,
        "train_baseline": train_baseline,
        "generator": generator,
        "synthesize": synthesize,
        "assess": assess,
        "retrain": retrain,
        "report": report,
    }
    params = {name: section.model_dump(mode="json") for name, section in sections.items()}
    outputs = run(
        write_page,
        config=report,
        params={"seed": seed, **params},
        inputs=content_digests(
            f"{PREPARED}/meta.json", *(f"{REPORTS}/{name}" for name in MEASURED)
        ),
    )
    if TABLE_LATER not in os.environ:
        show_results()
    return outputs


if __name__ == "__main__":
    from flows.cli.stage import run_stage

    run_stage(report, __doc__)
