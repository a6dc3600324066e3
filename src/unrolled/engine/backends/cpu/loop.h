// What every generated loop is made of.
#pragma once
#include "functions.h"
#include "products.h"
#include "scratch.h"
#include "threads.h"

namespace {

// whether threads can share so many features by whole panels
template <int PW> bool is_even(long width, long parts) {
  return width % PW == 0 && (width / PW % parts == 0 || width / PW >= 4 * parts);
}
// what one of some threads does, of panels or features
struct Share {
  long from, to;
  static Share of(long n, long part, long parts) { return {n * part / parts, n * (part + 1) / parts}; }
  // features of a loop
  static Share features(long width, long part, long parts) {
    constexpr int PW = FIT<4> * VL;
    const long unit = is_even<PW>(width, parts) ? PW : VL;
    const Share blocks = of(ceil_div(width, unit), part, parts);
    return {blocks.from * unit, blocks.to * unit};
  }
  // panels of a product that has several such widths beside each other
  template <int PW> static Share of(long width, long part, long parts, long segment) {
    const Share own = of(width / PW, part, parts);
    return {segment * (width / PW) + own.from, segment * (width / PW) + own.to};
  }
};

// how a pass over features reads and writes: whole vectors, or the last numbers of a row
struct Whole {
  template <class T> V read(const T* p) const { return ld(p); }
  template <class T> void write(T* p, V v) const { st(p, v); }
};
struct Rest {
  long n;
  template <class T> V read(const T* p) const { return ld(p, n); }
  template <class T> void write(T* p, V v) const { st(p, v, n); }
};
// features [c, to) of WIDTH: pass(feature, its vector's number, Whole or Rest)
template <long WIDTH, class P> INLINE void over(long c, long to, P pass) {
  long i = 0;
  for (; c + VL <= to; c += VL, i++) pass(c, i, Whole{});
  if constexpr (WIDTH % VL)
    if (c < to) pass(c, i, Rest{WIDTH - c});
}
// several passes take turns on strips of so many vectors
constexpr long STRIP = 16;
template <long WIDTH, class... P> INLINE void by_strips(long c0, long c1, P... passes) {
  const long end = c1 < WIDTH ? c1 : WIDTH, strip = sizeof...(P) == 1 ? WIDTH : STRIP * VL;
  for (long c = c0; c < end; c += strip) {
    const long to = end - c < strip ? end : c + strip;
    (over<WIDTH>(c, to, passes), ...);
  }
}

// the sum of a vector's numbers, by halves
INLINE R sum_of(V v) {
  R numbers[VL];
  memcpy(numbers, &v, sizeof v);
  for (int half = VL / 2; half; half /= 2)
    for (int i = 0; i < half; i++) numbers[i] += numbers[i + half];
  return numbers[0];
}
// to[place] = the sum of body(place, feature) over a matrix's rows [PLACES, WIDTH]; so many rows at once, as each addition
// waits for the one before
template <long WIDTH, int AT_ONCE, class F> INLINE void some_row_sums(R* to, long place, F body) {
  V total[AT_ONCE];
  for (int j = 0; j < AT_ONCE; j++) total[j] = bc(0);
  long c = 0;
  for (; c + VL <= WIDTH; c += VL)
    for (int j = 0; j < AT_ONCE; j++) total[j] = total[j] + body(place + j, c, Whole{});
  if constexpr (WIDTH % VL) {
    const Rest rest{WIDTH - c};
    for (int j = 0; j < AT_ONCE; j++) total[j] = total[j] + keep(body(place + j, c, rest), rest.n, 0);
  }
  for (int j = 0; j < AT_ONCE; j++) to[place + j] = sum_of(total[j]);
}
template <long PLACES, long WIDTH, int AT_ONCE, class F> INLINE void row_sums(R* to, F body) {
  long place = 0;
  for (; place + AT_ONCE <= PLACES; place += AT_ONCE) some_row_sums<WIDTH, AT_ONCE>(to, place, body);
  if constexpr (PLACES % AT_ONCE)
    for (; place < PLACES; place++) some_row_sums<WIDTH, 1>(to, place, body);
}
// to[feature] = the sum of body(place, feature) over the columns, likewise
template <long PLACES, long WIDTH, int AT_ONCE, class F> INLINE void column_sums(R* to, F body) {
  long c = 0;
  for (; c + AT_ONCE * VL <= WIDTH; c += AT_ONCE * VL) {
    V total[AT_ONCE];
    for (int j = 0; j < AT_ONCE; j++) total[j] = bc(0);
    for (long place = 0; place < PLACES; place++)
      for (int j = 0; j < AT_ONCE; j++) total[j] = total[j] + body(place, c + j * VL, Whole{});
    for (int j = 0; j < AT_ONCE; j++) st(to + c + j * VL, total[j]);
  }
  if constexpr (WIDTH % (AT_ONCE * VL)) {
    for (; c + VL <= WIDTH; c += VL) {
      V total = bc(0);
      for (long place = 0; place < PLACES; place++) total = total + body(place, c, Whole{});
      st(to + c, total);
    }
    if (c < WIDTH) {
      const Rest rest{WIDTH - c};
      V total = bc(0);
      for (long place = 0; place < PLACES; place++) total = total + body(place, c, rest);
      st(to + c, total, rest.n);
    }
  }
}

// what a loop is called with; arrays of pointers, one for each of the program's inputs and outputs
struct Call {
  long T, B, threads, reversed;
  const int64_t *counts, *offsets;  // of each step: the rows that run, the first `count` of all, and where they lie; or null
  const Products* products;
  const S* const* steps;
  const S* const* firsts;           // of shifted inputs: what is read where there is no next step
  S* const* states;                 // to be written with the state after every step, or null
  const S* const* first_states;
  S* const* last_states;
  const S* const* rows;
  const S* const* weights;
  const int64_t* strides;           // of the weights, two each
  S* const* outputs;
  const S* const* held;             // the same at every step, a row for each sequence
  R* const* totals;                 // to be added to at every step, likewise

  Call(const int64_t* a, int n_steps, int n_states, int n_rows, int n_weights, int n_outputs, int n_held)
      : T(a[0]), B(a[1]), threads(a[2]), reversed(a[3]), counts((const int64_t*)a[4]), offsets((const int64_t*)a[5]),
        products((const Products*)a[6]), steps((const S* const*)(a + 7)), firsts(steps + n_steps), states((S* const*)(firsts + n_steps)),
        first_states((const S* const*)(states + n_states)), last_states((S* const*)(first_states + n_states)),
        rows((const S* const*)(last_states + n_states)), weights(rows + n_rows),
        strides((const int64_t*)(weights + n_weights)), outputs((S* const*)(strides + 2 * n_weights)),
        held((const S* const*)(outputs + n_outputs)), totals((R* const*)(held + n_held)) {}

  long time(long k) const { return reversed ? T - 1 - k : k; }
  long count(long t) const { return counts ? counts[t] : B; }
  long offset(long t) const { return counts ? offsets[t] : t * B; }
  static void copy(S* to, const S* from, long r0, long r1, long width) {
    if (r0 < r1) memcpy(to + r0 * width, from + r0 * width, (r1 - r0) * width * sizeof(S));
  }

  // an input as it is at the step that runs next; rows [q0, q1) are this thread's to copy
  const S* shifted_step(int i, S* apart, long t, long n, long q0, long q1, long width) const {
    const long next = reversed ? t - 1 : t + 1;
    if (next < 0 || next >= T) return firsts[i];
    const S* there = steps[i] + offset(next) * width;
    const long m = count(next);
    if (m >= n) return there;
    copy(apart, there, q0, q1 < m ? q1 : m, width);
    copy(apart, firsts[i], q0 > m ? q0 : m, q1, width);
    return apart;
  }
  // whether some rows begin later than others: those that end, in reverse
  bool begins_later() const { return counts && reversed; }
  // whether a state is computed where it is kept: rows that begin later need first states beside them
  bool is_in_place(int i) const { return states[i] && !begins_later(); }
  // the state before step k; rows that only now begin come from the first states
  const S* state(int i, S* slots, long k, long q0, long q1, long width) const {
    if (k == 0 && !begins_later()) return first_states[i];
    if (is_in_place(i)) return states[i] + offset(time(k - 1)) * width;
    S* slot = slots + ((k - 1) & 1) * B * width;
    if (counts) {
      const long ran = k ? count(time(k - 1)) : 0;
      copy(slot, first_states[i], q0 > ran ? q0 : ran, q1, width);
    }
    return slot;
  }
  S* next_state(int i, S* slots, long k, long at, long width) const {
    if (is_in_place(i)) return states[i] + at * width;
    return !counts && k == T - 1 ? last_states[i] : slots + (k & 1) * B * width;
  }
  // after step k: the state goes to where it is kept; rows that end are last
  void keep_state(int i, const S* now, long k, long at, long q0, long q1, long width) const {
    if (states[i] && !is_in_place(i)) copy(states[i] + at * width, now, q0, q1, width);
    if (counts) {
      const long next = k + 1 < T ? count(time(k + 1)) : 0;
      copy(last_states[i], now, q0 > next ? q0 : next, q1, width);
    } else if (k == T - 1 && states[i]) copy(last_states[i], now, q0, q1, width);
  }
};

}  // namespace
