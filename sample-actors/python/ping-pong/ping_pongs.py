"""Chains of calls that come back to actors which wait for them: what `ping-pong` in Rust does, in Python."""

from dataclasses import dataclass

from componentize_py_types import Err
from quark_actor import Actor, CallFailed, Refused, proxy
from wit_world.imports import ping_pongs
from wit_world.imports.ping_pongs import Ball, Item, Mark_Counted, Mark_Labelled, Mark_Plain, PingError_Call
from wit_world.imports.ping_pongs import PingError_Missed, PingError_Wrong, Score, Seen

# An interface that is imported and exported has its types once, where it is imported.
Player = proxy(ping_pongs.PingPong)


@dataclass
class Balls:
    before: int = 0
    after: int = 0


class PingPong(Actor, state=Balls, call_error=PingError_Call):
    def rally(self, players: list[str], ball: Ball) -> Seen:
        self.state.before += 1
        if not players:
            return Seen(0, ball.text, ball.items)
        seen = _hit(self.key, players, ball)
        self.state.after += 1
        return Seen(seen.depth + 1, seen.text, seen.items)

    def practise(self, players: list[str], times: int, bytes: int) -> int:
        for time in range(times):
            _hit(self.key, players, _ball(time, bytes))
        return times

    def finish(self, players: list[str], how: str) -> str:
        self.state.before += 1
        answer = _finish(players, how)
        self.state.after += 1
        return answer

    def attempt(self, players: list[str], how: str) -> str:
        self.state.before += 1
        try:
            answer = Player(players[0]).finish(players[1:], how)
        except (CallFailed, Refused) as error:
            answer = repr(error)
        self.state.after += 1
        return answer

    def fan(self, players: list[str], end: str) -> int:
        return sum(_hit(self.key, [player, end], _ball(at, 100)).depth for at, player in enumerate(players))

    def score(self) -> Score:
        return Score(self.state.before, self.state.after)


def _hit(key, players, ball):
    """Hits the ball on to the first player and checks what comes back."""
    hit = _turned(ball, key)
    due = hit
    for player in players[:-1]:
        due = _turned(due, player)
    with _own_errors():
        seen = Player(players[0]).rally(players[1:], hit)
    if (seen.depth, seen.text, repr(seen.items)) != (len(players) - 1, due.text, repr(due.items)):
        raise Err(PingError_Wrong(f"{len(seen.text)} of {len(due.text)} came back"))
    return seen


def _finish(players, how):
    if players:
        with _own_errors():
            return Player(players[0]).finish(players[1:], how)
    if how == "ok":
        return "point"
    if how == "trap":
        raise RuntimeError("the racket broke")
    while how == "spin":
        pass
    raise Err(PingError_Missed(how))


class _own_errors:
    """What a player answers is an error of whoever hit the ball on to it."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, Refused):
            raise Err(error.value) from None


def _turned(ball, player):
    """The ball after that player's stroke."""
    return Ball(ball.text + player, ball.items[::-1])


def _ball(time, bytes):
    """Another ball each time, with everything in it that a value can be."""
    text = ("grün 🎾 " * (bytes // 8 + 1))[time % 7 :][: bytes // 8]

    def mark(at):
        marks = [None, Mark_Plain(), Mark_Labelled(f"№ {at}"), Mark_Counted(2**64 - 1 - at)]
        return marks[at % 4]

    def item(at):
        data = b"".join((byte * (at + time) % 256).to_bytes() for byte in range(bytes // 40))
        return Item(f"Schläger {at} von {time}", at / 3 - time, data, mark(at + time))

    return Ball(text, [item(at) for at in range(5 + time % 11)])
