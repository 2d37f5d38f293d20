"""Turns the section `compute` into a device and a number of threads."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fgds_core.errors import InputError
from fgds_core.processes import num_cores
from tasks.workers.config import ComputeConfig


def use_device(compute: ComputeConfig) -> str:
    """Sets this process's CPU threads and attention kernel and names the device it computes on.

    Raises:
        InputError: The device is not there.
    """
    import torch

    if compute.threads:
        torch.set_num_threads(compute.threads)
    if torch.cuda.is_available():
        _prefer_attention(compute.attention)
    if compute.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = compute.device.partition(":")
    if kind == "cuda" and torch.cuda.device_count() <= int(number or 0):
        raise InputError(
            f"compute.device: there is no {compute.device}, this machine has "
            f"{torch.cuda.device_count()} CUDA devices; set it to auto or cpu"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("compute.device: there is no mps here; set it to auto or cpu")
    return compute.device


def num_loader_workers(compute: ComputeConfig) -> int:
    """How many processes read images for one training, or prepare them."""
    return num_cores() if compute.loader_workers is None else compute.loader_workers


def num_workers(compute: ComputeConfig) -> int:
    """How many parts this machine draws at a time: no more than its GPUs may be shared by."""
    gpus = _num_gpus(compute)
    return min(compute.workers, gpus * compute.workers_per_device) if gpus else compute.workers


def needs_processes(compute: ComputeConfig) -> bool:
    """Whether this machine's workers are processes, one on each GPU, rather than threads."""
    return _num_gpus(compute) > 0 and num_workers(compute) > 1


def num_training_processes(compute: ComputeConfig) -> int:
    """How many processes learn together in one training: no more than there are GPUs for.

    Raises:
        InputError: There are fewer GPUs than processes.
    """
    wanted = compute.training_processes
    if wanted == 1:
        return 1
    gpus = _num_gpus(compute)
    if wanted is not None and 0 < gpus < wanted:
        raise InputError(
            f"compute.training_processes: {wanted} processes need as many GPUs, with "
            f"compute.device {compute.device} there are {gpus}; lower it, or set it to null"
        )
    return max(1, gpus) if wanted is None else wanted


def _num_gpus(compute: ComputeConfig) -> int:
    """How many GPUs the workers may choose from; one that is named is no choice."""
    if compute.device == "cpu":
        return 0
    if compute.device not in ("auto", "cuda"):
        return 1
    import torch

    return torch.cuda.device_count()


@dataclass(frozen=True)
class ClaimedDevice:
    """A device that a worker has for as long as it holds this.

    Attributes:
        name: Such as cuda:0.
        lock: Of a GPU that was chosen: it keeps other workers of this machine away, whether they
            belong to one cluster or to several, and ends with the process however that dies.
    """

    name: str
    lock: FileLock | None = None


def claim_device(compute: ComputeConfig) -> ClaimedDevice:
    """Chooses the device of a worker, its own where that is a GPU.

    Raises:
        InputError: The device is not there, or all GPUs are taken.
    """
    device = use_device(compute)
    if device != "cuda":
        return ClaimedDevice(device)
    import torch

    for slot in range(compute.workers_per_device):
        for number in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(number).uuid
            if (lock := _claim(f"{gpu}-{slot}")) is not None:
                return ClaimedDevice(f"cuda:{number}", lock)
    raise InputError(
        f"all {torch.cuda.device_count()} GPUs of this machine are taken by other workers; start"
        " fewer (compute.workers), or let them share: compute.workers_per_device"
    )


def _claim(name: str) -> FileLock | None:
    folder = Path(tempfile.gettempdir()) / f"fgds-devices-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / f"{name}.lock", thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


def _prefer_attention(name: str) -> None:
    """Leaves torch's attention one fast kernel; what it cannot compute goes the plain way."""
    from torch.backends import cuda

    switches = {
        "flash": cuda.enable_flash_sdp,
        "efficient": cuda.enable_mem_efficient_sdp,
        "cudnn": cuda.enable_cudnn_sdp,
    }
    for kernel, switch in switches.items():
        switch(name in ("auto", kernel))
