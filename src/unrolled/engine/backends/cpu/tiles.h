// Products by tiles: C[rows][N] = A[rows][K] · W[K][N], W packed into panels of NV vectors.
#pragma once
#include "products.h"
#include <utility>

namespace {

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
template <class T> INLINE void transpose(const T* from, long row, R* to, long to_row) {
  V v[VL];
#pragma GCC unroll 16
  for (int i = 0; i < VL; i++) v[i] = ld(from + i * row);
  exchange<VL / 2>(v);
#pragma GCC unroll 16
  for (int i = 0; i < VL; i++) st(to + i * to_row, v[i]);
}

// rows that a matrix is read ahead by while it is packed, as they may lie far apart: 1.00 to 1.05 times the speed of a product
constexpr long SOON = 8;

template <int NV, class T> void pack(const T* w, long row_stride, long column_stride, long K, long N, R* out, int tid, int nt) {
  constexpr int PW = NV * VL;
  constexpr long LINE = 64 / sizeof(T);
  const long complete = column_stride == 1 ? N / PW : 0;
  for (long k = 0; k < K && complete; k++)
    for (long p = tid; p < complete; p += nt) {
      const T* from = w + k * row_stride + p * PW;
      for (int i = 0; i < PW; i += VL) {
        __builtin_prefetch(from + SOON * row_stride + i);
        st(out + (p * K + k) * PW + i, ld(from + i));
      }
    }
  for (long p = tid; p < ceil_div(N, PW); p += nt) {
    if (p < complete) continue;
    R* to = out + p * K * PW;
    const T* from = w + p * PW * column_stride;
    const long n = N - p * PW < PW ? N - p * PW : PW;
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

// numbers of W to prefetch: with few rows the product takes as long as its weights take to come
constexpr long AHEAD = 512;

// what a tile is added to: rows `row` apart (0: the same for all), or nothing
struct Plus {
  const R* from;
  long row;
};

// MR rows of A, `row` apart, their numbers `step` apart; `next`: what is read soon, a line of the cache every `pace` numbers
// of the sum (0: none)
template <int NV, int MR>
INLINE void tile(const R* a, long row, long step, const R* b, R* c, long ldc, long K, Plus plus, const R* next, long pace) {
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
        if (j * BYTES % 64 == 0)  // once a line of the cache
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
  if (plus.from)
#pragma GCC unroll 12
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) acc[i][j] += ld(plus.from + i * plus.row + j * VL);
#pragma GCC unroll 12
  for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) st(c + i * ldc + j * VL, acc[i][j]);
}

template <int NV, int MR>
INLINE void tile_of(long m, const R* a, long row, long step, const R* b, R* c, long ldc, long K, Plus plus,
                    const R* next = nullptr, long pace = 0) {
  if constexpr (MR >= 1) {
    if (m == MR) tile<NV, MR>(a, row, step, b, c, ldc, K, plus, next, pace);
    else tile_of<NV, MR - 1>(m, a, row, step, b, c, ldc, K, plus, next, pace);
  }
}

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
  const long n = r1 - r0, K = weight.K;
  if (n <= 0) return;
  const long tiles = ceil_div(n, ROWS<NV>), least = n / tiles, larger = n - tiles * least;
  for (long p = p0; p < p1; p++)
    for (long k = 0; k < K; k += DEPTH) {
      const long depth = K - k < DEPTH ? K - k : DEPTH, share = tiles < MANY ? 0 : ceil_div(depth * NV * VL, tiles);
      const R* w = weight.packed + (p * K + k) * NV * VL;
      const long pace = tiles < MANY ? 0 : depth * (64 / sizeof(R)) / share;
      for (long i = 0, r = r0; i < tiles; i++) {
        const long m = least + (i < larger);
        R* const to = c + r * ldc + p * NV * VL;
        tile_of<NV, ROWS<NV>>(m, a + r * lda + k, lda, 1, w, to, ldc, depth, Plus{add || k > 0 ? to : nullptr, ldc},
                              w + depth * NV * VL + i * share, pace);
        r += m;
      }
    }
}

}  // namespace
