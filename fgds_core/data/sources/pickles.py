"""Pickled arrays, read without running anything that a pickle may name."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgds_core.errors import InputError
from fgds_core.files import brief, shown


def read_pickle(path: Path) -> dict[str, Any]:
    """Reads a pickled dictionary of arrays, bytes, text, numbers and lists of these.

    Names are text, whichever Python wrote them; other text of Python 2 is bytes.

    Raises:
        InputError: The file names anything else, is damaged, or holds no dictionary.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise pickle.UnpicklingError(f"more than {_MOST_BYTES:,} bytes")
        content = path.read_bytes()
        _check_size(content)
        found = _Unpickler(content, path).load()
        if isinstance(found, dict):
            return {_text(name): _plain(value) for name, value in found.items()}
    except (InputError, PermissionError):
        raise
    except Exception as error:  # a pickle can end in any
        raise InputError(
            f"{shown(path)} is no readable pickle ({brief(str(error) or type(error).__name__)}); "
            "fetch it again"
        ) from error
    raise InputError(f"{shown(path)} holds no dictionary; fetch it again")


_MOST_BYTES = 2**30
"""Of a file; those of CIFAR have 155 million at most."""

_MOST_STEPS = 5_000_000
"""Of a file, each of which may make an object; those of CIFAR have a few 100,000."""

_KEEPING = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
"""Steps that number what was made, to be used again."""


def _check_size(content: bytes) -> None:
    """Refuses a pickle that would take far more memory than it has bytes.

    A single step can ask for a place in a table of any length; who writes a pickle numbers these
    places one after the other.
    """
    kept = 0
    for step, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name in _KEEPING:
            kept += 1
            if argument is not None and argument > kept:
                raise pickle.UnpicklingError(f"keeps something at the place {argument}")
        if step >= _MOST_STEPS:
            raise pickle.UnpicklingError(f"more than {_MOST_STEPS:,} steps")


def _text(name: object) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)


def _plain(value: object) -> object:
    return value.values() if isinstance(value, _Array) else value


class _DType:
    """What a pickle says of an array's type: one code, such as `u1`."""

    def __init__(self, code: str | bytes, *how: object) -> None:
        self._code, self._order = _text(code), "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._order = _text(state[1])

    def found(self) -> np.dtype[Any]:
        """The type; numbers only."""
        dtype = np.dtype(self._order.replace("|", "") + self._code)
        if dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"array of {dtype}")
        return dtype


class _Array:
    """What a pickle says of an array: in place of numpy's own way to be told so."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self._shape, self._dtype, self._columns_first, self._content = state

    def values(self) -> NDArray[Any]:
        """The array."""
        flat = np.frombuffer(self._content, self._dtype.found())
        return flat.reshape(self._shape, order="F" if self._columns_first else "C")


def _array(kind: object, *how: object) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError("array of another kind")
    return _Array()


def _content(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes as {encoding}")
    return text.encode("latin-1")


_ADMITTED: dict[str, object] = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _DType,
    "numpy.core.multiarray._reconstruct": _array,
    "numpy._core.multiarray._reconstruct": _array,
    "_codecs.encode": _content,
}
"""What stands here for the few names that pickled arrays are made with."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")  # reads no more than is there
        self._path = path

    def find_class(self, module: str, name: str) -> object:
        """What a name stands for; no module is imported.

        Raises:
            InputError: It is none that an array needs.
        """
        wanted = f"{module}.{name}"
        if wanted not in _ADMITTED:
            raise InputError(
                f"{shown(self._path)} wants to load {brief(wanted)}, but only arrays, bytes, text "
                "and dictionaries are read from a pickle; get the file from its publisher"
            )
        return _ADMITTED[wanted]
