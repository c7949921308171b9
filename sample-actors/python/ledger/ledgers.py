"""An account that keeps what happened to it, and is what that made of it: the sample `ledger` in Python."""

from dataclasses import dataclass

from componentize_py_types import Err
from quark_actor import journal
from quark_actor.journal import JournaledActor, JournalFailed, journaled
from wit_world.exports.ledgers import LedgerError_Call, LedgerError_NotEnough, LedgerError_State, Line, Sum
from wit_world.imports import calls, context
from wit_world.imports.types import ActorId

# As large as a balance and a digest are.
MAX = (1 << 64) - 1


@dataclass
class Account:
    balance: int = 0
    lines: int = 0
    digest: int = 0


@dataclass
class Deposited:
    amount: int
    note: str


@dataclass
class Withdrawn:
    amount: int
    note: str


class Ledger(JournaledActor, state=Account, events=[Deposited, Withdrawn], call_error=LedgerError_Call):
    def apply(self, event: Deposited | Withdrawn) -> None:
        may_be(type(event).__name__)
        account = self.state
        balance = account.balance + (event.amount if isinstance(event, Deposited) else -event.amount)
        if not 0 <= balance <= MAX:
            raise Err("there is no such balance")
        account.balance = balance
        account.lines += 1
        for byte in event.note.encode() + balance.to_bytes(8, "little"):
            account.digest = (account.digest ^ byte) * 0x0000_0100_0000_01B3 & MAX

    def deposit(self, amount: int, note: str) -> int:
        return self._keep(Deposited(amount, note))

    def withdraw(self, amount: int, note: str) -> int:
        if amount > self.state.balance:
            raise Err(LedgerError_NotEnough(self.state.balance))
        return self._keep(Withdrawn(amount, note))

    def deposit_often(self, times: int) -> int:
        for _ in range(times):
            self._keep(Deposited(1, ""))
        return self.state.balance

    def deposit_and_break(self, amount: int) -> int:
        self._keep(Deposited(amount, "never"))
        raise RuntimeError("it broke, so nothing was deposited")

    def sum(self) -> Sum:
        return Sum(self.state.balance, self.state.lines, self.state.digest)

    def audit(self, first: int, limit: int) -> list[Line]:
        return [line(it) for it in self.recorded(first, limit)]

    def gift(self) -> None:
        try:
            self.record(Deposited(1, "gift"))
        except JournalFailed as failed:
            print(f"a gift is lost: {failed}")

    def close_books(self) -> None:
        journal.snapshot_soon()

    def _keep(self, event: Deposited | Withdrawn) -> int:
        try:
            self.record(event)
        except JournalFailed as failed:
            raise Err(LedgerError_State(failed.error)) from None
        return self.state.balance


def line(it: journal.Recorded) -> Line:
    amount = it.event.amount if isinstance(it.event, Deposited) else -it.event.amount
    return Line(it.sequence, it.at, it.event.note, amount)


def may_be(event: str) -> None:
    """Its settings name events that it fails at, for tests."""
    if context.config("refuse") == event:
        raise Err("its settings refuse that")
    if context.config("break") == event:
        raise RuntimeError("its settings break it")
    if context.config("tell") == event:
        calls.tell(ActorId(context.me().kind, "other"), "gift", "[]")


Journaled = journaled(Ledger)
