"""A second device without a GPU: tensors that say they are elsewhere and compute on the CPU.

They claim the device `meta`, which needs no hardware and whose backward passes run in the calling
thread. While `far_device()` is open, `.to("meta")` and `device="meta"` give such tensors. They
refuse what a GPU's tensors refuse: meeting the CPU's in one operation, unless those are single
numbers or indices, and NumPy. Their values are those of a CPU, so whatever is computed there has
to equal what is computed here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from unittest.mock import patch

import torch
from diffusers.models import modeling_utils
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

FAR = "meta"


class FarTensor(Tensor):
    """A tensor on the far device; `near` has its values."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> Self:
        return Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            dtype=near.dtype,
            device=torch.device(FAR),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
        )

    def __init__(self, near: Tensor) -> None:
        self.near = near

    def __repr__(self) -> str:
        return f"FarTensor({self.near})"

    def tolist(self) -> Any:
        return self.near.tolist()

    def new_tensor(self, data: Any) -> Tensor:  # like `_tensor` below
        return self.near.new_tensor(data).to(FAR)

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _FarDevice(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def far_device() -> Iterator[str]:
    """Opens the far device; yields its name."""
    with (
        _FarDevice(),
        patch.object(torch, "Generator", _Generator),
        patch.object(torch, "tensor", _tensor),
        patch.object(torch, "inference_mode", torch.no_grad),  # it has no place for subclasses
        # With accelerate it makes networks on `meta` before it has their weights
        patch.object(modeling_utils, "is_accelerate_available", lambda: False),
    ):
        yield FAR


_near_tensor = torch.tensor


def _tensor(data: Any, *, device: torch.device | str | None = None, **kwargs: Any) -> Tensor:
    """Numbers as a tensor, which torch makes on a device without asking the mode."""
    made = _near_tensor(data, **kwargs)
    return made if device is None else made.to(device)


class _AnyGenerator(type(torch.Generator)):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _NearGenerator)


_NearGenerator = torch.Generator


class _Generator(metaclass=_AnyGenerator):
    """A source of randomness, which torch makes for real devices only."""

    def __new__(cls, device: torch.device | str = "cpu") -> Any:
        return _NearGenerator("cpu" if torch.device(device).type == FAR else device)


MOVES = {"aten::_to_copy", "aten::copy_"}
INDEXES = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


def _run(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
        with _FarDevice():  # in inference mode operations come here before they are taken apart
            return func.decompose(*args, **kwargs)
    name = func.overloadpacket._qualified_op_name
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    target = kwargs.get("device")
    if target is None:
        is_far = any(isinstance(t, FarTensor) for t in tensors)
    else:
        is_far = torch.device(target).type == FAR
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if name not in MOVES:
        _check_same_device(name, args, tensors)
    near_args, near_kwargs = tree_map_only(FarTensor, lambda t: t.near, (args, dict(kwargs)))
    result = func(*near_args, **near_kwargs)
    if func._schema.is_mutable and args and isinstance(args[0], Tensor) and name.endswith("_"):
        return args[0]
    if not is_far:
        return result
    return tree_map_only(Tensor, lambda t: t if isinstance(t, FarTensor) else FarTensor(t), result)


def _check_same_device(name: str, args: tuple[Any, ...], tensors: list[Tensor]) -> None:
    if name in INDEXES:
        indices = [t for t in args[1] if isinstance(t, Tensor)]
        tensors = [t for t in (args[0], *args[2:]) if isinstance(t, Tensor)]
        if not isinstance(args[0], FarTensor):
            tensors += indices  # indices on the CPU are taken everywhere, far ones only far away
    places = {isinstance(t, FarTensor) for t in tensors if t.dim()}
    if len(places) > 1:
        raise RuntimeError(f"expected all tensors to be on the same device, in {name}")
