"""Where and how fast the stages compute; nothing here changes a result."""

from typing import Literal

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
    channels_last: bool = Field(
        description="whether networks keep images channels last in memory; often faster on GPUs"
    )
    compile: bool = Field(
        description="whether torch.compile translates the generator's networks: minutes at the "
        "start, faster afterwards"
    )
    attention: Literal["auto", "flash", "efficient", "cudnn", "math"] = Field(
        description="kernel that torch's attention prefers on a GPU; auto lets torch choose, math "
        "is the plain one"
    )
    gradient_checkpointing: bool = Field(
        description="whether guided steps compute activations twice rather than keep them: less "
        "memory, more time"
    )
