// Sums up what it was told, at its times: the sample `digest` in JavaScript.

import { now } from 'quark:actor/context@0.1.0';
import * as host from 'quark:actor/reminders@0.1.0';
import { Actor, actor, reminders, reminds } from '../../../guest-sdk/js/quark-actor.js';

const { once, every, cron, register, unregister, registered } = reminders(host);
const HOUR_MS = 3_600_000n;
// Why the actor of this instance woke.
let woke = '';

const Digest = actor(
  class extends Actor {
    static initial = () => ({ entries: 0, made: [] });
    static callError = (error) => error;

    onReminder({ name, due, payload }) {
      switch (name) {
        case 'fail':
          throw 'it is out of ink';
        case 'trap':
          throw new Error('it tore the page');
        case 'again':
          register('again', { tag: 'once', val: HOUR_MS }, { payload: 'anew', missed: 'skip' });
          break;
        case 'stop':
          unregister('stop');
      }
      const { entries, made } = this.state;
      made.push({ reminder: name, due: String(due), at: String(now()), entries, payload: [...payload] });
      this.state.entries = 0;
    }

    add() {
      this.state.entries += 1;
    }

    once(reminder, afterMs) {
      once(reminder, afterMs, { payload: 'once' });
    }

    every(reminder, eachMs, missed) {
      every(reminder, eachMs, { payload: 'every', missed });
    }

    at(reminder, fields) {
      cron(reminder, fields, { payload: 'cron' });
    }

    cancel(reminder) {
      unregister(reminder);
    }

    planned() {
      return registered().map(({ name, next, missed }) => ({ reminder: name, next, missed }));
    }

    many(n, afterMs) {
      for (let it = 0; it < n; it += 1) once(String(it), afterMs);
    }

    undone(reminder) {
      once(reminder, 0);
      throw new Error('it changed its mind');
    }

    made() {
      const shown = (it) => ({ ...it, due: BigInt(it.due), at: BigInt(it.at), payload: new Uint8Array(it.payload) });
      return this.state.made.map(shown);
    }

    woke() {
      return woke;
    }
  },
);

export const digests = { Digest };
export const reminderTarget = reminds({ digest: Digest });
export const lifecycle = {
  activate({ cause }) {
    woke = cause;
  },
  deactivate() {},
};
