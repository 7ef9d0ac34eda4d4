"""Random numbers of a record's own: SplitMix64, with the same numbers as in the other SDKs."""

from ._host import stage_seed

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


class Random:
    """Numbers that are the same whenever a record is processed, and others in another stage; from `Record.random`. They
    are part of the interface, and stay as they are. Not for secrets."""

    __slots__ = ("_state",)

    def __init__(self, state: int) -> None:
        self._state = state

    def next_u64(self) -> int:
        """The next number, any of the 2**64."""
        self._state = (self._state + _GAMMA) & _MASK
        return _mix(self._state)

    def below(self, bound: int) -> int:
        """The next number below a bound of at most 2**64; 0 where that is 0."""
        return (self.next_u64() * bound) >> 64

    def next_float(self) -> float:
        """The next number from 0 up to, but never, 1."""
        return (self.next_u64() >> 11) / (1 << 53)


def _mix(of: int) -> int:
    of = ((of ^ (of >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    of = ((of ^ (of >> 27)) * 0x94D049BB133111EB) & _MASK
    return of ^ (of >> 31)


def join(seed: int, value: int) -> int:
    return _mix(((seed + _GAMMA) & _MASK) ^ value)


def batch_seed(topic: str, partition: int) -> int:
    """What the records of a batch have in common."""
    data = topic.encode()
    seed = join(stage_seed(), len(data))
    for at in range(0, len(data), 8):
        seed = join(seed, int.from_bytes(data[at : at + 8], "little"))
    return join(seed, partition)
