"""One Prefect flow per stage, the whole pipeline as one flow, and the command line.

    python -m flows.<stage> --help

A flow imports its task when it runs, not before: torch and diffusers take many seconds to import,
and `--help` or a typing error in the parameters must not wait for them.
"""

import logging
import os
import sys

# Read by these libraries when they are imported.
os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect
if "PREFECT_LOGGING_LEVEL" not in os.environ:
    # Runs have logs on their pages; on the console the stages show their progress themselves.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
for _name in ("fgds_core", "tasks", "flows"):
    logging.getLogger(_name).setLevel(logging.INFO)
if not sys.stderr.isatty():  # moving bars are unreadable in a log
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # diffusers and transformers
