"""Records, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Union

from ._random import Random, join

if TYPE_CHECKING:
    from ._batch import Batch
    from ._plugin import Destination

# Bytes, or a text that stands for its UTF-8, or null.
Data = Union[bytes, bytearray, memoryview, str, None]
NO_TIMESTAMP: Final = -(1 << 63)


class _Inherit:
    """The type of INHERIT."""

    def __repr__(self) -> str:
        return "INHERIT"


#: As in the input record.
INHERIT: Final = _Inherit()


class Header(NamedTuple):
    """A header's name, and its value or null. Bytes of the name that are not UTF-8 are as `surrogateescape` has them."""

    name: str
    value: bytes | None


class Output:
    """What goes on in a record's place; `Record.emit` makes one."""

    __slots__ = ("headers", "key", "timestamp", "to", "value")

    def __init__(self, key, value, headers, timestamp, to) -> None:
        self.key = key
        self.value = value
        self.headers = headers
        self.timestamp = timestamp
        self.to = to


class Reject:
    """The plugin refuses the record: the stage's failure policy decides what becomes of it, and shows the reason."""

    __slots__ = ("reason",)

    def __init__(self, reason: object) -> None:
        self.reason = str(reason)


class _Plain:
    """The type of PASS and DROP."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


#: The record goes on as it came; its bytes never cross back.
PASS: Final = _Plain("PASS")
#: Nothing is produced; the record counts as done.
DROP: Final = _Plain("DROP")

#: What `process` returns. The outputs of a list go on in its order; an empty one drops the record.
Outcome = Union[_Plain, Reject, Output, list[Output]]


class Record:
    """One record, as it was read."""

    __slots__ = ("_batch", "_index", "key", "value")

    #: The key; None is null, and not the same as empty.
    key: bytes | None
    #: The value; None is a tombstone, and not the same as an empty value.
    value: bytes | None

    def __init__(self, batch: Batch, index: int, key: bytes | None, value: bytes | None) -> None:
        self._batch = batch
        self._index = index
        self.key = key
        self.value = value

    @property
    def topic(self) -> str:
        """The topic it was read from."""
        return self._batch.topic

    @property
    def partition(self) -> int:
        """The partition it was read from."""
        return self._batch.partition

    @property
    def offset(self) -> int:
        """Its place in the partition. Increasing, with gaps where the log was compacted."""
        return self._batch.offsets[self._index]

    @property
    def timestamp(self) -> int | None:
        """Milliseconds since the Unix epoch; None where the log has none."""
        timestamp = self._batch.timestamps[self._index]
        return None if timestamp == NO_TIMESTAMP else timestamp

    @property
    def headers(self) -> list[Header]:
        """All headers, in order and with duplicates."""
        return self._batch.headers_of(self._index)

    def header(self, name: str) -> Header | None:
        """The last header of this name, the one that counts where there are several."""
        return next((header for header in reversed(self.headers) if header.name == name), None)

    def now(self) -> int:
        """The time at which the record says it was made, in milliseconds since the Unix epoch, for use where a program would
        look at a clock: it is the same whenever the record is processed. 0 where there is no timestamp."""
        return self.timestamp or 0

    def random(self) -> Random:
        """Random numbers that are the same whenever the record is processed, and others in another stage. Each call begins
        them anew."""
        return Random(join(self._batch.seed(), self.offset))

    def emit(
        self,
        *,
        key: Data | _Inherit = INHERIT,
        value: Data | _Inherit = INHERIT,
        headers: list[Header] | list[tuple[str, Data]] | _Inherit = INHERIT,
        timestamp: int | None | _Inherit = INHERIT,
        to: Destination | None = None,
    ) -> Output:
        """An output that goes on in this record's place: to be returned, alone or in a list. What is not said is as in the
        record; `None` is null, and for a timestamp none. It takes the pipeline's default output where `to` is not said."""
        return Output(key, value, headers, timestamp, to)
