"""What needs no component: `PYTHONPATH=src python3 -m unittest discover tests`."""

from __future__ import annotations

import unittest
from dataclasses import dataclass, field
from types import SimpleNamespace

from sluicegate import DROP, PASS, ConfigError, Header, Outputs, Record, Reject
from sluicegate._batch import process
from sluicegate._config import decode, schema


@dataclass
class Rule:
    above: float


@dataclass
class Config:
    rules: list[Rule]
    label: str | None = None
    limits: dict[str, int] = field(default_factory=dict)


class Configurations(unittest.TestCase):
    def test_the_schema_is_that_of_the_class(self) -> None:
        described = schema(Config)
        self.assertEqual(described["required"], ["rules"])
        self.assertEqual(described["properties"]["limits"], {"type": "object", "additionalProperties": {"type": "integer"}})
        self.assertFalse(described["properties"]["rules"]["items"]["additionalProperties"])

    def test_values_are_decoded(self) -> None:
        decoded = decode(Config, {"rules": [{"above": 3}], "label": "x"})
        self.assertEqual(decoded, Config([Rule(3.0)], "x"))

    def test_what_does_not_fit_is_named_by_its_place(self) -> None:
        for value, words in (
            ({}, "rules: the key is missing"),
            ({"rules": [{"above": "x"}]}, "rules[0].above: expected float, found 'x'"),
            ({"rules": [], "z": 1}, "z: unknown key; known here: rules, label, limits"),
        ):
            with self.assertRaises(ConfigError) as raised:
                decode(Config, value)
            self.assertEqual(str(raised.exception), words)

    def test_an_output_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(ConfigError, "no output is named `c`: the pipeline has `a`, `b`"):
            Outputs(["a", "b"]).named("c")


def column(*values: bytes | None) -> SimpleNamespace:
    lengths = [-1 if value is None else len(value) for value in values]
    return SimpleNamespace(data=b"".join(value or b"" for value in values), lengths=lengths)


TYPES = SimpleNamespace(
    Column=lambda data, lengths: SimpleNamespace(data=data, lengths=lengths),
    Headers=lambda *of: of,
    Outcomes=lambda *of: SimpleNamespace(**dict(zip(NAMES, of))),
)
NAMES = ("outcomes", "reasons", "to", "timestamps", "keys", "values", "headers")


class Batches(unittest.TestCase):
    def run_on(self, function: object, *values: bytes | None) -> SimpleNamespace:
        headers = SimpleNamespace(counts=[], keys=column(), values=column())
        batch = SimpleNamespace(
            topic="trades.größe",
            partition=3,
            offsets=list(range(70, 70 + len(values))),
            timestamps=[5] * len(values),
            keys=column(*[None] * len(values)),
            values=column(*values),
            headers=headers,
        )
        return process(SimpleNamespace(process=function), batch, TYPES)

    def test_every_outcome(self) -> None:
        def each(record: Record) -> object:
            choices = {b"p": PASS, b"d": DROP, b"r": Reject("no"), b"e": record.emit(value=b"xy")}
            return [record.emit(value=None), record.emit()] if record.value is None else choices[record.value]

        made = self.run_on(each, b"p", b"d", b"r", b"e", None)
        self.assertEqual((made.outcomes, made.reasons), ([-1, 0, -2, 1, 2], ["no"]))
        self.assertEqual((made.values.data, made.values.lengths), (b"xy", [2, -1, -2]))
        self.assertEqual((made.keys.lengths, made.to, made.timestamps), ([-2, -2, -2], [], []))

    def test_what_is_no_outcome_is_named(self) -> None:
        with self.assertRaisesRegex(TypeError, "process returned None: return PASS"):
            self.run_on(lambda record: None, b"x")

    def test_headers_that_are_added_stay_with_their_record(self) -> None:
        def add(record: Record) -> object:
            record.headers.append(Header("seen", record.value))
            return record.emit(headers=record.headers)

        counts, names, values = self.run_on(add, b"x", b"y").headers
        self.assertEqual((counts, names.data, values.data), ([1, 1], b"seenseen", b"xy"))

    def test_chance_is_the_same_as_in_the_other_sdks(self) -> None:
        made = self.run_on(lambda record: record.emit(value=str(record.random().next_u64())), b"x")
        self.assertEqual(made.values.data, b"18286076289792028226")


if __name__ == "__main__":
    unittest.main()
