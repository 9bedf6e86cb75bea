"""SSZ containers read by offset: their layout, and a view of each field without a copy.

Fields of fixed size follow one another; for every field of variable size there is the offset of its
content, and the contents follow in the same order. Source: consensus-specs,
``ssz/simple-serialize.md``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from valmon_pipeline.beacon.columns import FieldError
from valmon_pipeline.chain.spec import ChainSpec

OFFSET_BYTES: Final = 4
UINT64_BYTES: Final = 8
ROOT_BYTES: Final = 32
PUBKEY_BYTES: Final = 48
CHECKPOINT_BYTES: Final = UINT64_BYTES + ROOT_BYTES
ETH1_DATA_BYTES: Final = ROOT_BYTES + UINT64_BYTES + ROOT_BYTES

_OFFSET: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Fixed:
    """A field of the same size in every container of a chain."""

    name: str
    size: int | Callable[[ChainSpec], int]


@dataclass(frozen=True, slots=True)
class Variable:
    """A list of rows of ``row_size`` bytes; with row size 1 also anything else of any length."""

    name: str
    row_size: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field lies in the fixed part: its bytes there, or those of its offset.

    ``row_size`` is None for a field of fixed size.
    """

    at: int
    size: int
    row_size: int | None


@dataclass(frozen=True, slots=True)
class ContainerLayout:
    """The fields of a container in their order, and the size of the fixed part (bytes)."""

    places: dict[str, Place]
    fixed_size: int


def container_layout(spec: ChainSpec, fields: Iterable[Fixed | Variable]) -> ContainerLayout:
    """Return where the fields of a container lie.

    Raises:
        ChainRuleViolationError: the node does not list a constant that sizes depend on.
    """
    fields = tuple(fields)
    sizes = [
        OFFSET_BYTES
        if isinstance(field, Variable)
        else field.size
        if isinstance(field.size, int)
        else field.size(spec)
        for field in fields
    ]
    starts = accumulate(sizes, initial=0)
    places = {
        field.name: Place(at, size, field.row_size if isinstance(field, Variable) else None)
        for field, at, size in zip(fields, starts, sizes, strict=False)
    }
    return ContainerLayout(places, sum(sizes))


class Container:
    """Fields of a container by name. Fixed ones can be read at once, lists once they are located.

    ``kind`` names the container in errors, ``path`` precedes the names of its fields there.
    Nothing is copied: all views keep the buffer alive.

    Raises:
        FieldError: there are fewer bytes than the fixed part has.
    """

    __slots__ = ("_extents", "_kind", "_layout", "_path", "_view")

    def __init__(
        self, layout: ContainerLayout, view: memoryview, kind: str, path: str = ""
    ) -> None:
        self._layout = layout
        self._view = view
        self._kind = kind
        self._path = path
        self._extents: dict[str, tuple[int, int]] = {}
        if len(view) < layout.fixed_size:
            raise FieldError(
                f"{path}(size)",
                len(view),
                f"at least {layout.fixed_size} bytes, the fixed part of a {kind}",
            )

    def locate_lists(self) -> None:
        """Check all offsets and keep where the lists lie.

        Raises:
            FieldError: the first offset does not end the fixed part, one decreases or points
                outside, or a list does not hold whole rows.
        """
        size = len(self._view)
        fixed_size = self._layout.fixed_size
        variable = [(name, place) for name, place in self._layout.places.items() if place.row_size]
        starts = [_OFFSET.unpack_from(self._view, place.at)[0] for _, place in variable]
        lowest = fixed_size
        for number, start in enumerate(starts):
            field = f"{self._path}{variable[number][0]}"
            if number == 0 and start != lowest:
                raise FieldError(
                    f"{field} (offset)",
                    start,
                    f"{lowest}, the end of the {self._kind}'s fixed part",
                )
            if not lowest <= start <= size:
                raise FieldError(
                    f"{field} (offset)",
                    start,
                    f"an offset from {lowest}, where the list before it starts, to {size}, the "
                    f"end of the {self._kind}",
                )
            lowest = start
        for (name, place), start, end in zip(variable, starts, [*starts[1:], size], strict=True):
            assert place.row_size is not None
            if (end - start) % place.row_size:
                raise FieldError(
                    f"{self._path}{name} (size)",
                    end - start,
                    f"a multiple of {place.row_size} bytes",
                )
            self._extents[name] = start, end

    def __contains__(self, name: str) -> bool:
        return name in self._layout.places

    def fixed(self, name: str) -> memoryview:
        """The bytes of a field of fixed size."""
        place = self._layout.places[name]
        assert place.row_size is None
        return self._view[place.at : place.at + place.size]

    def uint64(self, name: str) -> int:
        """A field of fixed size as an integer."""
        return int.from_bytes(self.fixed(name), "little")

    def content(self, name: str) -> memoryview:
        """The bytes of a list that was located."""
        start, end = self._extents[name]
        return self._view[start:end]


def elements(view: memoryview, path: str) -> list[memoryview]:
    """Return the elements of a list whose elements are of variable size.

    Raises:
        FieldError: its offsets do not begin with their own end, decrease, or point outside.
    """
    size = len(view)
    if not size:
        return []
    if size < OFFSET_BYTES:
        raise FieldError(f"{path} (size)", size, f"at least {OFFSET_BYTES} bytes, an offset")
    first: int = _OFFSET.unpack_from(view)[0]
    if first % OFFSET_BYTES or not OFFSET_BYTES <= first <= size:
        raise FieldError(
            f"{path}[0] (offset)",
            first,
            f"the end of the list's offsets: a multiple of {OFFSET_BYTES} from {OFFSET_BYTES} "
            f"to {size}, the end of the list",
        )
    starts: tuple[int, ...] = struct.unpack_from(f"<{first // OFFSET_BYTES}I", view)
    ends = (*starts[1:], size)
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if not start <= end <= size:
            last = number + 1 == len(starts)
            raise FieldError(
                f"{path}[{number if last else number + 1}] (offset)",
                start if last else end,
                f"an offset from {0 if last else start} to {size}, the end of the list",
            )
    return [view[start:end] for start, end in zip(starts, ends, strict=True)]
