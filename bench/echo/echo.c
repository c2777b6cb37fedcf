// The least that a thread can pay to ask JavaScript and be answered: a ThreadsafeFunction, a mutex and a condition variable
// for each thread, and a number that goes both ways. Nothing is decoded, checked or counted.
#include <node_api.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

struct asker {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int answered;
};

struct echo {
  napi_threadsafe_function ask;
  pthread_t thread;
  int joined;
  struct asker asker;
  uint32_t rounds;
  uint64_t pause_ns;
  // How long each round took, in nanoseconds.
  uint64_t took[];
};

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

// On the JavaScript thread: calls the function with the question, and wakes the thread with the number that it returns.
static void call(napi_env env, napi_value function, void *context, void *data) {
  if (env == NULL) return;
  struct echo *echo = context;
  napi_value receiver, argument, returned;
  double answer = 0;
  napi_get_undefined(env, &receiver);
  napi_create_uint32(env, (uint32_t)(uintptr_t)data, &argument);
  if (napi_call_function(env, receiver, function, 1, &argument, &returned) != napi_ok) return;
  napi_get_value_double(env, returned, &answer);
  pthread_mutex_lock(&echo->asker.lock);
  echo->asker.answered = answer >= 0;
  pthread_mutex_unlock(&echo->asker.lock);
  // Whoever is woken finds the lock free.
  pthread_cond_signal(&echo->asker.changed);
}

static void *run(void *data) {
  struct echo *echo = data;
  for (uint32_t round = 0; round < echo->rounds; round += 1) {
    struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)echo->pause_ns};
    if (echo->pause_ns > 0) nanosleep(&pause, NULL);
    uint64_t asked = now();
    echo->asker.answered = 0;
    napi_call_threadsafe_function(echo->ask, (void *)(uintptr_t)round, napi_tsfn_nonblocking);
    pthread_mutex_lock(&echo->asker.lock);
    while (!echo->asker.answered) pthread_cond_wait(&echo->asker.changed, &echo->asker.lock);
    pthread_mutex_unlock(&echo->asker.lock);
    echo->took[round] = now() - asked;
  }
  napi_release_threadsafe_function(echo->ask, napi_tsfn_release);
  return NULL;
}

// Waits for the thread.
static void end(struct echo *echo) {
  if (!echo->joined) pthread_join(echo->thread, NULL);
  echo->joined = 1;
}

static void finalize(napi_env env, void *data, void *hint) {
  struct echo *echo = data;
  end(echo);
  pthread_cond_destroy(&echo->asker.changed);
  pthread_mutex_destroy(&echo->asker.lock);
  free(echo);
}

// start(ask, rounds, pauseNs): starts a thread that asks, and returns what the other functions take.
static napi_value start(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3], name, result;
  uint32_t rounds = 0, pause_ns = 0;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  napi_get_value_uint32(env, arguments[1], &rounds);
  napi_get_value_uint32(env, arguments[2], &pause_ns);
  struct echo *echo = calloc(1, sizeof *echo + rounds * sizeof echo->took[0]);
  if (echo == NULL) {
    napi_throw_error(env, NULL, "no memory");
    return NULL;
  }
  pthread_mutex_init(&echo->asker.lock, NULL);
  pthread_cond_init(&echo->asker.changed, NULL);
  echo->rounds = rounds;
  echo->pause_ns = pause_ns;
  napi_create_string_utf8(env, "echo", NAPI_AUTO_LENGTH, &name);
  napi_create_threadsafe_function(env, arguments[0], NULL, name, 0, 1, NULL, NULL, echo, call, &echo->ask);
  napi_create_external(env, echo, finalize, NULL, &result);
  pthread_create(&echo->thread, NULL, run, echo);
  return result;
}

static struct echo *echo_of(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  void *data = NULL;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  napi_get_value_external(env, argument, &data);
  return data;
}

// took(echo): how long each round took, in nanoseconds; once all were answered.
static napi_value took(napi_env env, napi_callback_info info) {
  struct echo *echo = echo_of(env, info);
  napi_value array;
  end(echo);
  napi_create_array_with_length(env, echo->rounds, &array);
  for (uint32_t round = 0; round < echo->rounds; round += 1) {
    napi_value value;
    napi_create_double(env, (double)echo->took[round], &value);
    napi_set_element(env, array, round, value);
  }
  return array;
}

static napi_value init(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      {"start", NULL, start, NULL, NULL, NULL, napi_default, NULL},
      {"took", NULL, took, NULL, NULL, NULL, napi_default, NULL},
  };
  napi_define_properties(env, exports, sizeof functions / sizeof functions[0], functions);
  return exports;
}

NAPI_MODULE(echo, init)
