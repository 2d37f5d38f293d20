"""Where and how fast the stages compute; nothing here changes a result."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fgds_core.section import Section

CLUSTER_CLASSES = (
    "dask.distributed.LocalCluster",
    "dask_cuda.LocalCUDACluster",
    *(
        f"dask_jobqueue.{system}Cluster"
        for system in ("HTCondor", "LSF", "Moab", "OAR", "PBS", "SGE", "SLURM")
    ),
    "dask_kubernetes.operator.KubeCluster",
)
"""What may be started as a cluster unless the parameters allow more."""

_DOTTED = r"^[A-Za-z_][A-Za-z0-9_.]*\.[A-Za-z_][A-Za-z0-9_]*$"


class DaskConfig(Section):
    """The Dask cluster whose workers draw, with `runner: dask`."""

    address: str | None = Field(
        description="scheduler of a cluster that runs, such as tcp://host:8786; null starts one"
    )
    cluster_class: str = Field(
        description="class of the cluster to start, such as dask.distributed.LocalCluster, "
        "dask_cuda.LocalCUDACluster or dask_jobqueue.SLURMCluster; it starts programs, so it is "
        "one that this project knows, or one of allowed_cluster_classes",
    )
    allowed_cluster_classes: list[Annotated[str, Field(pattern=_DOTTED)]] = Field(
        default=[],
        max_length=100,
        description="further classes that cluster_class may name; in the file only, never in "
        "overrides",
    )
    cluster_kwargs: dict[str, Any] = Field(
        description="its arguments; dashboards listen on this machine alone unless "
        "dashboard_address says otherwise"
    )
    adapt: dict[str, Any] | None = Field(
        description="arguments of its adapt(), such as {minimum: 1, maximum: 8}, to start and "
        "stop workers by need | null"
    )

    @model_validator(mode="after")
    def _start_what_is_known(self) -> "DaskConfig":
        if self.cluster_class not in {*CLUSTER_CLASSES, *self.allowed_cluster_classes}:
            raise ValueError(
                f"cluster_class must be one of {', '.join(CLUSTER_CLASSES)}; add another class to"
                " allowed_cluster_classes if you trust it"
            )
        return self


class ComputeConfig(Section):
    """Devices, threads and batches. Part of no cache key and of no stage's dependencies."""

    device: str = Field(
        pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$",
        description="auto (a GPU where there is one), cpu, mps, cuda or cuda:<number>",
    )
    threads: int = Field(
        ge=0, le=1024, description="CPU threads of a process; 0 is as many as there are cores"
    )
    runner: Literal["local", "dask"] = Field(
        description="who draws: this machine (a process for each GPU, threads on a CPU) or the "
        "workers of a Dask cluster"
    )
    workers: int = Field(
        ge=1, le=4096, description="parts that are drawn at the same time, 1 or more"
    )
    workers_per_device: int = Field(
        ge=1, le=64, description="worker processes that may share one GPU"
    )
    loader_workers: Annotated[int, Field(ge=0, le=4096)] | None = Field(
        description="processes that prepare images, or read them ahead where a stage trains or "
        "measures; 0 is none beside the stage's own, null as many as there are cores (small sets "
        "need none)"
    )
    batch_size: int = Field(
        ge=1, le=65_536, description="images that are drawn, embedded or measured together"
    )
    micro_batch: Annotated[int, Field(ge=1, le=65_536)] | None = Field(
        description="images of a batch that are encoded, decoded and classified at a time; null "
        "is all of them, a small number saves memory"
    )
    channels_last: bool = Field(
        description="whether networks that draw and that learn keep images channels last in "
        "memory; often faster on GPUs"
    )
    compile: bool = Field(
        description="whether torch.compile translates the networks that draw and that learn: "
        "minutes at the start, faster afterwards"
    )
    attention: Literal["auto", "flash", "efficient", "cudnn", "math"] = Field(
        description="kernel that torch's attention prefers on a GPU; auto lets torch choose, math "
        "is the plain one"
    )
    gradient_checkpointing: bool = Field(
        description="whether guided steps compute activations twice rather than keep them: less "
        "memory, more time"
    )
    max_device_hours: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        description="device-hours above which synthesize refuses to start, by a probe of a few "
        "images; null is no limit and no probe"
    )
    checkpoint_every_s: Annotated[float, Field(gt=0, le=1e9)] = Field(
        description="seconds of training that are lost at most when it is stopped; the same "
        "command goes on from there"
    )
    training_processes: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        description="processes that learn together, each on a GPU of its own and on its part of "
        "every batch; null is one for each GPU"
    )
    dask: DaskConfig | None = Field(description="the cluster, with runner dask | null")

    @model_validator(mode="after")
    def _agree(self) -> "ComputeConfig":
        if self.runner == "dask" and self.dask is None:
            raise ValueError(
                "runner dask needs the section dask, with the address of a scheduler or the class"
                " of a cluster"
            )
        return self
