"""One Prefect flow per stage, the whole pipeline as one flow, and the command line.

    python -m flows.<stage> --help

A flow imports its task when it runs, not before: torch and diffusers take many seconds to import,
and `--help` or a typing error in the parameters must not wait for them.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")  # read by Prefect when it is imported
