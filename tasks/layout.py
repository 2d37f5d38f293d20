"""Where each stage puts what it makes, relative to the workspace."""

PREPARED = "data/prepared"
SYNTHETIC = "data/synthetic"
BASELINE = "models/baseline"
CONTROL = "models/control"
FINAL = "models/final"
REPORTS = "reports"

OUTPUTS = (
    PREPARED,
    SYNTHETIC,
    BASELINE,
    CONTROL,
    FINAL,
    f"{REPORTS}/baseline",
    f"{REPORTS}/control",
    f"{REPORTS}/assess",
    f"{REPORTS}/final",
)
"""The folders that stages replace as a whole."""

SYNTHETIC_INDEX = f"{SYNTHETIC}/_index.json"
"""Names every part with its digest, so it stands for the whole synthetic set in a cache key."""
