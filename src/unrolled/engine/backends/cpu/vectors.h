// Numbers and vectors of them. REAL, float or double, is what is computed in; with -DBFLOAT16, tensors are stored in bfloat16
// and computed in float. Portable by GCC's and Clang's vector extensions.
#pragma once
// few headers, here and in those that follow: all are read whenever a loop is compiled
#include <stdint.h>
#include <string.h>
#include <type_traits>

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
INLINE R hsum(V v) { R s = 0; for (int i = 0; i < VL; i++) s += v[i]; return s; }

constexpr long ceil_div(long a, long b) { return (a + b - 1) / b; }

}  // namespace
