"""Adds to each value the row of a table that a field, a header or the key leads to.

The value is edited as text: what was there stays, byte for byte, with the digits of its numbers, and the row's members come
after it."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from sluicegate import DROP, PASS, ConfigError, Outcome, Record, Reject, count, plugin

from table import Table, TableConfig, refuse_constant, text_of

Policy = Literal["pass", "drop", "reject"]


@dataclass
class Config:
    table: TableConfig
    match: str  # The column of the table in which is looked.
    key: bool = False  # What is looked for: exactly one of `key: true`, `header` and `field`.
    header: str | None = None
    field: str | None = None
    into: str | None = None  # The new field that the row becomes; without it, each column becomes one.
    columns: list[str] | None = None  # The columns that are added; all but `match` by default.
    missing: Policy = "pass"  # What becomes of a record for which the table has no row.
    invalid: Policy = "reject"  # What becomes of a record whose value is no JSON object, or has a field of that name.
    tombstones: Policy = "pass"


@plugin(name="enrich", version="0.1.0", summary="Adds to each value the row of a table that it leads to")
class Enrich:
    def __init__(self, config: Config) -> None:
        if [config.key, config.header is not None, config.field is not None].count(True) != 1:
            raise ConfigError("exactly one of `key: true`, `header` and `field` says what is looked for")
        self.config = config
        self.path = config.field.split(".") if config.field is not None else []
        if "" in self.path or "*" in self.path:
            raise ConfigError(f"`{config.field}` is not a path to one field: write names with dots between them")
        self.table = Table(config.table, config.match, config.columns, config.into)

    def process(self, record: Record) -> Outcome:
        if record.value is None:
            return outcome(self.config.tombstones, "a tombstone has no fields")
        try:
            value = DECODER.decode(record.value.decode())
        except (ValueError, RecursionError) as error:
            return outcome(self.config.invalid, f"the value is not JSON: {error}")
        if type(value) is not dict:
            return outcome(self.config.invalid, "the value is not a JSON object")
        wanted = self.wanted(record, value)
        row = None if wanted is None else self.table.row(wanted)
        if row is None:
            count("missing")
            return outcome(self.config.missing, "the table has no row for it")
        for name in row.names:
            if name in value:
                return outcome(self.config.invalid, f"the value has a field `{name}` already")
        return record.emit(value=spliced(record.value, row.members, bool(value))) if row.members else PASS

    def wanted(self, record: Record, value: Any) -> str | None:
        """What is looked for; None where there is nothing."""
        if self.config.key:
            return None if record.key is None else record.key.decode(errors="replace")
        if self.config.header is not None:
            header = record.header(self.config.header)
            return None if header is None or header.value is None else header.value.decode(errors="replace")
        for name in self.path:
            if type(value) is not dict:
                return None
            value = value.get(name)
        return text_of(value)


# Numbers are compared as they are written, so they are not read as numbers.
DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=refuse_constant)


def spliced(value: bytes, members: bytes, has_members: bool) -> bytes:
    """A JSON object with more members at its end."""
    end = value.rindex(b"}")
    return b"".join((value[:end], b"," if has_members else b"", members, value[end:]))


def outcome(policy: Policy, reason: str) -> Outcome:
    if policy == "pass":
        return PASS
    return DROP if policy == "drop" else Reject(reason)
