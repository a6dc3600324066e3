// What every generated loop is made of: vectors, functions on them, packed products, a team of threads, an arena.
// REAL, float or double, is what is computed in; with -DBFLOAT16, tensors are stored in bfloat16 and computed in float.
// Portable by GCC's and Clang's vector extensions.
#pragma once
// few headers, as all are read whenever a loop is compiled: those of C++'s math and threads take half a second
#include <atomic>
#include <limits>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <type_traits>
#include <utility>
#if defined(_OPENMP)
#include <omp.h>
#else
#include <system_error>
#include <thread>
#include <vector>
#endif

namespace {

typedef REAL R;
#if defined(__AVX512F__)
constexpr int BYTES = 64, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int BYTES = 32, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int BYTES = 16, REGISTERS = 32;
#else
constexpr int BYTES = 16, REGISTERS = 16;
#endif
constexpr int VL = BYTES / sizeof(R);
typedef R V __attribute__((vector_size(BYTES)));
typedef R U __attribute__((vector_size(BYTES), aligned(sizeof(R)), may_alias));  // anywhere in memory
typedef std::conditional_t<sizeof(R) == 4, int32_t, int64_t> I;
typedef I VI __attribute__((vector_size(BYTES)));

#define INLINE static inline __attribute__((always_inline))

INLINE V bc(R x) { return x - V{}; }
INLINE V ld(const R* p) { return *(const U*)p; }
INLINE void st(R* p, V v) { *(U*)p = v; }
// the first n numbers alone
INLINE V ld(const R* p, long n) { V v{}; memcpy(&v, p, n * sizeof(R)); return v; }
INLINE void st(R* p, V v, long n) { memcpy(p, &v, n * sizeof(R)); }

#if defined(BFLOAT16)
struct S { uint16_t bits; };  // the upper half of a float
typedef uint16_t H __attribute__((vector_size(VL * 2)));
typedef uint16_t HU __attribute__((vector_size(VL * 2), aligned(2), may_alias));
typedef uint32_t VW __attribute__((vector_size(BYTES)));
INLINE V widened(H h) { return (V)(__builtin_convertvector(h, VW) << 16); }
INLINE H narrowed(V v) {  // to the nearest, ties to even; a NaN stays one
  VW w = (VW)v, up = w + 0x7FFF + ((w >> 16) & 1);
  return __builtin_convertvector((v != v ? (w | 0x400000) : up) >> 16, H);
}
INLINE V ld(const S* p) { return widened(*(const HU*)p); }
INLINE void st(S* p, V v) { *(HU*)p = narrowed(v); }
INLINE V ld(const S* p, long n) { H h{}; memcpy(&h, p, n * sizeof(S)); return widened(h); }
INLINE void st(S* p, V v, long n) { H h = narrowed(v); memcpy(p, &h, n * sizeof(S)); }
INLINE R number(S s) { return widened(H{} + s.bits)[0]; }
INLINE void put(S* p, V v) { st(p, v, 1); }
#else
typedef R S;
#endif
INLINE R number(R r) { return r; }
INLINE void put(R* p, V v) { *p = v[0]; }

template <class F> INLINE V each(V a, F f) { V r; for (int i = 0; i < VL; i++) r[i] = f(a[i]); return r; }

#define OF_C(function, ...) (sizeof(R) == 4 ? (R)__builtin_##function##f(__VA_ARGS__) : (R)__builtin_##function(__VA_ARGS__))
INLINE V vneg(V a) { return -a; }
INLINE V vadd(V a, V b) { return a + b; }
INLINE V vsub(V a, V b) { return a - b; }
INLINE V vmul(V a, V b) { return a * b; }
INLINE V vdiv(V a, V b) { return a / b; }
INLINE V pick(VI c, V a, V b) { return c ? a : b; }
INLINE V vbool(VI c) { return pick(c, bc(1), bc(0)); }
INLINE V vwhere(V c, V a, V b) { return pick(c != 0, a, b); }
INLINE V vgt(V a, V b) { return vbool(a > b); }
INLINE V vlt(V a, V b) { return vbool(a < b); }
INLINE V vge(V a, V b) { return vbool(a >= b); }
INLINE V vle(V a, V b) { return vbool(a <= b); }
INLINE V veq(V a, V b) { return vbool(a == b); }
INLINE V vne(V a, V b) { return vbool(a != b); }
INLINE V vand(V a, V b) { return vbool((a != 0) & (b != 0)); }
INLINE V vor(V a, V b) { return vbool((a != 0) | (b != 0)); }
INLINE V vnot(V a) { return vbool(a == 0); }
// a NaN in either argument comes out, as torch's maximum and minimum have it
INLINE V vmax2(V a, V b) { return pick((a > b) | (a != a), a, b); }
INLINE V vmin(V a, V b) { return pick((a < b) | (a != a), a, b); }
INLINE V vabs(V a) { return pick(a < 0, -a, pick(a == 0, bc(0), a)); }
INLINE V vsign(V a) { return vbool(a > 0) - vbool(a < 0); }
#define BY_NUMBER(name, function) INLINE V v##name(V a) { return each(a, [](R x) { return OF_C(function, x); }); }
BY_NUMBER(sqrt, sqrt) BY_NUMBER(floor, floor) BY_NUMBER(ceil, ceil) BY_NUMBER(trunc, trunc) BY_NUMBER(round, rint)
BY_NUMBER(sin, sin) BY_NUMBER(cos, cos) BY_NUMBER(tan, tan) BY_NUMBER(asin, asin) BY_NUMBER(acos, acos) BY_NUMBER(atan, atan)
BY_NUMBER(sinh, sinh) BY_NUMBER(cosh, cosh) BY_NUMBER(asinh, asinh) BY_NUMBER(acosh, acosh) BY_NUMBER(atanh, atanh)
BY_NUMBER(log2, log2) BY_NUMBER(log10, log10) BY_NUMBER(exp2, exp2) BY_NUMBER(erfc, erfc)
template <class F> INLINE V each(V a, V b, F f) { V r; for (int i = 0; i < VL; i++) r[i] = f(a[i], b[i]); return r; }
#define BY_TWO(name, function) INLINE V v##name(V a, V b) { return each(a, b, [](R x, R y) { return OF_C(function, x, y); }); }
BY_TWO(pow, pow) BY_TWO(atan2, atan2) BY_TWO(fmod, fmod) BY_TWO(copysign, copysign)
// of the divisor's sign, as torch has them
INLINE R remainder_of(R x, R y) {
  const R rest = OF_C(fmod, x, y);
  return rest != 0 && (y < 0) != (rest < 0) ? rest + y : rest;
}
INLINE R floor_of_quotient(R x, R y) {
  if (y == 0) return x / y;
  const R rest = OF_C(fmod, x, y), quotient = (x - rest) / y - (rest != 0 && (y < 0) != (rest < 0));
  const R whole = OF_C(floor, quotient);
  return quotient == 0 ? OF_C(copysign, R(0), x / y) : quotient - whole > R(0.5) ? whole + 1 : whole;
}
INLINE V vremainder(V a, V b) { return each(a, b, remainder_of); }
INLINE V vfloordiv(V a, V b) { return each(a, b, floor_of_quotient); }

// float: Cody and Waite's reduction and a polynomial of degree 5 (Cephes' expf): y = k · log 2 + r, and exp(r) - 1
struct Reduced { VI k; V rest; };
INLINE Reduced reduced(V y) {
  V n = y * R(1.44269504088896341) + R(12582912);
  VI k = (VI)n - 0x4B400000;
  n = n - R(12582912);
  V r = y - n * R(0.693359375);
  r = r + n * R(2.12194440e-4);
  V p = r * R(1.9875691500e-4) + R(1.3981999507e-3);
  p = p * r + R(8.3334519073e-3);
  p = p * r + R(4.1665795894e-2);
  p = p * r + R(1.6666665459e-1);
  p = p * r + R(5.0000001201e-1);
  return {k, p * (r * r) + r};
}
// a NaN comes out
INLINE V at_most(R bound, V x) { return pick(bc(bound) < x, bc(bound), x); }
INLINE V at_least(R bound, V x) { return pick(bc(bound) > x, bc(bound), x); }
// float: about 1 ulp; overflow, underflow and NaN as in the C library. double: the C library, here and below.
INLINE V vexp(V x) {
  if constexpr (sizeof(R) == 8) return each(x, [](R a) { return __builtin_exp(a); });
  else {
    Reduced y = reduced(at_most(R(89), at_least(R(-104), x)));
    VI half = y.k >> 1;
    // in two factors: the whole power may be beyond a float's exponent where the result is not
    return (y.rest + R(1)) * (V)((half + 127) << 23) * (V)((y.k - half + 127) << 23);
  }
}
// float: by exp(-x) / 2, whose power is a float up to where the result is 0
INLINE V vsigmoid(V x) {
  if constexpr (sizeof(R) == 8) return R(1) / (R(1) + vexp(-x));
  else {
    Reduced y = reduced(at_most(R(89.4), at_least(R(-80), -x)));
    return R(0.5) / ((y.rest + R(1)) * (V)((y.k + 126) << 23) + R(0.5));
  }
}
// float: by exp(2 |x|) - 1, without a loss near 0; about 2 ulp
INLINE V vtanh(V x) {
  if constexpr (sizeof(R) == 8) return each(x, [](R a) { return __builtin_tanh(a); });
  else {
    constexpr I sign = std::numeric_limits<I>::min();
    VI bits = (VI)x;
    V a = at_most(R(10), (V)(bits & ~sign));
    Reduced y = reduced(a + a);
    V s = (V)((y.k + 127) << 23), e = y.rest * s + (s - R(1));
    return (V)((VI)(e / (e + R(2))) | (bits & sign));
  }
}

// float: the exponent apart, and a polynomial of the rest, fitted at Chebyshev's nodes; 2 ulp
INLINE V vlog(V x) {
  if constexpr (sizeof(R) == 8) return each(x, [](R a) { return __builtin_log(a); });
  else {
    VI tiny = x < R(1.17549435e-38);
    VI bits = (VI)pick(tiny, x * R(8388608), x);
    VI e = (bits - 0x3F3504F3) >> 23;  // so that the rest lies in [sqrt 1/2, sqrt 2)
    V f = (V)(bits - (e << 23)) - R(1), z = f * f;
    V p = f * R(7.149753574e-2) - R(1.15712008e-1);
    p = p * f + R(1.166151123e-1);
    p = p * f - R(1.241105068e-1);
    p = p * f + R(1.424993651e-1);
    p = p * f - R(1.666848024e-1);
    p = p * f + R(2.000070748e-1);
    p = p * f - R(2.499998905e-1);
    p = p * f + R(3.333333119e-1);
    V n = __builtin_convertvector(tiny ? e - 23 : e, V);
    V r = (p * f * z - n * R(2.12194440e-4)) - R(0.5) * z + f + n * R(0.693359375);
    r = pick(x == 0, bc(-std::numeric_limits<R>::infinity()), r);
    r = pick(x < 0, bc(std::numeric_limits<R>::quiet_NaN()), r);
    return pick((x != x) | (x == std::numeric_limits<R>::infinity()), x, r);
  }
}
// float: Kahan's way, which takes the rounding of 1 + x, or of exp(x), out again; 4 ulp. double: the C library.
INLINE V vlog1p(V x) {
  if constexpr (sizeof(R) == 8) return each(x, [](R a) { return __builtin_log1p(a); });
  else {
    V u = x + R(1), d = u - R(1);
    V r = pick(d == 0, x, vlog(u) * (x / d));
    return pick(x == std::numeric_limits<R>::infinity(), x, r);
  }
}
INLINE V vexpm1(V x) {
  if constexpr (sizeof(R) == 8) return each(x, [](R a) { return __builtin_expm1(a); });
  else {
    V u = vexp(x), d = u - R(1);
    V r = pick(u == 1, x, d * (x / vlog(u)));
    return pick((x > R(80)) | (x < R(-20)) | (x != x), d, r);
  }
}
// float: a polynomial within 1; beyond, 1 - exp(-x²) · q(1 / (x + 1)), fitted likewise; 3 ulp. double: the C library.
INLINE V verf(V x) {
  if constexpr (sizeof(R) == 8) return each(x, [](R a) { return __builtin_erf(a); });
  else {
    V a = vabs(x), z = x * x;
    V p = z * R(7.882497106e-5) - R(8.018854991e-4);
    p = p * z + R(5.189311943e-3);
    p = p * z - R(2.68543288e-2);
    p = p * z + R(1.128359746e-1);
    p = p * z - R(3.76126269e-1);
    p = p * z + R(1.128379166);
    V b = pick(a < R(4), a, bc(4)), t = R(1) / (b + R(1));
    V q = t * R(-6.019992699e-1) + R(1.299274287);
    q = q * t - R(6.128096904e-1);
    q = q * t - R(6.337063666e-1);
    q = q * t + R(4.287582177e-1);
    q = q * t + R(5.34617991e-1);
    q = q * t + R(5.672465234e-1);
    q = q * t - R(1.300531779e-4);
    V far = R(1) - vexp(-b * b) * q;
    V r = pick(a < R(1), p * x, pick(x < 0, -far, far));
    return pick(x != x, x, r);
  }
}

INLINE R hsum(V v) { R s = 0; for (int i = 0; i < VL; i++) s += v[i]; return s; }
INLINE R hmax(V v) { R m = v[0]; for (int i = 1; i < VL; i++) m = v[i] > m || v[i] != v[i] ? v[i] : m; return m; }
// along a row; the sum as torch has it, of floats in double
INLINE void cumsum(const R* a, R* to, long n) {
  double sum = 0;
  for (long i = 0; i < n; i++) to[i] = (R)(sum += a[i]);
}
INLINE void flip(const R* a, R* to, long n) {
  for (long i = 0; i < n; i++) to[i] = a[n - 1 - i];
}
// lanes from n on become x
INLINE V keep(V v, long n, R x) { for (int i = 0; i < VL; i++) v[i] = i < n ? v[i] : x; return v; }

constexpr long ceil_div(long a, long b) { return (a + b - 1) / b; }

// runs `work(thread, threads)` on n threads, or on fewer where there are no more to be had: OpenMP's, which torch's are;
// else, as with Clang, whose OpenMP is another one and often missing, on threads of this call
template <class F> void parallel(int n, F work) {
#if defined(_OPENMP)
#pragma omp parallel num_threads(n)
  work(omp_get_thread_num(), omp_get_num_threads());
#else
  std::atomic<int> all{0};
  std::vector<std::thread> others;
  try {
    for (int i = 1; i < n; i++)
      others.emplace_back([&all, &work, i] {
        while (!all) sched_yield();
        work(i, all);
      });
  } catch (const std::system_error&) {}
  all = (int)others.size() + 1;
  work(0, all);
  for (auto& other : others) other.join();
#endif
}

// The threads of one call: where they run, and where they meet.
struct Team {
  static constexpr int PROCESSORS = 1024;
  static constexpr long SPINS = 256;
  std::atomic<int> n;  // asked for; within `run`, those that there are, which may be fewer
  alignas(64) std::atomic<int> count{0};
  alignas(64) std::atomic<int> turn{0};
  alignas(64) std::atomic<uint64_t> taken[PROCESSORS / 64] = {};  // processors that run one of us

  explicit Team(long threads) : n((int)threads) {}

  // A scheduler may wake two of us on one processor and leave the other idle, for milliseconds: who finds its processor
  // taken moves to a free one. What it may run on afterwards stays as it was.
  void spread() {
#if defined(__linux__)
    const int here = sched_getcpu();
    if (here < 0 || here >= PROCESSORS || claim(here)) return;
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof(allowed), &allowed)) return;
    for (int other = 0; other < PROCESSORS && other < CPU_SETSIZE; other++)
      if (CPU_ISSET(other, &allowed) && claim(other)) {
        CPU_ZERO(&one);
        CPU_SET(other, &one);
        if (!sched_setaffinity(0, sizeof(one), &one)) sched_setaffinity(0, sizeof(allowed), &allowed);
        return;
      }
#endif
  }
  bool claim(int processor) {
    const uint64_t bit = uint64_t(1) << processor % 64;
    return !(taken[processor / 64].fetch_or(bit) & bit);
  }

  // Whoever waits gives its processor away soon: the thread it waits for may be queueing for it. So each parallel region
  // ends with this, not with OpenMP's own barrier, which spins for as long as the scheduler lets it.
  void meet() {
    const int all = n.load(std::memory_order_relaxed);
    if (all == 1) return;
    int now = turn.load(std::memory_order_relaxed);
    if (count.fetch_add(1, std::memory_order_acq_rel) == all - 1) {
      count.store(0, std::memory_order_relaxed);
      turn.store(now + 1, std::memory_order_release);
    } else {
      for (long spins = 0; turn.load(std::memory_order_acquire) == now; spins++) {
        if (spins > SPINS) sched_yield();
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
    }
  }

  // runs `work(thread)` on all
  template <class F> void run(F work) {
    if (n == 1) return work(0);
    parallel(n, [&](int thread, int all) {
      n.store(all, std::memory_order_relaxed);  // each stores the same
      if (all > 1) spread();
      work(thread);
      meet();
    });
  }
};

// ---- products: C[rows][N] = A[rows][K] · W[K][N], W packed into panels of NV vectors
// where registers are few, panels of two vectors make the better tile
template <int NV> constexpr int FIT = REGISTERS == 16 && NV > 2 ? 2 : NV;
template <int NV> constexpr int ROWS = (REGISTERS == 32 ? 24 : 12) / NV > 12 ? 12 : (REGISTERS == 32 ? 24 : 12) / NV;

// VL rows of VL numbers become columns: the halves of rows i and i + H change places, then quarters, to single numbers
constexpr int lane(int l, int half, bool second) {  // of the two rows beside each other
  return second ? (l & half ? VL + l : l + half) : (l & half ? VL + l - half : l);
}
template <int H, bool SECOND, int... L> INLINE V halves(V a, V b, std::integer_sequence<int, L...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, lane(L, H, SECOND)...);
#else
  return __builtin_shuffle(a, b, VI{lane(L, H, SECOND)...});
#endif
}
template <int H> INLINE void exchange(V* v) {
  if constexpr (H > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < VL; i++)
      if (!(i & H)) {
        const V a = v[i], b = v[i + H];
        v[i] = halves<H, false>(a, b, std::make_integer_sequence<int, VL>());
        v[i + H] = halves<H, true>(a, b, std::make_integer_sequence<int, VL>());
      }
    exchange<H / 2>(v);
  }
}
INLINE void transpose(const S* from, long row, R* to, long to_row) {
  V v[VL];
#pragma GCC unroll 16
  for (int i = 0; i < VL; i++) v[i] = ld(from + i * row);
  exchange<VL / 2>(v);
#pragma GCC unroll 16
  for (int i = 0; i < VL; i++) st(to + i * to_row, v[i]);
}

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

template <int NV> void pack(const S* w, long row_stride, long column_stride, long K, long N, R* out, int tid, int nt) {
  constexpr int PW = NV * VL;
  constexpr long LINE = 64 / sizeof(S);
  for (long p = tid; p < ceil_div(N, PW); p += nt) {
    R* to = out + p * K * PW;
    const S* from = w + p * PW * column_stride;
    const long n = N - p * PW < PW ? N - p * PW : PW;
    if (column_stride == 1 && n == PW) {
      for (long k = 0; k < K; k++)
        for (int i = 0; i < PW; i += VL) st(to + k * PW + i, ld(from + k * row_stride + i));
      continue;
    }
    // by lines of the cache, as columns may lie far apart
    const long whole = row_stride == 1 && n == PW ? K / VL * VL : 0;
    for (long k = 0; k < whole; k += VL)
      for (int i = 0; i < PW; i += VL) transpose(from + k + i * column_stride, column_stride, to + k * PW + i, PW);
    for (long k0 = whole; k0 < K; k0 += LINE) {
      const long k1 = k0 + LINE < K ? k0 + LINE : K;
      for (long i = 0; i < n; i++)
        for (long k = k0; k < k1; k++) to[k * PW + i] = number(from[k * row_stride + i * column_stride]);
      for (long k = k0; k < k1; k++)
        for (long i = n; i < PW; i++) to[k * PW + i] = 0;
    }
  }
}

// numbers of W to ask for ahead of their use: with few rows the product takes as long as its weights take to come
constexpr long AHEAD = 512;

// MR rows of A, `row` apart, their numbers `step` apart; `add`: to what is in C already; `next`: what is read soon, a line
// of the cache every `pace` numbers of the sum (0: none)
template <int NV, int MR>
INLINE void tile(const R* a, long row, long step, const R* b, R* c, long ldc, long K, bool add, const R* next, long pace) {
  V acc[MR][NV];
#pragma GCC unroll 12
  for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) acc[i][j] = V{};
  if constexpr (MR == 1) {
    // one row: four partial sums hide the latency of the additions
    V more[3][NV];
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++)
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) more[i][j] = V{};
    long k = 0;
    for (; k + 4 <= K; k += 4)
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) {
        const R* p = b + k * NV * VL + j * VL;
        for (int i = 0; i < 4; i++) __builtin_prefetch(p + i * NV * VL + AHEAD);
        acc[0][j] += bc(a[k * step]) * ld(p);
        more[0][j] += bc(a[(k + 1) * step]) * ld(p + NV * VL);
        more[1][j] += bc(a[(k + 2) * step]) * ld(p + 2 * NV * VL);
        more[2][j] += bc(a[(k + 3) * step]) * ld(p + 3 * NV * VL);
      }
    for (; k < K; k++)
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) acc[0][j] += bc(a[k * step]) * ld(b + k * NV * VL + j * VL);
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) acc[0][j] += more[0][j] + (more[1][j] + more[2][j]);
  } else {
    for (long k = 0, until = pace; k < K; k++) {
      if (k + 1 == until) {
        __builtin_prefetch(next);
        next += 64 / sizeof(R), until += pace;
      }
      V w[NV];
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) w[j] = ld(b + j * VL);
      b += NV * VL;
#pragma GCC unroll 12
      for (int i = 0; i < MR; i++) {
        V x = bc(a[i * row + k * step]);
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) acc[i][j] += x * w[j];
      }
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) {
      R* to = c + i * ldc + j * VL;
      st(to, add ? ld(to) + acc[i][j] : acc[i][j]);
    }
}

template <int NV, int MR>
INLINE void tile_of(long m, const R* a, long row, long step, const R* b, R* c, long ldc, long K, bool add,
                    const R* next = nullptr, long pace = 0) {
  if constexpr (MR >= 1) {
    if (m == MR) tile<NV, MR>(a, row, step, b, c, ldc, K, add, next, pace);
    else tile_of<NV, MR - 1>(m, a, row, step, b, c, ldc, K, add, next, pace);
  }
}

// W as it lies, and packed, unless rows are so few that packing takes longer than the products
struct Weight {
  const S* from;
  long row, column, K, N;
  R* packed;

  Weight(const S* from, const int64_t* strides, long K, long N, R* packed, long rows_in_all)
      : from(from), row(strides[0]), column(strides[1]), K(K), N(N),
        packed(rows_in_all <= FEW && (row == 1 || column == 1) ? nullptr : packed) {}
  template <int NV> void pack(int tid, int nt) const {
    if (packed) ::pack<NV>(from, row, column, K, N, packed, tid, nt);
  }
  static constexpr long FEW = 8;
};

// rows [r0, r1) and columns [n0, n1), by a weight as it lies
template <int NV>
void product_as_it_lies(const R* a, long lda, const Weight& w, R* c, long ldc, long r0, long r1, long n0, long n1, bool add) {
  constexpr long BY = 4;
  if (n1 > w.N) n1 = w.N;
  for (long n = n0; n < n1; n += w.row == 1 ? BY : VL)
    for (long r = r0; r < r1; r++) {
      const R* x = a + r * lda;
      R* to = c + r * ldc + n;
      if (w.row == 1) {  // the numbers of a column lie together
        const S* column[BY];
        V total[BY];
        for (long j = 0; j < BY; j++) column[j] = w.from + (n + j < n1 ? n + j : n1 - 1) * w.column, total[j] = V{};
        long k = 0;
        for (; k + VL <= w.K; k += VL)
          for (long j = 0; j < BY; j++) total[j] += ld(x + k) * ld(column[j] + k);
        if (k < w.K)
          for (long j = 0; j < BY; j++) total[j] += ld(x + k, w.K - k) * ld(column[j] + k, w.K - k);
        for (long j = 0; j < BY && n + j < n1; j++) to[j] = (add ? to[j] : 0) + hsum(total[j]);
      } else {
        const long m = n1 - n < VL ? n1 - n : VL;
        const auto read = [m](auto* p) { return m == VL ? ld(p) : ld(p, m); };
        V total[4] = {add ? read(to) : V{}};
        for (long k = 0; k < w.K; k++) total[k % 4] += bc(x[k]) * read(w.from + k * w.row + n);
        const V all = (total[0] + total[1]) + (total[2] + total[3]);
        m == VL ? st(to, all) : st(to, all, m);
      }
    }
}

// rows [r0, r1) and panels [p0, p1), in pieces of DEPTH that stay in the cache; the rows are shared out evenly among
// tiles, and where they are many each asks for a part of the piece that comes next
constexpr long DEPTH = 128, MANY = 4;
template <int NV>
void product(const R* a, long lda, const Weight& weight, R* c, long ldc, long r0, long r1, long p0, long p1, bool add) {
  if (!weight.packed) return product_as_it_lies<NV>(a, lda, weight, c, ldc, r0, r1, p0 * NV * VL, p1 * NV * VL, add);
  const long n = r1 - r0, tiles = ceil_div(n, ROWS<NV>), K = weight.K;
  if (n <= 0) return;
  for (long p = p0; p < p1; p++)
    for (long k = 0; k < K; k += DEPTH) {
      const long depth = K - k < DEPTH ? K - k : DEPTH, share = ceil_div(depth * NV * VL, tiles);
      const R* w = weight.packed + (p * K + k) * NV * VL;
      const long pace = tiles < MANY ? 0 : depth * (64 / sizeof(R)) / share;
      long r = r0;
      for (long i = 0; i < tiles; i++) {
        const long m = n / tiles + (i < n % tiles);
        tile_of<NV, ROWS<NV>>(m, a + r * lda + k, lda, 1, w, c + r * ldc + p * NV * VL, ldc, depth, add || k > 0,
                              w + depth * NV * VL + i * share, pace);
        r += m;
      }
    }
}

// memory that is kept between calls: a page touched for the first time costs more than the page's use
struct Arena {
  char* memory = nullptr;
  size_t size = 0;
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
};
Arena kept;

struct Scratch {
  char* memory;
  bool own;
  explicit Scratch(size_t bytes) {
    own = kept.busy.test_and_set();
    if (own) {
      memory = (char*)aligned_alloc(64, (bytes + 63) / 64 * 64);
      return;
    }
    if (kept.size < bytes) {
      free(kept.memory);
      kept.size = (bytes + (1 << 16)) / 64 * 64;
      kept.memory = (char*)aligned_alloc(64, kept.size);
    }
    memory = kept.memory;
  }
  ~Scratch() {
    if (own) free(memory);
    else kept.busy.clear();
  }
};

// what a loop is called with; arrays of pointers, one for each of the program's inputs and outputs
struct Call {
  long T, B, threads, reversed;
  const int64_t *counts, *offsets;  // of each step: the rows that run, the first `count` of all, and where they lie; or null
  const S* const* steps;
  const S* const* firsts;           // of shifted inputs: what is read where there is no next step
  S* const* states;                 // to be written with the state after every step, or null
  const S* const* first_states;
  S* const* last_states;
  const S* const* rows;
  const S* const* weights;
  const int64_t* strides;           // of the weights, two each
  S* const* outputs;

  Call(const int64_t* a, int n_steps, int n_states, int n_rows, int n_weights)
      : T(a[0]), B(a[1]), threads(a[2]), reversed(a[3]), counts((const int64_t*)a[4]), offsets((const int64_t*)a[5]),
        steps((const S* const*)(a + 6)), firsts(steps + n_steps), states((S* const*)(firsts + n_steps)),
        first_states((const S* const*)(states + n_states)), last_states((S* const*)(first_states + n_states)),
        rows((const S* const*)(last_states + n_states)), weights(rows + n_rows),
        strides((const int64_t*)(weights + n_weights)), outputs((S* const*)(strides + 2 * n_weights)) {}

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
  // the state before step k; rows that only now begin come from the first states
  const S* state(int i, S* slots, long k, long q0, long q1, long width) const {
    S* slot = slots + ((k - 1) & 1) * B * width;
    if (counts) {
      const long ran = k ? count(time(k - 1)) : 0;
      copy(slot, first_states[i], q0 > ran ? q0 : ran, q1, width);
      return slot;
    }
    return k == 0 ? first_states[i] : states[i] ? states[i] + time(k - 1) * B * width : slot;
  }
  S* next_state(int i, S* slots, long k, long at, long width) const {
    if (!counts && states[i]) return states[i] + at * width;
    return !counts && k == T - 1 ? last_states[i] : slots + (k & 1) * B * width;
  }
  // after step k: the state goes to where it is kept; rows that end are last
  void keep_state(int i, const S* now, long k, long at, long q0, long q1, long width) const {
    if (counts) {
      if (states[i]) copy(states[i] + at * width, now, q0, q1, width);
      const long next = k + 1 < T ? count(time(k + 1)) : 0;
      copy(last_states[i], now, q0 > next ? q0 : next, q1, width);
    } else if (k == T - 1 && states[i]) copy(last_states[i], now, q0, q1, width);
  }
};

}  // namespace
