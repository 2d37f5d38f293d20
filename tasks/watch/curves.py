"""Training curves for `dvc plots`, through DVCLive."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def curves(folder: str) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Keeps one TSV file per curve in `folder/plots/metrics`, without times of day.

    Yields:
        A function to call after each validation with the values by name, `step` among them: the
        optimiser steps so far, which the curves are drawn over.
    """
    from dvclive.live import Live

    with Live(dir=folder, save_dvc_exp=False, dvcyaml=None, report=None) as live:

        def on_epoch(values: Mapping[str, float]) -> None:
            live.step = int(values["step"])
            for name, value in values.items():
                if name not in ("epoch", "step"):
                    live.log_metric(name, value)
            live.make_summary()

        yield on_epoch
