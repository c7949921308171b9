// A die that remembers how often it was rolled. It uses no SDK, only the bindings of `wit-bindgen c`.
//
// A string or list that comes in or is answered by the host is freed here; what a method answers is
// freed by the bindings.

#include <stdlib.h>
#include <string.h>

#include "die_actor.h"

// All that is durable, as these bytes.
typedef struct {
  uint64_t random;
  uint64_t rolls;
} memory_t;

struct exports_sample_pig_dice_die_t {
  memory_t memory;
};

typedef exports_sample_pig_dice_call_error_t call_error_t;

static const char STATE[] = "die";

// A string that nobody has to free.
static die_actor_string_t text(const char *chars) {
  return (die_actor_string_t){(uint8_t *)chars, strlen(chars)};
}

static call_error_t failure(const char *reason) {
  call_error_t error = {.tag = QUARK_ACTOR_TYPES_CALL_ERROR_OTHER};
  die_actor_string_dup(&error.val.other, reason);
  return error;
}

static void load(memory_t *memory) {
  die_actor_string_t name = text(STATE);
  die_actor_list_u8_t bytes;
  if (quark_actor_state_get(&name, &bytes)) {
    if (bytes.len == sizeof *memory) {
      memcpy(memory, bytes.ptr, sizeof *memory);
    }
    die_actor_list_u8_free(&bytes);
  }
  if (memory->random == 0) {
    // Its first roll. Xorshift must not start from zero.
    quark_actor_context_random(sizeof memory->random, &bytes);
    memcpy(&memory->random, bytes.ptr, sizeof memory->random);
    memory->random |= 1;
    die_actor_list_u8_free(&bytes);
  }
}

static bool save(memory_t *memory) {
  die_actor_string_t name = text(STATE);
  die_actor_list_u8_t bytes = {(uint8_t *)memory, sizeof *memory};
  quark_actor_state_state_error_t error;
  if (quark_actor_state_set(&name, &bytes, &error)) {
    return true;
  }
  quark_actor_state_state_error_free(&error);
  return false;
}

// The actor's key is not needed: the host knows whose state and whose calls these are.
exports_sample_pig_dice_own_die_t exports_sample_pig_dice_constructor_die(die_actor_string_t *key) {
  die_actor_string_free(key);
  exports_sample_pig_dice_die_t *die = calloc(1, sizeof *die);
  if (!die) {
    abort();
  }
  load(&die->memory);
  return exports_sample_pig_dice_die_new(die);
}

void exports_sample_pig_dice_die_destructor(exports_sample_pig_dice_die_t *die) {
  free(die);
}

// Calls an actor in Rust, which counts all rolls of all dice.
static bool count(call_error_t *error) {
  die_actor_string_t key = text("rolls");
  sample_counter_counters_own_counter_t counter = sample_counter_counters_constructor_counter(&key);
  uint64_t value;
  sample_counter_counters_counter_error_t refusal;
  bool done = sample_counter_counters_method_counter_increment(
      sample_counter_counters_borrow_counter(counter), 1, &value, &refusal);
  sample_counter_counters_counter_drop_own(counter);
  if (done) {
    return true;
  }
  if (refusal.tag == SAMPLE_COUNTER_COUNTERS_COUNTER_ERROR_CALL) {
    *error = refusal.val.call;
  } else {
    *error = failure("the counter is full");
  }
  return false;
}

bool exports_sample_pig_dice_method_die_roll(exports_sample_pig_dice_borrow_die_t die, uint32_t *face,
                                             call_error_t *error) {
  memory_t *memory = &die->memory;
  // Xorshift: good enough for a game.
  memory->random ^= memory->random << 13;
  memory->random ^= memory->random >> 7;
  memory->random ^= memory->random << 17;
  memory->rolls++;
  // Before the call leaves, the host makes durable what was set.
  if (!save(memory)) {
    *error = failure("the die's state was not stored");
    return false;
  }
  *face = (uint32_t)(memory->random % 6) + 1;
  return count(error);
}

bool exports_sample_pig_dice_method_die_rolls(exports_sample_pig_dice_borrow_die_t die, uint64_t *rolls,
                                              call_error_t *error) {
  (void)error;
  *rolls = die->memory.rolls;
  return true;
}
