// Write Quark actors in JavaScript: a class for the methods, a plain object for the state.
//
//   class Cart extends Actor {
//     static initial = () => ({ items: [] });
//
//     add(item) {
//       this.state.items.push(item);
//       return this.state.items.length;
//     }
//   }
//   export const carts = { Cart: actor(Cart) };
//
// The state is loaded when the actor wakes, and stored when it changed: before each outgoing call of
// a `proxy` and at the end of the turn, also when the turn answers an error. An `Error` that nobody
// catches is a trap: it undoes what was not committed yet. Any other value that is thrown is the
// method's `err`.

import { get, set } from 'quark:actor/state@0.1.0';

// The name of the one durable value.
const STATE = 'state';
const JSON_TYPE = 'application/json';
const CALL_ERRORS = new Set([
  'deadline-exceeded', 'unknown-outcome', 'cancelled', 'failed', 'downstream', 'unreachable', 'stopped',
  'overloaded', 'unavailable', 'too-large', 'incompatible', 'deadlock', 'denied', 'other',
]);

// The actors of this instance, by class and key, for their hooks.
const actors = new Map();
// The actor whose turn runs, none while it waits for a call. Turns of one instance do not overlap.
let turn = null;

/** A call that gave no result of its own. `reason` is a `call-error`: `{ tag, val }`. */
export class CallFailed extends Error {
  constructor(reason) {
    super(reason.val === undefined ? reason.tag : `${reason.tag}: ${reason.val}`);
    this.name = 'CallFailed';
    this.reason = reason;
  }
}

/** The callee's own error, as `value`. */
export class Refused extends Error {
  constructor(value) {
    super(JSON.stringify(value, (_, it) => (typeof it === 'bigint' ? String(it) : it)));
    this.name = 'Refused';
    this.value = value;
  }
}

/** A reminder that is over a bound or has no times, or a store that cannot be read; nothing was changed. `text` says why. */
export class ReminderRefused extends CallFailed {
  constructor(text) {
    super({ tag: 'other', val: text });
    this.name = 'ReminderRefused';
    this.text = text;
  }
}

/** An event that was refused, or a journal that cannot be read; nothing was changed. `error` is a `state-error`. */
export class JournalFailed extends CallFailed {
  constructor(error) {
    super(asCallError(error));
    this.name = 'JournalFailed';
    this.error = error;
  }
}

/** What an exported resource extends: it has `key` and `state`. */
export class Actor {
  #saved;

  /** Functions of the class that are no turns. */
  static parts = [];

  /** The first state, of what JSON can hold. */
  static initial = () => ({});
  /** The methods' error for a `call-error`: by default the case `call(call-error)`. */
  static callError = (val) => ({ tag: 'call', val });

  constructor(key) {
    this.key = key;
    actorsOf(this.constructor).set(key, weakly(this));
    this.load();
  }

  load() {
    const stored = get(STATE);
    // A field that is new has its first value.
    this.state = { ...this.constructor.initial(), ...(stored && fromJson(stored)) };
    this.#saved = JSON.stringify(this.state);
  }

  save() {
    const text = JSON.stringify(this.state);
    if (text === this.#saved) return;
    try {
      set(STATE, new TextEncoder().encode(text));
    } catch (error) {
      // The next turn starts from what the host has.
      this.load();
      throw new CallFailed(asCallError(error.payload));
    }
    this.#saved = text;
  }
}

/** The class to export: its methods are turns. Called by another method, one is a part of that one's turn. */
export function actor(Class) {
  const Exported = class extends Class {};
  for (const [name, method] of methodsOf(Class).filter(([name]) => !Class.parts.includes(name))) {
    Exported.prototype[name] = function (...args) {
      if (turn === this) return method.apply(this, args);
      turn = this;
      let answer;
      try {
        answer = method.apply(this, args);
      } catch (error) {
        return end(this, error);
      }
      if (typeof answer?.then !== 'function') return end(this, null, answer);
      return answer.then((it) => end(this, null, it), (error) => end(this, error));
    };
  }
  return Exported;
}

const toJson = (value) => new TextEncoder().encode(JSON.stringify(value));
const fromJson = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

// Not every engine has weak references; mostly an instance has one actor.
const weakly = (it) => (globalThis.WeakRef ? new WeakRef(it) : { deref: () => it });

function actorsOf(Class) {
  if (!actors.has(Class)) actors.set(Class, new Map());
  return actors.get(Class);
}

/**
 * The interface `timer-target` of these classes (those that `actor` made, by their kinds' short names):
 * `export const timerTarget = timers({ cart: Cart })`. A timer calls `onTimer(name, payload)` of its actor.
 */
export function timers(kinds) {
  return {
    onTimer(me, name, payload) {
      const found = actorOf(kinds, me);
      if (!found) throw noClass(me);
      return settled(() => found.onTimer(name, payload), () => undefined, text);
    },
  };
}

// The error of such a hook is a text, and fails the actor as a trap does. The bindings would not say what an `Error` is.
function text(error) {
  throw error instanceof Error ? String(error) : typeof error === 'string' ? error : JSON.stringify(error);
}

/**
 * The functions of `quark:actor/reminders` as they are mostly used; they throw `ReminderRefused`:
 * `import * as host from 'quark:actor/reminders@0.1.0'; const { once, every, cron, unregister, registered } = reminders(host)`.
 * Times are numbers of milliseconds, a payload is text or bytes, and `missed` says what becomes of times that passed
 * while no silo was up: `fire-once`, `fire-all` or `skip`. What is registered is saved with what the turn changed.
 */
export function reminders(host) {
  const register = (name, schedule, { payload = '', missed = 'fire-once' } = {}) => {
    const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
    refusable(() => host.register(name, schedule, missed, bytes), ReminderRefused);
  };
  return {
    ...host,
    register,
    once: (name, afterMs, options) => register(name, { tag: 'once', val: BigInt(afterMs) }, options),
    every: (name, eachMs, options) => register(name, { tag: 'every', val: BigInt(eachMs) }, options),
    cron: (name, fields, options) => register(name, { tag: 'cron', val: fields }, options),
    registered: () => refusable(host.registered, ReminderRefused),
  };
}

/**
 * The interface `reminder-target` of these classes, as for `timers`: `export const reminderTarget = reminds({ cart: Cart })`.
 * A reminder calls `onReminder({ name, due, payload })` of its actor.
 */
export function reminds(kinds) {
  return {
    onReminder(me, firing) {
      const found = actorOf(kinds, me);
      if (!found) throw noClass(me);
      return settled(() => found.onReminder(firing), () => undefined, text);
    },
  };
}

function refusable(ask, Failure) {
  try {
    return ask();
  } catch (error) {
    throw 'payload' in error ? new Failure(error.payload) : error;
  }
}

/**
 * The functions of `quark:actor/children`, made calls: those that wait store the state of the turn before, and
 * throw `CallFailed`. `import * as host from 'quark:actor/children@0.1.0'; const { spawn, stop } = children(host)`.
 */
export function children(host) {
  const asked = (name) => (...args) => ask(() => host[name](...args));
  return { ...host, spawn: asked('spawn'), stop: asked('stop'), watch: asked('watch') };
}

/**
 * The interface `supervisor` of the parents' classes that decide about failures, as for `timers`. It calls
 * `onChildFailed(failure)`, which answers `resume`, `restart`, `stop` or `escalate`. Of other kinds the
 * manifest's strategy rules: `export const supervisor = supervises({ cart: Cart })`.
 */
export function supervises(kinds) {
  return {
    onChildFailed(me, failure) {
      const found = actorOf(kinds, me);
      return found ? settled(() => found.onChildFailed(failure), (it) => it, trap) : 'restart';
    },
  };
}

/**
 * The interface `watcher` of the classes that watch, as for `timers`: `export const watcher = watches({ cart: Cart })`. It
 * calls `onTerminated(target, reason)`.
 */
export function watches(kinds) {
  return {
    onTerminated(me, target, reason) {
      const found = actorOf(kinds, me);
      if (!found) throw new Error(noClass(me));
      return settled(() => found.onTerminated(target, reason), () => undefined, trap);
    },
  };
}

const classOf = (kinds, me) => kinds[me.kind.slice(me.kind.lastIndexOf('#') + 1)];

function actorOf(kinds, me) {
  const Class = classOf(kinds, me);
  return Class && (actorsOf(Class).get(me.key)?.deref() ?? new Class(me.key));
}

const noClass = (me) => `this component has no class for ${me.kind}`;

// What a turn answers, also if it does later.
function settled(run, answered, failed) {
  try {
    const answer = run();
    return typeof answer?.then === 'function' ? answer.then(answered, failed) : answered(answer);
  } catch (error) {
    return failed(error);
  }
}

// A hook without a result cannot answer an error.
function trap(error) {
  throw error instanceof Error ? error : new Error(JSON.stringify(error));
}

// An error commits like a result; a trap does not.
function end(actor, error, answer) {
  turn = null;
  try {
    if (!(error instanceof Error) || error instanceof CallFailed) actor.save();
  } catch (unsaved) {
    error = unsaved;
  }
  if (error instanceof CallFailed) throw actor.constructor.callError(error.reason);
  if (error !== null) throw error;
  return answer;
}

/**
 * The class of an imported kind, whose methods store the state of the turn before they call, and
 * throw `CallFailed` or `Refused`.
 */
export function proxy(Kind) {
  class Proxy {
    constructor(key) {
      this.key = key;
    }
  }
  for (const [name, method] of methodsOf(Kind)) {
    Proxy.prototype[name] = function (...args) {
      return ask(() => {
        // One for each call: once called, it is not dropped by itself, and handles are limited.
        const callee = new Kind(this.key);
        try {
          return method.apply(callee, args);
        } finally {
          callee[Symbol.dispose ?? Symbol.for('dispose')]();
        }
      });
    };
  }
  return Proxy;
}

// Calls out: the state of the turn is stored before, and others may run meanwhile.
function ask(call) {
  turn?.save();
  const waits = turn;
  turn = null;
  try {
    return call();
  } catch (error) {
    throw 'payload' in error ? failure(error.payload) : error;
  } finally {
    turn = waits;
  }
}

function methodsOf(Class) {
  return Object.getOwnPropertyNames(Class.prototype)
    .filter((name) => name !== 'constructor' && typeof Class.prototype[name] === 'function')
    .map((name) => [name, Class.prototype[name]]);
}

// A case of the callee's own that has the name of one of `call-error` cannot be told from it.
function failure(value) {
  if (value?.tag === 'call' && CALL_ERRORS.has(value.val?.tag)) return new CallFailed(value.val);
  if (CALL_ERRORS.has(value?.tag)) return new CallFailed(value);
  return new Refused(value);
}

function asCallError(error) {
  switch (error?.tag) {
    case 'too-large':
      return { tag: 'too-large', val: error.val };
    case 'read-only':
      return { tag: 'denied', val: 'a read-only method changed the state' };
    case 'conflict':
      return { tag: 'other', val: 'somebody else wrote the state' };
    case 'fenced':
      return { tag: 'other', val: 'a newer activation owns this actor' };
    default:
      return { tag: 'other', val: `the store is unavailable: ${error?.val}` };
  }
}

// What `restore` and `apply` made so far of actors that wake, by class and key, until they are constructed.
const waking = new Map();

/**
 * What actors extend that are what their events made of them, and the functions of `quark:actor/journal`, which throw
 * `JournalFailed`: `import * as host from 'quark:actor/journal@0.1.0'; const { JournaledActor, snapshotSoon } = journal(host)`.
 * `append(name, bytes)` is for audits of others. What reads stores the state of the turn before.
 *
 *   const Ledger = actor(
 *     class extends JournaledActor {
 *       static initial = () => ({ balance: 0 });
 *
 *       apply(event) {
 *         if (event.type === 'Deposited') this.state.balance += event.amount;
 *       }
 *
 *       deposit(amount) {
 *         this.record({ type: 'Deposited', amount });
 *         return this.state.balance;
 *       }
 *     },
 *   );
 *   export const journaled = journals({ ledger: Ledger });
 *
 * The state is not stored: when the actor wakes, it comes from the newest snapshot and the events after it. So it changes
 * in `apply` alone; a method decides, and then records what was decided.
 */
export function journal(host) {
  const appended = (event) => refusable(() => host.append(event), JournalFailed);
  const append = (name, payload, contentType = JSON_TYPE) => appended({ name, contentType, payload });
  const read = (first = 1, limit = 100) => {
    turn?.save();
    return refusable(() => host.read(BigInt(first), limit), JournalFailed);
  };

  class JournaledActor extends Actor {
    static parts = ['apply', 'record', 'recorded', 'snapshot', 'restore', 'encodeEvent', 'decodeEvent'];
    #broken;

    /**
     * What the event does to `this.state`: the same whenever it is run, so nothing but the event and what is there decides.
     * It can neither call nor tell anybody, and it is not `async`. A string that is thrown refuses to wake.
     */
    apply() {
      throw new Error('it has no apply');
    }

    /**
     * Appends the events, which commit with the turn, and applies them: all of them or none. Gives the number of the last
     * one. Throws `JournalFailed` when the first one is refused, and nothing has changed then. When a later one is, or one
     * cannot be applied, the turn traps: an event that the actor could not wake by must not be kept.
     */
    record(...events) {
      const encoded = events.map((event) => this.encodeEvent(event));
      // They are applied as they will be read again.
      const decoded = encoded.map((event) => this.decodeEvent(event));
      const numbers = [];
      for (const event of encoded) {
        try {
          numbers.push(appended(event));
        } catch (error) {
          if (!numbers.length) throw error;
          this.#break(`event ${numbers.length + 1} of ${events.length} that belong together was refused`, error);
        }
      }
      decoded.forEach((event, at) => {
        try {
          this.apply(event);
        } catch (error) {
          this.#break(`event ${numbers[at]} (\`${event.type}\`) cannot be applied`, error);
        }
      });
      return numbers.at(-1) ?? 0n;
    }

    /** Past events from that number on, oldest first: `{ sequence, at, event }`. Only an empty list is the end. A commit point. */
    recorded(first, limit) {
      return read(first, limit).map((entry) => ({ sequence: entry.sequence, at: entry.at, event: eventOf(this, entry) }));
    }

    /** All of `this.state` as bytes. */
    snapshot() {
      return toJson(this.state);
    }

    /** `this.state` from what `snapshot` gave. */
    restore(snapshot) {
      this.state = { ...this.constructor.initial(), ...fromJson(snapshot) };
    }

    /** The event as it is stored: JSON under its `type`. */
    encodeEvent({ type, ...fields }) {
      if (typeof type !== 'string') throw new TypeError('an event has a `type`, which is a string');
      const payload = toJson(Object.keys(fields).length ? { [type]: fields } : type);
      return { name: type, contentType: JSON_TYPE, payload };
    }

    /** The event as it was given to `encodeEvent`, maybe by an older version. */
    decodeEvent({ payload }) {
      const known = fromJson(payload);
      const [[type, fields]] = typeof known === 'string' ? [[known, {}]] : Object.entries(known);
      return { type, ...fields };
    }

    load() {
      const woken = wakingOf(this.constructor);
      this.state = woken.get(this.key)?.state ?? this.constructor.initial();
      woken.delete(this.key);
    }

    save() {
      // Whoever caught what broke it cannot have it committed.
      if (this.#broken) throw this.#broken;
    }

    #break(what, error) {
      const reason = error instanceof Error ? error.message : typeof error === 'string' ? error : JSON.stringify(error);
      this.#broken = new Error(`${what}: ${reason}`);
      throw this.#broken;
    }
  }

  return { ...host, JournaledActor, append, read };
}

/** The interface `journaled` of these classes, as for `timers`: `export const journaled = journals({ ledger: Ledger })`. */
export function journals(kinds) {
  const onItsWay = (me, afresh) => {
    const Class = classOf(kinds, me);
    if (!Class) throw noClass(me);
    const woken = wakingOf(Class);
    if (afresh || !woken.has(me.key)) {
      woken.delete(me.key);
      // Another takes its place, and what this has become, when the host constructs it.
      woken.set(me.key, new Class(me.key));
    }
    return woken.get(me.key);
  };
  return {
    restore(me, snapshot) {
      const actor = onItsWay(me, true);
      try {
        actor.restore(snapshot);
      } catch (error) {
        throw `the snapshot of ${me.kind} cannot be read: ${error.message ?? error}`;
      }
    },
    apply(me, entry) {
      // Another try of an actor that refused to wake begins anew.
      const actor = onItsWay(me, entry.sequence === 1n);
      let event;
      try {
        event = eventOf(actor, entry);
      } catch (error) {
        throw error.message;
      }
      return settled(() => actor.apply(event), () => undefined, text);
    },
    snapshot(me) {
      const actor = actorsOf(classOf(kinds, me)).get(me.key)?.deref();
      if (!actor) throw new Error(`${me.kind} ${me.key} is not awake here`);
      return actor.snapshot();
    },
  };
}

function wakingOf(Class) {
  if (!waking.has(Class)) waking.set(Class, new Map());
  return waking.get(Class);
}

function eventOf(actor, { sequence, event }) {
  try {
    return actor.decodeEvent(event);
  } catch (error) {
    throw new Error(`event ${sequence} (\`${event.name}\`) cannot be read: ${error.message}`);
  }
}
