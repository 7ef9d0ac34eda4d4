"""The columns that cross the boundary, `wit/plugin.wit`'s `batch` and `outcomes`."""

from __future__ import annotations

from typing import Any

from ._host import utf8
from ._random import batch_seed
from ._record import DROP, INHERIT, NO_TIMESTAMP, PASS, Header, Output, Record, Reject

_NULL = -1
_INHERITED = -2


class Batch:
    """Consecutive records of one partition."""

    __slots__ = ("_columns", "_headers", "_seed", "offsets", "partition", "timestamps", "topic")

    def __init__(self, columns: Any) -> None:
        self._columns = columns
        self._headers: list[list[Header]] | None = None
        self._seed: int | None = None
        self.topic: str = columns.topic
        self.partition: int = columns.partition
        self.offsets: list[int] = columns.offsets
        self.timestamps: list[int] = columns.timestamps

    def seed(self) -> int:
        if self._seed is None:
            self._seed = batch_seed(self.topic, self.partition)
        return self._seed

    def headers_of(self, index: int) -> list[Header]:
        # Made for all records when the first asks: most plugins never do.
        if self._headers is None:
            self._headers = _headers(self._columns.headers, len(self.offsets))
        return self._headers[index]


def strings(column: Any) -> list[bytes | None]:
    """A column's byte strings."""
    data, at, out = column.data, 0, []
    for length in column.lengths:
        if length < 0:
            out.append(None)
        else:
            out.append(data[at : at + length])
            at += length
    return out


def _headers(columns: Any, records: int) -> list[list[Header]]:
    if not columns.counts:
        # A list each: a plugin may add to its record's.
        return [[] for _ in range(records)]
    names = [(name or b"").decode(errors="surrogateescape") for name in strings(columns.keys)]
    headers = [Header(name, value) for name, value in zip(names, strings(columns.values))]
    out, at = [], 0
    for count in columns.counts:
        out.append(headers[at : at + count])
        at += count
    return out


class _Column:
    __slots__ = ("data", "lengths")

    def __init__(self) -> None:
        self.data: list[Any] = []
        self.lengths: list[int] = []

    def push(self, value: Any) -> None:
        if value is None:
            self.lengths.append(_NULL)
            return
        if type(value) is not bytes:
            value = _as_bytes(value)
        self.lengths.append(len(value))
        self.data.append(value)


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="surrogateescape")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"a key or value is bytes, a str or None, not {type(value).__name__}")


class Writer:
    """What became of a batch, record by record."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.outcomes: list[int] = []
        self.reasons: list[str] = []
        self.to: list[int] = []
        self.timestamps: list[int] = []
        self.counts: list[int] = []
        self.keys, self.values, self.header_names, self.header_values = (_Column() for _ in range(4))
        # Whether any output differs from its record in them: columns that none does in are left out.
        self._has_timestamps = self._has_headers = False

    def add(self, outcome: object) -> None:
        """Adds the outcome of the next record."""
        if outcome is PASS:
            self.outcomes.append(-1)
        elif type(outcome) is Output:
            self._output(outcome)
            self.outcomes.append(1)
        elif outcome is DROP:
            self.outcomes.append(0)
        elif isinstance(outcome, list):
            for output in outcome:
                self._output(output)
            self.outcomes.append(len(outcome))
        elif isinstance(outcome, Reject):
            self.outcomes.append(-2)
            self.reasons.append(utf8(outcome.reason))
        else:
            raise TypeError(f"process returned {outcome!r}: return PASS, DROP, a Reject, an Output or a list of those")

    def _output(self, output: object) -> None:
        if type(output) is not Output:
            raise TypeError(f"process returned a list with {output!r} in it: outputs are what Record.emit gives")
        for column, value in ((self.keys, output.key), (self.values, output.value)):
            if value is INHERIT:
                column.lengths.append(_INHERITED)
            else:
                column.push(value)
        self.to.append(-1 if output.to is None else output.to.index)
        self._timestamp(output.timestamp)
        self._headers_of(output.headers)

    def _timestamp(self, timestamp: Any) -> None:
        if timestamp is INHERIT:
            self.timestamps.append(self._batch.timestamps[len(self.outcomes)])
        else:
            self._has_timestamps = True
            self.timestamps.append(NO_TIMESTAMP if timestamp is None else timestamp)

    def _headers_of(self, headers: Any) -> None:
        if headers is INHERIT:
            self.counts.append(_INHERITED)
            return
        self._has_headers = True
        self.counts.append(len(headers))
        for name, value in headers:
            self.header_names.push(name)
            self.header_values.push(value)

    def finish(self, types: Any) -> Any:
        """The columns, in the types of the bindings."""

        def column(of: _Column) -> Any:
            return types.Column(b"".join(of.data), of.lengths)

        counts = self.counts if self._has_headers else []
        headers = types.Headers(counts, column(self.header_names), column(self.header_values))
        to = self.to if any(index >= 0 for index in self.to) else []
        timestamps = self.timestamps if self._has_timestamps else []
        return types.Outcomes(
            self.outcomes, self.reasons, to, timestamps, column(self.keys), column(self.values), headers
        )


def process(plugin: Any, columns: Any, types: Any) -> Any:
    """One batch: every record through the plugin, and what came of it in columns."""
    batch = Batch(columns)
    writer = Writer(batch)
    process, add = plugin.process, writer.add
    for index, (key, value) in enumerate(zip(strings(columns.keys), strings(columns.values))):
        add(process(Record(batch, index, key, value)))
    return writer.finish(types)
