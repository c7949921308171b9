// An account that keeps what happened to it, and is what that made of it: the sample `ledger` in JavaScript.

import { tell } from 'quark:actor/calls@0.1.0';
import { config, me } from 'quark:actor/context@0.1.0';
import * as host from 'quark:actor/journal@0.1.0';
import { JournalFailed, actor, journal, journals } from '../../../guest-sdk/js/quark-actor.js';

const { JournaledActor, snapshotSoon } = journal(host);

const Ledger = actor(
  class extends JournaledActor {
    // JSON has no 64-bit integers. An amount and a balance are safe ones; a digest is text.
    static initial = () => ({ balance: 0, lines: 0, digest: '0' });

    apply({ type, amount, note }) {
      mayBe(type);
      const account = this.state;
      const balance = account.balance + (type === 'Deposited' ? amount : -amount);
      if (balance < 0 || !Number.isSafeInteger(balance)) throw 'there is no such balance';
      const bytes = [...new TextEncoder().encode(note), ...new Uint8Array(new BigUint64Array([BigInt(balance)]).buffer)];
      const mixed = (digest, byte) => BigInt.asUintN(64, (digest ^ BigInt(byte)) * 0x0000_0100_0000_01b3n);
      account.balance = balance;
      account.lines += 1;
      account.digest = String(bytes.reduce(mixed, BigInt(account.digest)));
    }

    deposit(amount, note) {
      if (BigInt(this.state.balance) + amount > Number.MAX_SAFE_INTEGER) {
        throw { tag: 'call', val: { tag: 'denied', val: 'it counts to 2^53 only' } };
      }
      return this.#kept({ type: 'Deposited', amount: Number(amount), note });
    }

    withdraw(amount, note) {
      if (amount > this.state.balance) throw { tag: 'not-enough', val: BigInt(this.state.balance) };
      return this.#kept({ type: 'Withdrawn', amount: Number(amount), note });
    }

    depositOften(times) {
      for (let it = 0; it < times; it += 1) this.#kept({ type: 'Deposited', amount: 1, note: '' });
      return BigInt(this.state.balance);
    }

    depositAndBreak(amount) {
      this.#kept({ type: 'Deposited', amount: Number(amount), note: 'never' });
      throw new Error('it broke, so nothing was deposited');
    }

    sum() {
      const { balance, lines, digest } = this.state;
      return { balance: BigInt(balance), lines: BigInt(lines), digest: BigInt(digest) };
    }

    audit(first, limit) {
      const line = ({ sequence: number, at, event: { type, amount, note } }) =>
        ({ number, at, note, amount: BigInt(type === 'Deposited' ? amount : -amount) });
      return this.recorded(first, limit).map(line);
    }

    gift() {
      try {
        this.record({ type: 'Deposited', amount: 1, note: 'gift' });
      } catch (error) {
        if (!(error instanceof JournalFailed)) throw error;
        console.log(`a gift is lost: ${error.message}`);
      }
    }

    closeBooks() {
      snapshotSoon();
    }

    #kept(event) {
      try {
        this.record(event);
      } catch (error) {
        throw error instanceof JournalFailed ? { tag: 'state', val: error.error } : error;
      }
      return BigInt(this.state.balance);
    }
  },
);

// Its settings name events that it fails at, for tests.
function mayBe(event) {
  if (config('refuse') === event) throw 'its settings refuse that';
  if (config('break') === event) throw new Error('its settings break it');
  if (config('tell') === event) tell({ ...me(), key: 'other' }, 'gift', '[]');
}

export const ledgers = { Ledger };
export const journaled = journals({ ledger: Ledger });
