// A player of Pig: rolls a die, in C, and plays in a game, in Python.

import { Actor, actor, proxy } from '../../../guest-sdk/js/quark-actor.js';
import * as dice from 'sample:pig/dice@1.0.0';
import * as games from 'sample:pig/games@1.0.0';

const Die = proxy(dice.Die);
const Game = proxy(games.Game);
const ENOUGH = 20;

class Player extends Actor {
  static initial = () => ({ game: null, score: 0 });

  join(game) {
    if (this.state.game !== null) throw { tag: 'playing', val: this.state.game };
    const playing = new Game(game).join(this.key);
    this.state.game = game;
    return playing;
  }

  takeTurn(key) {
    const die = new Die(key);
    let points = 0;
    while (points < ENOUGH) {
      const face = die.roll();
      if (face === 1) return 0;
      points += face;
    }
    this.state.score += points;
    return points;
  }

  score() {
    return this.state.score;
  }

  whoLeads() {
    return this.state.game === null ? undefined : new Game(this.state.game).leader();
  }

  leave() {
    this.state = Player.initial();
  }
}

export const players = { Player: actor(Player) };
