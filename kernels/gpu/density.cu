// The neighbour density in radial functions and harmonics, and its derivatives.

#define N_C (N_M * N_MAX)
#define N_OWNERS (N_M * N_FOURS)
#define PER_THREAD ((N_OWNERS + BLOCK - 1) / BLOCK)

// c_i of one species: a block an atom and species, a thread a harmonic and four radial
// functions of its order, or several.
extern "C" __global__ void __launch_bounds__(BLOCK) expand(
    const integer *__restrict__ start, const integer *__restrict__ species,
    const double *__restrict__ vector, const double *__restrict__ distance,
    const real *__restrict__ coefficients, integer intervals, double cutoff,
    const double *__restrict__ norms, double *__restrict__ c)
{
    __shared__ int chosen[BLOCK];
    __shared__ Radial tile;
    __shared__ real y[TILE][N_M + 1];
    const integer low = start[blockIdx.x], high = start[blockIdx.x + 1];
    int harmonic[PER_THREAD], radial[PER_THREAD];
    real sums[PER_THREAD][FOUR];
#pragma unroll
    for (int q = 0; q < PER_THREAD; q++) {
        const int index = threadIdx.x + q * BLOCK;
        harmonic[q] = index < N_OWNERS ? index / N_FOURS : 0;
        radial[q] = order_of(harmonic[q]) * N_FULL + index % N_FOURS * FOUR;
#pragma unroll
        for (int k = 0; k < FOUR; k++)
            sums[q][k] = 0;
    }
    for (integer base = low; base < high; base += BLOCK) {
        const integer own = base + threadIdx.x;
        const bool wanted = own < high && species[own] == (integer)blockIdx.y
            && distance[own] < cutoff;
        const int n_chosen = choose(wanted, chosen);
        for (int first = 0; first < n_chosen; first += TILE) {
            const int n = n_chosen - first < TILE ? n_chosen - first : TILE;
            if (threadIdx.x < n) {
                const integer p = base + chosen[first + threadIdx.x];
                tile.places[threadIdx.x] = place_of(distance[p], intervals, cutoff);
                real u[3], *to = y[threadIdx.x];
                direction(vector + 3 * p, distance[p], u);
                Harmonics harmonics(u);
#pragma unroll
                for (int order = 0; order < N_L; order++) {
                    harmonics.enter(order);
                    harmonics.each(order, norms, [&](int m, real value, real, real, real) {
                        to[m] = value;
                    });
                }
            }
            __syncthreads();
            tile.read(coefficients, n);
            __syncthreads();
            for (int p = 0; p < n; p++)
#pragma unroll
                for (int q = 0; q < PER_THREAD; q++) {
                    const real value = y[p][harmonic[q]];
                    const Four<real> h = four(&tile.h[p][radial[q]]);
#pragma unroll
                    for (int k = 0; k < FOUR; k++)
                        sums[q][k] += value * h.at[k];
                }
            __syncthreads(); // before the next tile is written
        }
    }
    double *out = c + ((integer)blockIdx.x * gridDim.y + blockIdx.y) * N_C;
#pragma unroll
    for (int q = 0; q < PER_THREAD; q++) {
        const int index = threadIdx.x + q * BLOCK, first = index % N_FOURS * FOUR;
#pragma unroll
        for (int k = 0; k < FOUR; k++)
            if (index < N_OWNERS && first + k < N_MAX)
                out[index / N_FOURS * N_MAX + first + k] = sums[q][k];
    }
}

// What is kept of an atom and of the pairs that are done together.
struct Pulled {
    alignas(16) real w[N_M * N_FULL];
    alignas(16) real h[PULLED][N_L * N_FULL + FOUR];
    alignas(16) real d[PULLED][N_L * N_FULL + FOUR];
    Place places[PULLED];
};

// The gradient of sum_i U_i(c_i) by the pair vectors to one species: a block an atom and
// species, two threads a pair. Each of them has every second four of radial functions.
extern "C" __global__ void __launch_bounds__(BLOCK) add_pair_gradient(
    const integer *__restrict__ start, const integer *__restrict__ species,
    const double *__restrict__ vector, const double *__restrict__ distance,
    const real *__restrict__ coefficients, integer intervals, double cutoff,
    const double *__restrict__ norms, const double *__restrict__ slopes,
    double *__restrict__ out)
{
    __shared__ int chosen[BLOCK];
    __shared__ Pulled pulled;
    const integer low = start[blockIdx.x], high = start[blockIdx.x + 1];
    const double *own = slopes + ((integer)blockIdx.x * gridDim.y + blockIdx.y) * N_C;
    for (int k = threadIdx.x; k < N_M * N_FULL; k += BLOCK)
        pulled.w[k] = k % N_FULL < N_MAX ? own[k / N_FULL * N_MAX + k % N_FULL] : 0.0;
    const int pair = threadIdx.x / 2, half = threadIdx.x % 2;
    for (integer base = low; base < high; base += BLOCK) {
        const integer mine = base + threadIdx.x;
        const bool wanted = mine < high && species[mine] == (integer)blockIdx.y
            && distance[mine] < cutoff;
        const int n_chosen = choose(wanted, chosen);
        for (int first = 0; first < n_chosen; first += PULLED) {
            const int n = n_chosen - first < PULLED ? n_chosen - first : PULLED;
            if (threadIdx.x < n) {
                const integer p = base + chosen[first + threadIdx.x];
                pulled.places[threadIdx.x] = place_of(distance[p], intervals, cutoff);
            }
            __syncthreads();
#pragma unroll 4
            for (int k = threadIdx.x; k < n * N_L * N_FULL; k += BLOCK) {
                const int q = k / (N_L * N_FULL), to = k % (N_L * N_FULL);
                const int order = to / N_FULL, column = to % N_FULL;
                real value = 0, slope = 0;
                if (column < N_MAX)
                    read_both(coefficients, pulled.places[q], order * N_MAX + column,
                              &value, &slope);
                pulled.h[q][to] = value;
                pulled.d[q][to] = slope;
            }
            __syncthreads();
            const int q = pair < n ? pair : 0;
            const integer p = base + chosen[first + q];
            real u[3], radial = 0, x0 = 0, x1 = 0, x2 = 0;
            const real inverse = direction(vector + 3 * p, distance[p], u);
            Harmonics harmonics(u);
#pragma unroll
            for (int order = 0; order < N_L; order++) {
                harmonics.enter(order);
#pragma unroll
                for (int f = 0; f < N_FOURS; f += 2) {
                    const int column = (f + half) * FOUR;
                    if (f + half >= N_FOURS)
                        continue;
                    const Four<real> hs = four(&pulled.h[q][order * N_FULL + column]);
                    const Four<real> ds = four(&pulled.d[q][order * N_FULL + column]);
                    harmonics.each(
                        order, norms, [&](int m, real y, real dx, real dy, real dz) {
                            const Four<real> ws = four(&pulled.w[m * N_FULL + column]);
                            real s = 0, t = 0;
#pragma unroll
                            for (int k = 0; k < FOUR; k++) {
                                s += ws.at[k] * hs.at[k];
                                t += ws.at[k] * ds.at[k];
                            }
                            radial += t * y;
                            x0 += s * dx;
                            x1 += s * dy;
                            x2 += s * dz;
                        });
                }
            }
            radial += __shfl_xor_sync(ALL_LANES, radial, 1);
            x0 += __shfl_xor_sync(ALL_LANES, x0, 1);
            x1 += __shfl_xor_sync(ALL_LANES, x1, 1);
            x2 += __shfl_xor_sync(ALL_LANES, x2, 1);
            radial -= (x0 * u[0] + x1 * u[1] + x2 * u[2]) * inverse;
            if (pair < n && half == 0) {
                out[3 * p] += radial * u[0] + x0 * inverse;
                out[3 * p + 1] += radial * u[1] + x1 * inverse;
                out[3 * p + 2] += radial * u[2] + x2 * inverse;
            }
        }
    }
}

// d(h_nl Y_lm)/d(vector): a block FEW pairs, threads write neighbouring numbers.
extern "C" __global__ void __launch_bounds__(BLOCK) pair_derivatives(
    integer n_pairs, const double *__restrict__ vector,
    const double *__restrict__ distance, const real *__restrict__ coefficients,
    integer intervals, double cutoff, const double *__restrict__ norms,
    double *__restrict__ out)
{
    __shared__ Place places[FEW];
    // what the slope and the value of h are multiplied by
    __shared__ real along[FEW][3][N_M], across[FEW][3][N_M];
    const integer first = (integer)blockIdx.x * FEW;
    const int n = n_pairs - first < FEW ? n_pairs - first : FEW;
    if (threadIdx.x < n) {
        const integer p = first + threadIdx.x;
        const bool near = distance[p] < cutoff;
        real u[3], (*radial)[N_M] = along[threadIdx.x];
        real(*tangential)[N_M] = across[threadIdx.x];
        const real inverse = direction(vector + 3 * p, distance[p], u);
        places[threadIdx.x] = place_of(near ? distance[p] : 0.0, intervals, cutoff);
        Harmonics harmonics(u);
#pragma unroll
        for (int order = 0; order < N_L; order++) {
            harmonics.enter(order);
            harmonics.each(order, norms, [&](int m, real y, real dx, real dy, real dz) {
                const real g[3] = {dx, dy, dz};
                const real part = dx * u[0] + dy * u[1] + dz * u[2];
#pragma unroll
                for (int k = 0; k < 3; k++) {
                    radial[k][m] = near ? y * u[k] : (real)0;
                    tangential[k][m] = near ? (g[k] - part * u[k]) * inverse : (real)0;
                }
            });
        }
    }
    __syncthreads();
    for (int index = threadIdx.x; index < n * 3 * N_C; index += BLOCK) {
        const int p = index / (3 * N_C), k = index / N_C % 3, m = index / N_MAX % N_M;
        const int column = order_of(m) * N_MAX + index % N_MAX;
        real h, d;
        read_both(coefficients, places[p], column, &h, &d);
        out[3 * N_C * first + index] = d * along[p][k][m] + h * across[p][k][m];
    }
}
