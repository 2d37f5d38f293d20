"""The task of the stage report."""

from typing import Any

from fgds_core.report.config import ReportConfig
from fgds_core.report.inputs import Places
from fgds_core.report.page import OUTPUTS, write_report
from tasks.identity.cache import Outputs, stage_task, written
from tasks.watch.timing import work
from tasks.workspace import Workspace


@stage_task(name="report")
def write_page(
    config: ReportConfig, params: dict[str, Any], inputs: dict[str, str], workspace: Workspace
) -> Outputs:
    """Writes the page of results, unless the same one was written before.

    Args:
        config: How much the page shows.
        params: All parameters that decide a result, by section.
        inputs: Content digests of what the other stages wrote.
        workspace: Where the reports are.
    """
    with work():
        write_report(
            Places(
                workspace.prepared, workspace.reports, workspace.real_reports, workspace.synthetic
            ),
            params,
            config,
        )
    return written(*(workspace.reports / name for name in OUTPUTS))
