"""Does what each record asks for; ../README.md says how it asks."""

from __future__ import annotations

from dataclasses import dataclass

from sluicegate import DROP, PASS, ConfigError, Level, Outcome, Output, Outputs, Record, Reject, count, log, plugin


@dataclass
class Config:
    greeting: str = "hello"
    refuse: str | None = None
    panic: str | None = None


@plugin(name="conformance", version="0.1.0", summary="Does what each record asks for")
class Conformance:
    def __init__(self, config: Config, outputs: Outputs) -> None:
        if config.panic is not None:
            raise RuntimeError(config.panic)
        if config.refuse is not None:
            raise ConfigError(config.refuse)
        self.greeting = config.greeting.encode()
        self.outputs = outputs

    def process(self, record: Record) -> Outcome:
        header = record.header("do")
        program = header.value if header and header.value is not None else record.value
        if program is None:
            return PASS
        emitted: list[Output] | None = None
        output: Output | None = None
        for line in program.split(b"\n"):
            word, _, argument = line.partition(b" ")
            match word:
                case b"":
                    pass
                case b"pass":
                    return PASS
                case b"drop":
                    return DROP
                case b"reject":
                    return Reject(text(argument))
                case b"panic":
                    raise RuntimeError(text(argument))
                case b"log":
                    level, _, words = argument.partition(b" ")
                    log(Level[text(level).upper()], text(words))
                case b"count":
                    name, _, by = argument.partition(b" ")
                    count(text(name), int(by))
                case b"split":
                    emitted = (emitted or []) + [record.emit(value=str(n)) for n in range(int(argument))]
                case b"emit":
                    output = record.emit()
                    emitted = [*(emitted or []), output]
                case _ if output is None:
                    return unknown(line)
                case _:
                    refused = self.set(output, record, word, argument)
                    if refused is not None:
                        return refused
        return PASS if emitted is None else emitted

    def set(self, output: Output, record: Record, word: bytes, argument: bytes) -> Reject | None:
        match word, argument:
            case b"key", key:
                output.key = key
            case b"value", value:
                output.value = value
            case b"null", b"key":
                output.key = None
            case b"null", b"value":
                output.value = None
            case b"null", b"timestamp":
                output.timestamp = None
            case b"timestamp", at:
                output.timestamp = int(at)
            case b"header", header:
                name, has_value, value = header.partition(b"=")
                before = output.headers if isinstance(output.headers, list) else record.headers
                output.headers = [*before, (text(name), value if has_value else None)]
            case b"clear", _:
                output.headers = []
            case b"to", name:
                try:
                    output.to = self.outputs.named(text(name))
                except ConfigError as error:
                    return Reject(error)
            case b"copy", what:
                output.value = self.copy(record, what)
            case b"fill", size:
                output.value = b"x" * int(size)
            case b"greet", name:
                output.value = self.greeting + b", " + name
            case _:
                return unknown(word + b" " + argument)
        return None

    def copy(self, record: Record, what: bytes) -> bytes | str | None:
        match what.partition(b" "):
            case b"key", *_:
                return record.key
            case b"value", *_:
                return record.value
            case b"topic", *_:
                return record.topic
            case b"place", *_:
                timestamp = "-" if record.timestamp is None else record.timestamp
                return f"{record.partition}/{record.offset}/{timestamp}"
            case b"headers", *_:
                return b"".join(
                    name.encode() + (b";" if value is None else b"=" + value + b";") for name, value in record.headers
                )
            case b"header", _, name:
                header = record.header(text(name))
                return header.value if header else None
            case b"outputs", *_:
                return "".join(f"{name}," for name in self.outputs.names)
            case b"now", *_:
                return str(record.now())
            case _:
                return str(record.random().next_u64())


def text(data: bytes) -> str:
    return data.decode(errors="replace")


def unknown(line: bytes) -> Reject:
    return Reject(f"unknown instruction `{text(line)}`")
