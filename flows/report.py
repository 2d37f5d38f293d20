"""The stage report: puts everything measured on one self-contained page.

    python -m flows.report

Writes `reports/index.html` and `reports/summary.csv`, and prints the table of accuracies. A few
seconds.
"""

import os

from prefect import flow

from fgds_core.config.assess import AssessConfig
from fgds_core.config.data import DataConfig
from fgds_core.config.generator import GeneratorConfig
from fgds_core.config.prepare import PrepareConfig
from fgds_core.config.report import ReportConfig
from fgds_core.config.retrain import RetrainConfig
from fgds_core.config.synthesize import SynthesizeConfig
from fgds_core.config.train_baseline import TrainBaselineConfig
from flows.tables import TABLE_LATER, show_results
from tasks.cache import Outputs, content_digests, run
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
    from flows.stage import run_stage

    run_stage(report, __doc__)
