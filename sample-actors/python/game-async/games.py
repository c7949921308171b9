"""The game of Pig in the flavour `async func`: all players take their turns at once, and what they
ask meanwhile is answered.
"""

import asyncio
from dataclasses import dataclass, field

from componentize_py_types import Err
from quark_actor import Actor, proxy
from wit_world.exports import games
from wit_world.exports.games import GameError_Call, GameError_Nobody, Standing
from wit_world.imports import players

Player = proxy(players.Player)


@dataclass
class Table:
    scores: dict[str, int] = field(default_factory=dict)


class Game(Actor, games.Game, state=Table, call_error=GameError_Call):
    async def join(self, player: str) -> int:
        self.state.scores.setdefault(player, 0)
        return len(self.state.scores)

    async def play(self) -> list[Standing]:
        if not self.state.scores:
            raise Err(GameError_Nobody())
        await asyncio.gather(*(self._take_turn(player) for player in self.state.scores))
        return [Standing(player, score) for player, score in self._ranking()]

    async def leader(self) -> str | None:
        return next((player for player, _ in self._ranking()), None)

    async def hearsay(self, player: str) -> str | None:
        return await Player(player).who_leads()

    async def over(self) -> None:
        for player in self.state.scores:
            await Player(player).leave()
        self.state.scores.clear()

    async def _take_turn(self, player):
        # A die for each, or they would wait for one another.
        points = await Player(player).take_turn(f"{player}-of-{self.key}")
        # Read after the wait: others may have changed it meanwhile.
        self.state.scores[player] += points

    def _ranking(self):
        return sorted(self.state.scores.items(), key=lambda it: it[1], reverse=True)
