"""Does to every record what its configuration says: the same in each language, for benches/src/bin/languages.rs."""

import json
from dataclasses import dataclass

from sluicegate import PASS, Outcome, Record, plugin


@dataclass
class Config:
    task: str


def rewrite(record: Record) -> Outcome:
    return record.emit(value=record.value.upper())


def change_field(record: Record) -> Outcome:
    fields = json.loads(record.value)
    fields["symbol"] = "ACME"
    return record.emit(value=json.dumps(fields, separators=(",", ":")))


@plugin(name="bench", version="0.1.0", summary="Does what its configuration says")
class Bench:
    def __init__(self, config: Config) -> None:
        self.process = {"rewrite": rewrite, "json": change_field}.get(config.task, lambda record: PASS)
