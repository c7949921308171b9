"""Decides about each failure of its workers, in the flavour `async func`."""

from dataclasses import dataclass, field

from quark_actor import Actor, children, spawn_child, supervisor, watch, watcher
from wit_world.exports import foremen
from wit_world.exports.foremen import Failed, Mode
from wit_world.exports.supervisor import Directive, Failure
from wit_world.imports.children import Lifetime
from wit_world.imports.types import ActorId

WORKER = "sample:crew/workers#worker"
# Most entries of each list that grows.
KEPT = 100


@dataclass
class Notes:
    mode: str = "RESTART"
    failures: list[tuple] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class Foreman(Actor, foremen.Foreman, state=Notes):
    async def on_child_failed(self, failure: Failure) -> Directive:
        noted = (failure.child.kind, failure.child.key, failure.reason, failure.count)
        self.state.failures = [*self.state.failures, noted][-KEPT:]
        match Mode[self.state.mode]:
            case Mode.SPIN:
                while True:
                    pass
            case Mode.TRAP:
                raise RuntimeError("the foreman lost his head")
            case mode:
                return Directive[mode.name]

    async def on_terminated(self, target: ActorId, reason: str) -> None:
        self.state.gone = [*self.state.gone, target.key][-KEPT:]

    async def take(self, name: str, lifetime: Lifetime) -> None:
        worker = ActorId(WORKER, f"{self.key}.{name}")
        await spawn_child(worker, lifetime)
        await watch(worker)

    async def roster(self) -> list[str]:
        return [child.key for child in children()]

    async def decide(self, mode: Mode) -> None:
        self.state.mode = mode.name

    async def failures(self) -> list[Failed]:
        return [Failed(ActorId(kind, key), reason, count) for kind, key, reason, count in self.state.failures]

    async def gone(self) -> list[str]:
        return self.state.gone


Supervisor = supervisor(Foreman)
Watcher = watcher(Foreman)
