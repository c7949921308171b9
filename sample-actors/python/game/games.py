"""A game of Pig: asks its players, in JavaScript, to take their turns.

For the interface `games`, componentize-py looks for the module `games` with the class `Game`.
"""

from dataclasses import dataclass, field

from componentize_py_types import Err
from quark_actor import Actor, proxy
from wit_world.exports.games import GameError_Call, GameError_Nobody, Standing
from wit_world.imports import players

Player = proxy(players.Player)


@dataclass
class Table:
    scores: dict[str, int] = field(default_factory=dict)


class Game(Actor, state=Table, call_error=GameError_Call):
    def join(self, player: str) -> int:
        self.state.scores.setdefault(player, 0)
        return len(self.state.scores)

    def play(self) -> list[Standing]:
        if not self.state.scores:
            raise Err(GameError_Nobody())
        for player in list(self.state.scores):
            # What changed is stored before each call leaves; if one fails, that is the answer.
            points = Player(player).take_turn(f"of-{self.key}")
            self.state.scores[player] += points
        return [Standing(player, score) for player, score in self._ranking()]

    def leader(self) -> str | None:
        return next((player for player, _ in self._ranking()), None)

    def hearsay(self, player: str) -> str | None:
        return Player(player).who_leads()

    def over(self) -> None:
        for player in self.state.scores:
            Player(player).leave()
        self.state.scores.clear()

    def _ranking(self):
        return sorted(self.state.scores.items(), key=lambda it: it[1], reverse=True)
