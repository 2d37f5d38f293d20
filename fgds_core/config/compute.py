"""Where and how fast the stages compute; nothing here changes a result."""

from pydantic import Field, PositiveInt

from fgds_core.config.section import Section


class ComputeConfig(Section):
    """Devices, threads and batches. Part of no cache key and of no stage's dependencies."""

    device: str = Field(
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="auto (a GPU where there is one), cpu, mps, cuda or cuda:<number>",
    )
    threads: int = Field(
        ge=0, le=1024, description="CPU threads of a process; 0 is as many as there are cores"
    )
    workers: int = Field(
        ge=1, le=256, description="parts that are drawn at the same time, 1 or more"
    )
    batch_size: PositiveInt = Field(
        description="images that are drawn, embedded or measured together"
    )
    micro_batch: PositiveInt | None = Field(
        description="images of a batch that are encoded, decoded and classified at a time; null "
        "is all of them, a small number saves memory"
    )
