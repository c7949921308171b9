// Chains of calls that come back to actors which wait for them: what `ping-pong` in Rust does, in C.
//
// While a method waits for its call, others of the same actor run from start to end. So whatever it knew
// of `self` before the call may be old after it.

#include <stdlib.h>
#include <string.h>

#include "ping_pong_actor.h"

typedef ping_pong_actor_string_t string_t;
typedef ping_pong_actor_list_u8_t bytes_t;
typedef ping_pong_actor_list_string_t players_t;

// The interface is imported and exported, and the bindings have its types twice. Here are those that are
// imported; `MOVE` takes values over from the others and to them.
typedef sample_ping_pong_ping_pongs_item_t item_t;
typedef sample_ping_pong_ping_pongs_ball_t ball_t;
typedef sample_ping_pong_ping_pongs_seen_t seen_t;
typedef sample_ping_pong_ping_pongs_option_mark_t mark_t;
typedef sample_ping_pong_ping_pongs_ping_error_t error_t;
typedef sample_ping_pong_ping_pongs_own_ping_pong_t player_t;

#define MOVE(to, from)                                                     \
  do {                                                                     \
    _Static_assert(sizeof *(to) == sizeof *(from), "one type, two names"); \
    memcpy((to), (from), sizeof *(to));                                    \
  } while (0)

// All that is durable, as these bytes.
typedef struct {
  uint64_t before;
  uint64_t after;
} score_t;

struct exports_sample_ping_pong_ping_pongs_ping_pong_t {
  string_t key;
  score_t score;
};

typedef exports_sample_ping_pong_ping_pongs_ping_pong_t ping_pong_t;
typedef exports_sample_ping_pong_ping_pongs_ping_error_t answered_error_t;

static const char STATE[] = "score";

// A string that nobody has to free.
static string_t text(const char *chars) {
  return (string_t){(uint8_t *)chars, strlen(chars)};
}

static bool is(const string_t *string, const char *chars) {
  return string->len == strlen(chars) && memcmp(string->ptr, chars, string->len) == 0;
}

static void *resized(void *memory, size_t bytes) {
  memory = realloc(memory, bytes ? bytes : 1);
  if (!memory) {
    abort();
  }
  return memory;
}

static void append(string_t *string, const void *bytes, size_t len) {
  // What is empty was not allocated.
  string->ptr = resized(string->len ? string->ptr : NULL, string->len + len);
  memcpy(string->ptr + string->len, bytes, len);
  string->len += len;
}

static void append_number(string_t *string, uint64_t number) {
  char digits[20];
  size_t at = sizeof digits;
  do {
    digits[--at] = (char)('0' + number % 10);
    number /= 10;
  } while (number);
  append(string, digits + at, sizeof digits - at);
}

static error_t failure(const char *reason) {
  error_t error = {.tag = SAMPLE_PING_PONG_PING_PONGS_PING_ERROR_CALL};
  error.val.call.tag = QUARK_ACTOR_TYPES_CALL_ERROR_OTHER;
  ping_pong_actor_string_dup(&error.val.call.val.other, reason);
  return error;
}

// Counts a ball. The host makes that durable before a call leaves, and at the turn's end.
static bool count(ping_pong_t *self, uint64_t *balls, error_t *error) {
  ++*balls;
  string_t name = text(STATE);
  bytes_t bytes = {(uint8_t *)&self->score, sizeof self->score};
  quark_actor_state_state_error_t refusal;
  if (quark_actor_state_set(&name, &bytes, &refusal)) {
    return true;
  }
  quark_actor_state_state_error_free(&refusal);
  *error = failure("the score was not stored");
  return false;
}

// The ball after that player's stroke.
static void turn(ball_t *ball, const string_t *player) {
  append(&ball->text, player->ptr, player->len);
  for (size_t low = 0, high = ball->items.len; low + 1 < high; low++) {
    item_t item = ball->items.ptr[low];
    ball->items.ptr[low] = ball->items.ptr[--high];
    ball->items.ptr[high] = item;
  }
}

static bool same_bytes(const void *one, size_t one_len, const void *other, size_t other_len) {
  return one_len == other_len && memcmp(one, other, one_len) == 0;
}

static bool same_mark(const mark_t *one, const mark_t *other) {
  if (!one->is_some || !other->is_some) {
    return one->is_some == other->is_some;
  }
  if (one->val.tag != other->val.tag) {
    return false;
  }
  switch (one->val.tag) {
  case SAMPLE_PING_PONG_PING_PONGS_MARK_LABELLED:
    return same_bytes(one->val.val.labelled.ptr, one->val.val.labelled.len, other->val.val.labelled.ptr,
                      other->val.val.labelled.len);
  case SAMPLE_PING_PONG_PING_PONGS_MARK_COUNTED:
    return one->val.val.counted == other->val.val.counted;
  default:
    return true;
  }
}

static bool same(const item_t *one, const item_t *other) {
  return same_bytes(one->name.ptr, one->name.len, other->name.ptr, other->name.len) &&
         memcmp(&one->weight, &other->weight, sizeof one->weight) == 0 &&
         same_bytes(one->data.ptr, one->data.len, other->data.ptr, other->data.len) &&
         same_mark(&one->mark, &other->mark);
}

// Whether that is what comes of this ball when the players have hit it on, each but the last with a stroke.
static bool is_due(const seen_t *seen, const ball_t *ball, const players_t *players) {
  size_t strokes = players->len - 1, at = ball->text.len, items = ball->items.len;
  if (seen->depth != strokes || seen->items.len != items || seen->text.len < at ||
      memcmp(seen->text.ptr, ball->text.ptr, at) != 0) {
    return false;
  }
  for (size_t stroke = 0; stroke < strokes; stroke++) {
    const string_t *player = &players->ptr[stroke];
    if (seen->text.len - at < player->len || memcmp(seen->text.ptr + at, player->ptr, player->len) != 0) {
      return false;
    }
    at += player->len;
  }
  for (size_t item = 0; item < items; item++) {
    if (!same(&seen->items.ptr[item], &ball->items.ptr[strokes % 2 ? items - 1 - item : item])) {
      return false;
    }
  }
  return seen->text.len == at;
}

// Hits the ball on to the first of at least one player and checks what comes back.
static bool hit(const ping_pong_t *self, const players_t *players, ball_t *ball, seen_t *seen, error_t *error) {
  turn(ball, &self->key);
  players_t others = {players->ptr + 1, players->len - 1};
  player_t player = sample_ping_pong_ping_pongs_constructor_ping_pong(&players->ptr[0]);
  bool done = sample_ping_pong_ping_pongs_method_ping_pong_rally(sample_ping_pong_ping_pongs_borrow_ping_pong(player),
                                                                 &others, ball, seen, error);
  sample_ping_pong_ping_pongs_ping_pong_drop_own(player);
  if (done && !is_due(seen, ball, players)) {
    sample_ping_pong_ping_pongs_seen_free(seen);
    error->tag = SAMPLE_PING_PONG_PING_PONGS_PING_ERROR_WRONG;
    ping_pong_actor_string_dup(&error->val.wrong, "another ball came back");
    return false;
  }
  return done;
}

static mark_t new_mark(uint32_t at) {
  mark_t mark = {.is_some = at % 4 != 0};
  switch (at % 4) {
  case 1:
    mark.val.tag = SAMPLE_PING_PONG_PING_PONGS_MARK_PLAIN;
    break;
  case 2:
    mark.val.tag = SAMPLE_PING_PONG_PING_PONGS_MARK_LABELLED;
    ping_pong_actor_string_dup(&mark.val.val.labelled, "№ ");
    append_number(&mark.val.val.labelled, at);
    break;
  case 3:
    mark.val.tag = SAMPLE_PING_PONG_PING_PONGS_MARK_COUNTED;
    mark.val.val.counted = UINT64_MAX - at;
    break;
  }
  return mark;
}

// Another ball each time, with everything in it that a value can be.
static ball_t new_ball(uint32_t time, uint32_t bytes) {
  static const char *const CHARS[] = {"g", "r", "ü", "n", " ", "🎾", " "};
  ball_t ball = {0};
  for (uint32_t at = 0; at < bytes / 8; at++) {
    const char *next = CHARS[(time % 7 + at) % 7];
    append(&ball.text, next, strlen(next));
  }
  ball.items.len = 5 + time % 11;
  ball.items.ptr = resized(NULL, ball.items.len * sizeof *ball.items.ptr);
  for (uint32_t at = 0; at < ball.items.len; at++) {
    item_t *item = &ball.items.ptr[at];
    *item = (item_t){.weight = at / 3.0 - time, .mark = new_mark(at + time)};
    ping_pong_actor_string_dup(&item->name, "Schläger ");
    append_number(&item->name, at);
    append(&item->name, " von ", 5);
    append_number(&item->name, time);
    item->data.len = bytes / 40;
    item->data.ptr = item->data.len ? resized(NULL, item->data.len) : NULL;
    for (uint32_t byte = 0; byte < item->data.len; byte++) {
      item->data.ptr[byte] = (uint8_t)(byte * (at + time));
    }
  }
  return ball;
}

// Hits a ball on that is made for it, and says how deep that went.
static bool play(const ping_pong_t *self, const players_t *players, ball_t ball, uint32_t *depth, error_t *error) {
  seen_t seen;
  bool done = hit(self, players, &ball, &seen, error);
  sample_ping_pong_ping_pongs_ball_free(&ball);
  if (done) {
    *depth = seen.depth;
    sample_ping_pong_ping_pongs_seen_free(&seen);
  }
  return done;
}

// As the last player, or by a call of the first.
static bool finish(const players_t *players, string_t *how, string_t *answer, error_t *error) {
  if (players->len) {
    players_t others = {players->ptr + 1, players->len - 1};
    player_t player = sample_ping_pong_ping_pongs_constructor_ping_pong(&players->ptr[0]);
    bool done = sample_ping_pong_ping_pongs_method_ping_pong_finish(
        sample_ping_pong_ping_pongs_borrow_ping_pong(player), &others, how, answer, error);
    sample_ping_pong_ping_pongs_ping_pong_drop_own(player);
    return done;
  }
  if (is(how, "ok")) {
    ping_pong_actor_string_dup(answer, "point");
    return true;
  }
  if (is(how, "trap")) {
    // Without stdio a trap has no words of its own; the last error that was logged tells why.
    string_t reason = text("the racket broke");
    ping_pong_actor_list_tuple2_string_string_t fields = {0};
    quark_actor_log_log(QUARK_ACTOR_LOG_LEVEL_ERROR, &reason, &fields);
    abort();
  }
  while (is(how, "spin")) {
  }
  error->tag = SAMPLE_PING_PONG_PING_PONGS_PING_ERROR_MISSED;
  ping_pong_actor_string_dup_n(&error->val.missed, (const char *)how->ptr, how->len);
  return false;
}

// In words, of that error's if it has some. The error is used up.
static string_t told(error_t *error) {
  string_t words = {0};
  if (error->tag != SAMPLE_PING_PONG_PING_PONGS_PING_ERROR_CALL) {
    append(&words, error->val.missed.ptr, error->val.missed.len);
  } else if (error->val.call.tag == QUARK_ACTOR_TYPES_CALL_ERROR_FAILED) {
    append(&words, error->val.call.val.failed.ptr, error->val.call.val.failed.len);
  } else {
    append(&words, "call error ", 11);
    append_number(&words, error->val.call.tag);
  }
  sample_ping_pong_ping_pongs_ping_error_free(error);
  return words;
}

static bool answer(bool done, const error_t *error, answered_error_t *answered) {
  if (!done) {
    MOVE(answered, error);
  }
  return done;
}

exports_sample_ping_pong_ping_pongs_own_ping_pong_t
exports_sample_ping_pong_ping_pongs_constructor_ping_pong(string_t *key) {
  ping_pong_t *self = resized(NULL, sizeof *self);
  *self = (ping_pong_t){.key = *key};
  string_t name = text(STATE);
  bytes_t bytes;
  if (quark_actor_state_get(&name, &bytes)) {
    if (bytes.len == sizeof self->score) {
      memcpy(&self->score, bytes.ptr, sizeof self->score);
    }
    ping_pong_actor_list_u8_free(&bytes);
  }
  return exports_sample_ping_pong_ping_pongs_ping_pong_new(self);
}

void exports_sample_ping_pong_ping_pongs_ping_pong_destructor(ping_pong_t *self) {
  ping_pong_actor_string_free(&self->key);
  free(self);
}

bool exports_sample_ping_pong_ping_pongs_method_ping_pong_rally(
    ping_pong_t *self, players_t *players, exports_sample_ping_pong_ping_pongs_ball_t *hit_here,
    exports_sample_ping_pong_ping_pongs_seen_t *answered, answered_error_t *answered_error) {
  ball_t ball;
  MOVE(&ball, hit_here);
  seen_t seen;
  error_t error;
  bool done = count(self, &self->score.before, &error);
  if (done && players->len == 0) {
    // The ball stays with the answer.
    seen = (seen_t){.depth = 0, .text = ball.text, .items = ball.items};
  } else {
    done = done && hit(self, players, &ball, &seen, &error);
    sample_ping_pong_ping_pongs_ball_free(&ball);
    if (done) {
      seen.depth++;
      done = count(self, &self->score.after, &error);
      if (!done) {
        sample_ping_pong_ping_pongs_seen_free(&seen);
      }
    }
  }
  ping_pong_actor_list_string_free(players);
  if (done) {
    MOVE(answered, &seen);
  }
  return answer(done, &error, answered_error);
}

bool exports_sample_ping_pong_ping_pongs_method_ping_pong_practise(ping_pong_t *self, players_t *players,
                                                                   uint32_t times, uint32_t bytes, uint32_t *played,
                                                                   answered_error_t *answered_error) {
  error_t error;
  bool done = true;
  for (uint32_t time = 0; done && players->len && time < times; time++) {
    uint32_t depth;
    done = play(self, players, new_ball(time, bytes), &depth, &error);
  }
  ping_pong_actor_list_string_free(players);
  *played = times;
  return answer(done, &error, answered_error);
}

bool exports_sample_ping_pong_ping_pongs_method_ping_pong_finish(ping_pong_t *self, players_t *players, string_t *how,
                                                                 string_t *answered,
                                                                 answered_error_t *answered_error) {
  error_t error;
  bool done = count(self, &self->score.before, &error) && finish(players, how, answered, &error);
  if (done && !count(self, &self->score.after, &error)) {
    ping_pong_actor_string_free(answered);
    done = false;
  }
  ping_pong_actor_list_string_free(players);
  ping_pong_actor_string_free(how);
  return answer(done, &error, answered_error);
}

bool exports_sample_ping_pong_ping_pongs_method_ping_pong_attempt(ping_pong_t *self, players_t *players, string_t *how,
                                                                  string_t *answered,
                                                                  answered_error_t *answered_error) {
  error_t error;
  bool done = count(self, &self->score.before, &error);
  if (done) {
    if (!finish(players, how, answered, &error)) {
      *answered = told(&error);
    }
    done = count(self, &self->score.after, &error);
    if (!done) {
      ping_pong_actor_string_free(answered);
    }
  }
  ping_pong_actor_list_string_free(players);
  ping_pong_actor_string_free(how);
  return answer(done, &error, answered_error);
}

bool exports_sample_ping_pong_ping_pongs_method_ping_pong_fan(ping_pong_t *self, players_t *players, string_t *end,
                                                              uint32_t *depth, answered_error_t *answered_error) {
  error_t error;
  bool done = true;
  *depth = 0;
  for (size_t at = 0; done && at < players->len; at++) {
    // Not theirs to free: a copy of the two pointers.
    string_t both[] = {players->ptr[at], *end};
    players_t path = {both, 2};
    uint32_t more = 0;
    done = play(self, &path, new_ball((uint32_t)at, 100), &more, &error);
    *depth += more;
  }
  ping_pong_actor_list_string_free(players);
  ping_pong_actor_string_free(end);
  return answer(done, &error, answered_error);
}

bool exports_sample_ping_pong_ping_pongs_method_ping_pong_score(ping_pong_t *self,
                                                                exports_sample_ping_pong_ping_pongs_score_t *score,
                                                                answered_error_t *error) {
  (void)error;
  *score = (exports_sample_ping_pong_ping_pongs_score_t){self->score.before, self->score.after};
  return true;
}
