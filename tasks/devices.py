"""Turns the section `compute` into a device and a number of threads."""

from fgds_core.config.compute import ComputeConfig
from fgds_core.errors import InputError


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
