// The large products outside the loop: C[M][N] = bias[N] + A[M][K] · W[K][N], every operand with strides of its own.
// Long sums run in pieces of PIECE that are added up: one chain of additions rounds worse.
#include "kernel.h"

namespace {
constexpr long PIECE = 128;
constexpr int NV = 4, PW = NV * VL;

void run_thread(const R* a, long row, long step, const R* w, long w_row, long w_column, const R* bias, R* c, long M, long N,
                long K, R* memory, int tid, int nt) {
  const long panels = ceil_div(N, PW);
  const bool by_panels = panels >= nt;
  const long p0 = by_panels ? panels * tid / nt : 0, p1 = by_panels ? panels * (tid + 1) / nt : panels;
  const long r0 = by_panels ? 0 : M * tid / nt, r1 = by_panels ? M : M * (tid + 1) / nt;
  R* const packed = memory;
  R* const edge = memory + PIECE * PW;  // a tile of the last panel, whose columns C may lack
  const long n = r1 - r0, tiles = ceil_div(n, ROWS<NV>);
  for (long p = p0; p < p1; p++) {
    const long columns = N - p * PW < PW ? N - p * PW : PW;
    for (long k0 = 0; k0 < K || k0 == 0; k0 += PIECE) {
      const long k1 = K - k0 < PIECE ? K - k0 : PIECE;
      pack<NV>(w + k0 * w_row + p * PW * w_column, w_row, w_column, k1, columns, packed, 0, 1);
      long r = r0;
      for (long i = 0; i < tiles; i++) {
        const long m = n / tiles + (i < n % tiles);
        const R* from = a + r * row + k0 * step;
        R* to = c + r * N + p * PW;
        const bool add = k0 > 0 || bias;
        if (k0 == 0 && bias)
          for (long j = 0; j < m; j++) memcpy(to + j * N, bias + p * PW, columns * sizeof(R));
        if (columns == PW) tile_of<NV, ROWS<NV>>(m, from, row, step, packed, to, N, k1, add);
        else {
          for (long j = 0; add && j < m; j++) memcpy(edge + j * PW, to + j * N, columns * sizeof(R));
          tile_of<NV, ROWS<NV>>(m, from, row, step, packed, edge, PW, k1, add);
          for (long j = 0; j < m; j++) memcpy(to + j * N, edge + j * PW, columns * sizeof(R));
        }
        r += m;
      }
    }
  }
}
}  // namespace

struct Product {
  const R *a, *w, *bias;
  R* c;
  int64_t M, N, K, row, step, w_row, w_column, threads;
};

extern "C" __attribute__((visibility("default"))) void run(const Product* call) {
  const Product& p = *call;
  const size_t each = (PIECE * PW + 16 * PW) * sizeof(R);
  Scratch scratch(each * p.threads);
#pragma omp parallel num_threads(p.threads)
  {
    int tid = omp_get_thread_num();
    run_thread(p.a, p.row, p.step, p.w, p.w_row, p.w_column, p.bias, p.c, p.M, p.N, p.K, (R*)(scratch.memory + each * tid), tid,
               p.threads);
  }
}
