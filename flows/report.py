"""The stage report: puts everything measured on one page that people decide by.

    python -m flows.report

Writes `reports/index.html` and, of a large page, its pictures into `reports/pictures`; the verdict
as `reports/verdict.json`; `reports/summary.csv`, `reports/paired.csv` and
`reports/confusion_changes.csv`; and prints the table of accuracies.
"""

import os
from dataclasses import dataclass, fields
from typing import Any

from prefect import flow
from pydantic import BaseModel

from fgds_core.adapt.config import AdaptConfig
from fgds_core.assess.config import AssessConfig
from fgds_core.classify.config import RetrainConfig, TrainConfig
from fgds_core.data.config import DataConfig, PrepareConfig
from fgds_core.files import read_json
from fgds_core.generators.config import GeneratorConfig
from fgds_core.judge.config import JudgeConfig
from fgds_core.report.config import ReportConfig
from fgds_core.synthesis.config import SynthesizeConfig
from flows.cli.tables import TABLE_LATER, show_results
from tasks.identity.cache import Outputs, content_digests, run
from tasks.watch.progress import say_result
from tasks.workspace import FIRST, Workspace


@dataclass(frozen=True)
class ResultParams:
    """All parameters that decide a result, which the page shows."""

    seed: int
    data: DataConfig
    prepare: PrepareConfig
    judge: JudgeConfig
    train_baseline: TrainConfig
    adapt: AdaptConfig
    generator: GeneratorConfig
    synthesize: SynthesizeConfig
    assess: AssessConfig
    retrain: RetrainConfig
    report: ReportConfig

    def as_json(self) -> dict[str, Any]:
        """Section -> its values."""
        sections = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            for name, value in sections.items()
        }


@flow(name="report")
def report(params: ResultParams, workspace: Workspace = FIRST) -> Outputs:
    """Writes the page."""
    from fgds_core.report.page import VERDICT
    from tasks.report import write_page

    trained = (workspace.real_reports, "baseline"), (workspace.real_reports, "control")
    inputs = content_digests(
        workspace.prepared / "meta.json",
        workspace.synthetic_index,
        workspace.ability,
        *(path for path in (workspace.unadapted().ability,) if path.is_file()),
        *(folder / f"{name}{end}" for folder, name in trained for end in ("", ".json")),
        *(workspace.reports / name for name in ("assess", "final", "final.json")),
    )
    outputs = run(
        write_page,
        config=params.report,
        params=params.as_json(),
        inputs=inputs,
        workspace=workspace,
    )
    verdict = read_json(workspace.reports / VERDICT, "run the stage report again")
    say_result("report", verdict["headline"])
    if TABLE_LATER not in os.environ:
        show_results(workspace)
    return outputs


if __name__ == "__main__":
    from flows.cli.stage import run_stage

    run_stage(report, __doc__)
