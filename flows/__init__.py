"""One Prefect flow per stage, the whole pipeline as one flow, and the command line.

    python -m flows.<stage> --help

A flow imports its task when it runs, not before: torch and diffusers take many seconds to import,
and `--help` or a typing error in the parameters must not wait for them.
"""

from flows.cli.environment import prepare as _prepare

_prepare()  # before any library that reads the environment is imported
