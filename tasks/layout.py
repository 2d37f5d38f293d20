"""The folders of the first round as text, until every stage is handed its workspace."""

from tasks.workspace import Workspace

_FIRST = Workspace()

PREPARED = _FIRST.prepared.as_posix()
SYNTHETIC = _FIRST.synthetic.as_posix()
BASELINE = _FIRST.baseline.as_posix()
CONTROL = _FIRST.control.as_posix()
FINAL = _FIRST.final.as_posix()
REPORTS = _FIRST.reports.as_posix()
OUTPUTS = tuple(path.as_posix() for path in _FIRST.outputs)
SYNTHETIC_INDEX = _FIRST.synthetic_index.as_posix()
