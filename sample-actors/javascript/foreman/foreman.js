// Decides about each failure of its workers, or comes to no decision: the sample `foreman` in JavaScript.

import * as host from 'quark:actor/children@0.1.0';
import { Actor, actor, children, supervises, watches } from '../../../guest-sdk/js/quark-actor.js';

const { spawn, all, watch } = children(host);
const WORKER = 'sample:crew/workers#worker';
// Most entries of each list that grows.
const KEPT = 100;

const Foreman = actor(
  class extends Actor {
    static initial = () => ({ mode: 'restart', failures: [], gone: [] });
    static callError = (error) => error;

    onChildFailed(failure) {
      this.state.failures = [...this.state.failures, failure].slice(-KEPT);
      switch (this.state.mode) {
        case 'spin':
          for (;;);
        case 'trap':
          throw new Error('the foreman lost his head');
        default:
          return this.state.mode;
      }
    }

    onTerminated(target) {
      this.state.gone = [...this.state.gone, target.key].slice(-KEPT);
    }

    take(name, lifetime) {
      const worker = { kind: WORKER, key: `${this.key}.${name}` };
      spawn(worker, lifetime);
      watch(worker);
    }

    roster() {
      return all().map((child) => child.key);
    }

    decide(mode) {
      this.state.mode = mode;
    }

    failures() {
      return this.state.failures;
    }

    gone() {
      return this.state.gone;
    }
  },
);

export const foremen = { Foreman };
export const supervisor = supervises({ foreman: Foreman });
export const watcher = watches({ foreman: Foreman });
