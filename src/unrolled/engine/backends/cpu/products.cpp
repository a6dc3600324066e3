// The large products outside the loop: C[M][N] = bias[N] + A[M][K] · W[K][N], every operand with strides of its
// own; C has rows that lie together, or columns that do and no bias.
// Goto and van de Geijn's order (Anatomy of high-performance matrix multiplication, 2008): a block of W, packed, stays in the
// second-level cache while the rows of A pass by. Long sums run in pieces of BLOCK that are added up: one chain of additions
// rounds worse.
#include "kernel.h"

namespace {
constexpr int NV = FIT<4>, MR = ROWS<NV>;
constexpr long PW = NV * VL, WIDTH = 8 * PW, HEIGHT = 16 * MR, BLOCK = 256;

// rows of A become panels of MR, [panel][k][MR]
void pack_rows(const R* a, long row, long step, long m, long K, R* out) {
  const long whole = row == 1 ? m / MR * MR : 0;
  for (long k = 0; k < K && whole; k++)
    for (long i = 0; i < whole; i += MR) memcpy(out + i * K + k * MR, a + i + k * step, MR * sizeof(R));
  for (long i = whole; i < m; i += MR) {
    const long n = m - i < MR ? m - i : MR;
    const R* from = a + i * row;
    R* to = out + i * K;
    for (long k = 0; k < K; k++)
      for (long j = 0; j < n; j++) to[k * MR + j] = from[j * row + k * step];
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
// likewise of packed rows
void add_columns(const R* packed, long K, long rows, R* sums) {
  for (long i = 0; i < rows; i += MR, packed += K * MR) {
    R total[MR] = {};
    for (long k = 0; k < K; k += 16) {
      R part[MR] = {};
      for (long l = k; l < K && l < k + 16; l++)
        for (int j = 0; j < MR; j++) part[j] += packed[l * MR + j];
      for (int j = 0; j < MR; j++) total[j] += part[j];
    }
    for (long j = 0; j < MR && i + j < rows; j++) sums[i + j] += total[j];
  }
}

void move(R* to, long to_row, const R* from, long row, long height, long width) {
  for (long r = 0; r < height; r++) memcpy(to + r * to_row, from + r * row, width * sizeof(R));
}

constexpr long MEMORY = BLOCK * WIDTH + BLOCK * HEIGHT + 16 * PW;

// one thread's part of C, whose rows lie together: rows [m0, m1), columns [n0, n1); sums of the rows of W, of the columns of A
void run_thread(const Product& p, R* memory, long m0, long m1, long n0, long n1, R* of_w, R* of_a) {
  if (m0 >= m1) return;
  R *const packed = memory, *const rows = packed + BLOCK * WIDTH, *const edge = rows + BLOCK * HEIGHT;
  // a small result is soon added to: shorter pieces for less rounding
  const long depth = p.M * p.N <= 4096 ? 32 : BLOCK;
  for (long n = n0; n < n1; n += WIDTH)
    for (long k = 0; k < p.K || k == 0; k += depth) {
      const long columns = n1 - n < WIDTH ? n1 - n : WIDTH, K = p.K - k < depth ? p.K - k : depth;
      pack<NV>(p.w + k * p.w_row + n * p.w_column, p.w_row, p.w_column, K, columns, packed, 0, 1);
      if (of_w && m0 == 0) add_rows(packed, K, columns, of_w + n);
      const bool add = k > 0 || p.bias;
      for (long m = m0; m < m1; m += HEIGHT) {
        const long height = m1 - m < HEIGHT ? m1 - m : HEIGHT;
        const R* a = p.a + m * p.row + k * p.step;
        long row = p.row, step = p.step, panel = MR * p.row;
        if (step != 1 || of_a) {
          pack_rows(a, row, step, height, K, rows);
          if (of_a && n == 0) add_columns(rows, K, height, of_a + m);
          a = rows, row = 1, step = MR, panel = MR * K;
        }
        for (long i = 0; i < height; i += MR, a += panel) {
          const long h = height - i < MR ? height - i : MR;
          R* c = p.c + (m + i) * p.c_row + n;
          for (long j = 0; j < columns; j += PW, c += PW) {
            const R* w = packed + j * K;
            const long width = columns - j < PW ? columns - j : PW;
            R* const to = width == PW ? c : edge;
            const long ld = width == PW ? p.c_row : PW;
            if (k == 0 && p.bias) {
              for (long r = 0; r < h; r++) memcpy(to + r * ld, p.bias + n + j, width * sizeof(R));
            } else if (add && to == edge) move(edge, PW, c, p.c_row, h, width);
            tile_of<NV, MR>(h, a, row, step, w, to, ld, K, add);
            if (to == edge) move(c, p.c_row, edge, PW, h, width);
          }
        }
      }
    }
}
}  // namespace

extern "C" __attribute__((visibility("default"))) void run(const Product* call) {
  Product p = *call;
  R *of_w = p.sums, *of_a = nullptr;
  if (p.c_column != 1) {  // its columns lie together: the same, transposed
    p = {p.w, p.a, nullptr, p.c, p.N, p.M, p.K, p.w_column, p.w_row, p.step, p.row, p.c_column, p.c_row, p.threads, p.sums};
    std::swap(of_w, of_a);
  }
  Scratch scratch((MEMORY + 64) * sizeof(R) * p.threads);
  Team team(p.threads);
#pragma omp parallel num_threads(p.threads)
  {
    team.spread();
    const long tid = omp_get_thread_num(), nt = p.threads;
    R* memory = (R*)scratch.memory + (MEMORY + 64) / 64 * 64 * tid;
    // whole tiles for every thread, of rows where there are as many of them
    const long panels = ceil_div(p.M, MR), blocks = ceil_div(p.N, PW);
    if (p.M >= p.N || blocks < nt) {
      long end = panels * (tid + 1) / nt * MR;
      run_thread(p, memory, panels * tid / nt * MR, end < p.M ? end : p.M, 0, p.N, of_w, of_a);
    } else {
      long end = blocks * (tid + 1) / nt * PW;
      run_thread(p, memory, 0, p.M, blocks * tid / nt * PW, end < p.N ? end : p.N, of_w, of_a);
    }
    team.meet();
  }
}
