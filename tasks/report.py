"""The task of the stage report."""

from pathlib import Path
from typing import Any

from fgds_core.report.config import ReportConfig
from fgds_core.report.page import write_report
from tasks.identity.cache import Outputs, stage_task, written
from tasks.layout import PREPARED, REPORTS
from tasks.watch.timing import work

OWNED = (f"{REPORTS}/index.html", f"{REPORTS}/summary.csv")


@stage_task(name="report")
def write_page(config: ReportConfig, params: dict[str, Any], inputs: dict[str, str]) -> Outputs:
    """Writes the page of results, unless the same one was written before.

    Args:
        config: How much the page shows.
        params: All parameters that decide a result, by section.
        inputs: Content digests of what the other stages wrote.
    """
    with work():
        write_report(Path(PREPARED), Path(REPORTS), params, config)
    return written(*OWNED)
