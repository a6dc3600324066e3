// The large products outside the loop: C[M][N] = bias[N] + A[M][K] · W[K][N], every operand with strides of its own.
// Goto and van de Geijn's order (Anatomy of high-performance matrix multiplication, 2008): a block of W, packed, stays in the
// second-level cache while the rows of A pass by. Long sums run in pieces of DEPTH that are added up: one chain of additions
// rounds worse.
#include "kernel.h"

namespace {
constexpr int NV = FIT<4>, MR = ROWS<NV>;
constexpr long PW = NV * VL, WIDTH = 8 * PW, HEIGHT = 16 * MR;

// rows of A become panels of MR, [panel][k][MR]
void pack_rows(const R* a, long row, long step, long m, long K, R* out) {
  for (long i = 0; i < m; i += MR, out += MR * K) {
    const long n = m - i < MR ? m - i : MR;
    const R* from = a + i * row;
    if (n == MR && row == 1) {
      for (long k = 0; k < K; k++) memcpy(out + k * MR, from + k * step, MR * sizeof(R));
    } else if (n == MR) {
      for (long k = 0; k < K; k++)
        for (int j = 0; j < MR; j++) out[k * MR + j] = from[j * row + k * step];
    } else {
      for (long k = 0; k < K; k++)
        for (long j = 0; j < n; j++) out[k * MR + j] = from[j * row + k * step];
    }
  }
}
}  // namespace

struct Product {
  const R *a, *w, *bias;
  R* c;
  int64_t M, N, K, row, step, w_row, w_column, c_row, c_column, threads;
  R* sums;  // N numbers to which the rows of W are added, or null
};

namespace {
// the sums over k of packed columns, in short chains for the sake of rounding
void add_rows(const R* packed, long K, long columns, R* sums) {
  for (long j = 0; j < columns; j += PW, packed += K * PW) {
    V total[NV] = {};
    for (long k = 0; k < K; k += 16) {
      V part[NV] = {};
      for (long l = k; l < K && l < k + 16; l++)
        for (int i = 0; i < NV; i++) part[i] += ld(packed + l * PW + i * VL);
      for (int i = 0; i < NV; i++) total[i] += part[i];
    }
    for (long i = 0; i < PW && j + i < columns; i++) sums[j + i] += total[i / VL][i % VL];
  }
}

void move(R* to, long to_row, long to_column, const R* from, long row, long column, long height, long width) {
  if (column == 1 && to_column == 1)
    for (long r = 0; r < height; r++) memcpy(to + r * to_row, from + r * row, width * sizeof(R));
  else
    for (long j = 0; j < width; j++)
      for (long r = 0; r < height; r++) to[r * to_row + j * to_column] = from[r * row + j * column];
}

// one thread's part of C: rows [m0, m1), columns [n0, n1)
constexpr long MEMORY = DEPTH * WIDTH + DEPTH * HEIGHT + 16 * PW;

void run_thread(const Product& p, R* memory, long m0, long m1, long n0, long n1) {
  if (m0 >= m1) return;
  R *const packed = memory, *const rows = packed + DEPTH * WIDTH, *const edge = rows + DEPTH * HEIGHT;
  // a small result is soon added to: shorter pieces for less rounding
  const long depth = p.M * p.N <= 4096 ? 32 : DEPTH;
  for (long n = n0; n < n1; n += WIDTH)
    for (long k = 0; k < p.K || k == 0; k += depth) {
      const long columns = n1 - n < WIDTH ? n1 - n : WIDTH, K = p.K - k < depth ? p.K - k : depth;
      pack<NV>(p.w + k * p.w_row + n * p.w_column, p.w_row, p.w_column, K, columns, packed, 0, 1);
      if (p.sums && m0 == 0) add_rows(packed, K, columns, p.sums + n);
      const bool add = k > 0 || p.bias;
      for (long m = m0; m < m1; m += HEIGHT) {
        const long height = m1 - m < HEIGHT ? m1 - m : HEIGHT;
        const R* a = p.a + m * p.row + k * p.step;
        long row = p.row, step = p.step, panel = MR * p.row;
        if (step != 1) {
          pack_rows(a, row, step, height, K, rows);
          a = rows, row = 1, step = MR, panel = MR * K;
        }
        for (long i = 0; i < height; i += MR, a += panel) {
          const long h = height - i < MR ? height - i : MR;
          R* c = p.c + (m + i) * p.c_row + n * p.c_column;
          for (long j = 0; j < columns; j += PW, c += PW * p.c_column) {
            const R* w = packed + j * K;
            const long width = columns - j < PW ? columns - j : PW;
            const bool is_direct = width == PW && p.c_column == 1;
            R* const to = is_direct ? c : edge;
            const long ld = is_direct ? p.c_row : PW;
            if (k == 0 && p.bias)
              for (long r = 0; r < h; r++) memcpy(to + r * ld, p.bias + n + j, width * sizeof(R));
            else if (add && !is_direct) move(edge, PW, 1, c, p.c_row, p.c_column, h, width);
            tile_of<NV, MR>(h, a, row, step, w, to, ld, K, add);
            if (!is_direct) move(c, p.c_row, p.c_column, edge, PW, 1, h, width);
          }
        }
      }
    }
}
}  // namespace

extern "C" __attribute__((visibility("default"))) void run(const Product* call) {
  const Product& p = *call;
  Scratch scratch((MEMORY + 64) * sizeof(R) * p.threads);
#pragma omp parallel num_threads(p.threads)
  {
    const long tid = omp_get_thread_num(), nt = p.threads;
    R* memory = (R*)scratch.memory + (MEMORY + 64) / 64 * 64 * tid;
    // whole tiles for every thread, of rows where there are as many of them
    const long panels = ceil_div(p.M, MR), blocks = ceil_div(p.N, PW);
    if (p.M >= p.N) {
      long end = panels * (tid + 1) / nt * MR;
      run_thread(p, memory, panels * tid / nt * MR, end < p.M ? end : p.M, 0, p.N);
    } else {
      long end = blocks * (tid + 1) / nt * PW;
      run_thread(p, memory, 0, p.M, blocks * tid / nt * PW, end < p.N ? end : p.N);
    }
  }
}
