// The products of loops, as loops see them: C[rows][N] = A[rows][K] · W[K][N]. They are compiled once for all loops.
#pragma once
#include "vectors.h"

namespace {
// vectors of a panel of W: where registers are few, two make the better tile than four
template <int NV> constexpr int FIT = REGISTERS == 16 && NV > 2 ? 2 : NV;

// W as it lies, and packed, unless rows are so few that packing takes longer than the products
struct Weight {
  const S* from;
  long row, column, K, N;
  R* packed;

  Weight(const S* from, const int64_t* strides, long K, long N, R* packed, long rows_in_all)
      : from(from), row(strides[0]), column(strides[1]), K(K), N(N),
        packed(rows_in_all <= FEW && (row == 1 || column == 1) ? nullptr : packed) {}
  static constexpr long FEW = 8;
};

// by the vectors of a panel: 1, 2 or 4
struct Products {
  void (*packs[3])(const Weight& w, int thread, int threads);
  void (*products[3])(const R* a, long lda, const Weight& w, R* c, long ldc, long r0, long r1, long p0, long p1, bool add);

  // what each thread does of it
  template <int NV> void pack(const Weight& w, int thread, int threads) const {
    if (w.packed) packs[NV / 2](w, thread, threads);
  }
  // rows [r0, r1) and panels [p0, p1); `add`: to what is in C already
  template <int NV>
  void multiply(const R* a, long lda, const Weight& w, R* c, long ldc, long r0, long r1, long p0, long p1, bool add) const {
    products[NV / 2](a, lda, w, c, ldc, r0, r1, p0, p1, add);
  }
};
}  // namespace
