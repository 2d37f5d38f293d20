"""How long the stages take: what README, `--help` and the page say comes from one measurement.

README and `--help` name the recorded run of `make repro`; for this machine, `--help` adds what
`reports/timing.json` has of the last run, which is what the page shows.
"""

from pathlib import Path

from tasks.watch.timing import TIMING, read_timing

MINUTES = 4.0
"""The whole of `make repro` on the embedded default with 2 CPU cores, as README says it."""


def with_time(description: str | None, stage: str | None = None, timing: Path = TIMING) -> str:
    """What `--help` says of a stage, or of all, with how long it takes.

    Args:
        description: What is made; None without docstrings.
        stage: The name of the stage; None is all of them.
        timing: What the last runs took.
    """
    whole = f"All stages take {MINUTES} minutes for the embedded default on 2 CPU cores."
    return " ".join([f"{(description or '').rstrip()}\n\n{whole}", *_here(stage, timing)])


def _here(stage: str | None, timing: Path) -> list[str]:
    found = read_timing(timing)
    try:
        times = found if stage is None else found["stages"][stage]
        return [f"Here the last run took {times['total_s']:.0f} s."] if found["stages"] else []
    except (ValueError, LookupError, TypeError):
        return []
