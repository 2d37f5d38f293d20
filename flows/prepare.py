"""The stage prepare: checks the real images, brings them to one size, counts the shot bins.

    python -m flows.prepare

Writes `data/prepared/{train,val,test}.parquet` and `meta.json`.
"""

from prefect import flow

from fgds_core.config.compute import ComputeConfig
from fgds_core.config.data import DataConfig
from fgds_core.config.prepare import PrepareConfig
from tasks.cache import Outputs, content_digests, run


@flow(name="prepare")
def prepare(data: DataConfig, prepare: PrepareConfig, compute: ComputeConfig) -> Outputs:
    """Prepares the real images."""
    from tasks.prepare import prepare_data

    return run(
        prepare_data,
        data=data,
        config=prepare,
        inputs=content_digests(data.root),
        compute=compute,
    )


if __name__ == "__main__":
    from flows.stage import run_stage

    run_stage(prepare, __doc__)
