"""The table that records are joined with."""

import csv
import io
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from sluicegate import ConfigError


@dataclass
class TableConfig:
    """What the table is: exactly one of these."""

    csv: str | None = None  # CSV, whose first row names the columns. `${file:customers.csv}` takes a file's text.
    json: str | None = None  # JSON: a list of objects.
    rows: list[Any] | None = None  # The objects themselves.


class Row(NamedTuple):
    """What a row adds to a value: the names of members, and the members as JSON."""

    names: tuple[str, ...]
    members: bytes


class Table:
    """Rows by the text of one column. What a row adds is made when the row is first asked for: the table may be long, and a
    start is to be quick."""

    def __init__(self, config: TableConfig, match: str, columns: list[str] | None, into: str | None) -> None:
        rows = _read(config)
        known = set().union(*rows)
        for column in (match, *(columns or ())):
            if rows and column not in known:
                raise ConfigError(f"table: there is no column `{column}`: there are {', '.join(sorted(known))}")
        self._match, self._columns, self._into = match, columns, into
        self._rows = _index(rows, match)
        self._made: dict[str, Row] = {}

    def row(self, wanted: str) -> Row | None:
        """The row of this text; None if there is none."""
        row = self._made.get(wanted)
        if row is None and wanted in self._rows:
            row = self._made[wanted] = self._make(self._rows[wanted])
        return row

    def _make(self, row: dict[str, Any]) -> Row:
        names = self._columns if self._columns is not None else [name for name in row if name != self._match]
        added = {name: row[name] for name in names if name in row}
        if self._into is not None:
            added = {self._into: added}
        text = json.dumps(added, ensure_ascii=False, separators=(",", ":"))
        return Row(tuple(added), text[1:-1].encode())


def _read(config: TableConfig) -> list[dict[str, Any]]:
    given = [name for name in ("csv", "json", "rows") if getattr(config, name) is not None]
    if len(given) != 1:
        raise ConfigError("table: exactly one of `csv`, `json` and `rows` says what is in it")
    if config.csv is not None:
        return _read_csv(config.csv)
    rows = config.rows
    if config.json is not None:
        try:
            rows = json.loads(config.json, parse_constant=refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"table.json: it is not JSON: {error}") from None
    if type(rows) is not list:
        raise ConfigError("table.json: it is not a list of objects")
    for number, row in enumerate(rows, 1):
        if type(row) is not dict:
            raise ConfigError(f"table: row {number} is not an object")
    return rows


def _read_csv(text: str) -> list[dict[str, Any]]:
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    rows = []
    try:
        names = next(reader, [])
        if len(set(names)) < len(names):
            raise ConfigError("table.csv: two columns have the same name")
        for row in reader:
            if len(row) == len(names):
                rows.append(dict(zip(names, row)))
            elif row:
                what = f"{len(row)} columns, and not {len(names)}"
                raise ConfigError(f"table.csv: line {reader.line_num} has {what}")
    except csv.Error as error:
        raise ConfigError(f"table.csv: line {reader.line_num}: {error}") from None
    return rows


def _index(rows: list[dict[str, Any]], match: str) -> dict[str, dict[str, Any]]:
    index: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        text = text_of(row.get(match))
        if text is None:
            raise ConfigError(f"table: row {number} has no `{match}` that is a text, a number, true or false")
        if text in index:
            raise ConfigError(f"table: row {number} has the `{match}` of another row, {text}")
        index[text] = row
    return index


def text_of(value: Any) -> str | None:
    """The text by which a value is looked for; None for null, lists and objects."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else None


def refuse_constant(name: str) -> None:
    """Python reads NaN and Infinity, which are no JSON."""
    raise ValueError(f"{name} is no number")
