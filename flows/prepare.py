"""The stage prepare: checks the real images, brings them to one size, counts the shot bins.

    python -m flows.prepare

Writes `data/prepared/{train,val,test}.parquet` and `meta.json`, and prints how many images and
classes there are.
"""

from prefect import flow

from fgds_core.data.config import DataConfig, PrepareConfig
from tasks.identity.cache import Outputs, content_digests, named_digest, run
from tasks.watch.progress import say_result
from tasks.workers.config import ComputeConfig
from tasks.workspace import FIRST, Workspace


@flow(name="prepare")
def prepare(
    data: DataConfig,
    prepare: PrepareConfig,
    compute: ComputeConfig,
    workspace: Workspace = FIRST,
) -> Outputs:
    """Prepares the real images."""
    from fgds_core.data.meta import read_meta
    from fgds_core.data.prepare import summary
    from fgds_core.data.sources import open_source
    from tasks.identity.links import note_listing, watch
    from tasks.prepare import prepare_data

    watch(data.root)
    # What is wrong with names, layout and sizes is said before bytes are read.
    source = open_source(data, prepare.max_image_bytes)
    if source.digest:
        note_listing(source.digest)
        inputs = {data.root: source.digest}
    elif source.files is None:
        inputs = content_digests(data.root)
    else:
        inputs = named_digest(data.root, source.files())
    outputs = run(
        prepare_data,
        data=data,
        config=prepare,
        inputs=inputs,
        source=source,
        compute=compute,
        workspace=workspace,
    )
    for note in filter(None, (source.left_out, *source.notes)):
        say_result("prepare", note)
    images, classes, *more = summary(read_meta(workspace.prepared)).splitlines()
    for note in more:
        say_result("prepare", note)
    say_result("prepare", f"{images.removeprefix('prepared ')}; {classes}")
    return outputs


if __name__ == "__main__":
    from flows.cli.stage import run_stage

    run_stage(prepare, __doc__)
