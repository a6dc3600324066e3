// What loops compute of vectors, and along a row.
#pragma once
#include "vectors.h"
#include <limits>

namespace {

template <class F> INLINE V each(V a, F f) { V r; for (int i = 0; i < VL; i++) r[i] = f(a[i]); return r; }

#define OF_C(function, ...) (sizeof(R) == 4 ? (R)__builtin_##function##f(__VA_ARGS__) : (R)__builtin_##function(__VA_ARGS__))
// keeps compilers from making one rounding of what is before it and what is after
#if defined(__x86_64__) || defined(__i386__)
#define APART(vector) asm("" : "+v"(vector))
#elif defined(__aarch64__)
#define APART(vector) asm("" : "+w"(vector))
#else
#define APART(vector) asm("" : "+m"(vector))
#endif
INLINE V vneg(V a) { return -a; }
INLINE V vadd(V a, V b) { return a + b; }
INLINE V vsub(V a, V b) { return a - b; }
// rounded before anything is added to it, as torch's products are: else a·a - b·b of equal numbers is no zero
INLINE V vmul(V a, V b) { V r = a * b; APART(r); return r; }
// what a sum adds up may be rounded with it
INLINE V vmul_in_sum(V a, V b) { return a * b; }
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
BY_TWO(pow, pow) BY_TWO(atan2, atan2) BY_TWO(fmod, fmod) BY_TWO(copysign, copysign) BY_TWO(hypot, hypot)
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
    // infinite from where torch's exponential is
    const V to = pick(-x > R(88.7228394), bc(R(89.4)), -x);
    Reduced y = reduced(at_least(R(-80), to));
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

}  // namespace
