// The neighbour density in radial functions and harmonics, and its derivatives.

#define N_C (N_M * N_MAX)
#define PER_THREAD ((N_C + BLOCK - 1) / BLOCK)

// c_i of one species: a block an atom and species, a thread some coefficients.
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
    real sums[PER_THREAD];
#pragma unroll
    for (int q = 0; q < PER_THREAD; q++) {
        const int index = threadIdx.x + q * BLOCK;
        harmonic[q] = index < N_C ? index / N_MAX : 0;
        radial[q] = order_of(harmonic[q]) * N_MAX + index % N_MAX;
        sums[q] = 0;
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
                for (int q = 0; q < PER_THREAD; q++)
                    sums[q] += y[p][harmonic[q]] * tile.h[p][radial[q]];
            __syncthreads(); // before the next tile is written
        }
    }
    double *out = c + ((integer)blockIdx.x * gridDim.y + blockIdx.y) * N_C;
#pragma unroll
    for (int q = 0; q < PER_THREAD; q++) {
        const int index = threadIdx.x + q * BLOCK;
        if (index < N_C)
            out[index] = sums[q];
    }
}

// The gradient of sum_i U_i(c_i) by the pair vectors: a block an atom, a thread a pair.
// The radial functions of one order are read together, as in a tile.
extern "C" __global__ void __launch_bounds__(BLOCK) add_pair_gradient(
    const integer *__restrict__ start, const integer *__restrict__ species,
    const double *__restrict__ vector, const double *__restrict__ distance,
    const real *__restrict__ coefficients, integer intervals, double cutoff,
    const double *__restrict__ norms, const double *__restrict__ slopes,
    integer n_species, double *__restrict__ out)
{
    __shared__ int chosen[BLOCK];
    __shared__ Place places[BLOCK];
    __shared__ real h[BLOCK][N_MAX + 1], d[BLOCK][N_MAX + 1];
    const integer low = start[blockIdx.x], high = start[blockIdx.x + 1];
    for (integer base = low; base < high; base += BLOCK) {
        const integer own = base + threadIdx.x;
        const int n_chosen = choose(own < high && distance[own] < cutoff, chosen);
        const bool busy = threadIdx.x < n_chosen;
        const integer p = busy ? base + chosen[threadIdx.x] : base;
        const double *w = slopes + (blockIdx.x * n_species + species[p]) * N_C;
        if (busy)
            places[threadIdx.x] = place_of(distance[p], intervals, cutoff);
        real u[3], radial = 0, x0 = 0, x1 = 0, x2 = 0;
        const real inverse = direction(vector + 3 * p, distance[p], u);
        Harmonics harmonics(u);
#pragma unroll
        for (int order = 0; order < N_L; order++) {
            __syncthreads(); // the order before may still be read
            for (int k = threadIdx.x; k < n_chosen * N_MAX; k += BLOCK) {
                const int q = k / N_MAX, n = k % N_MAX;
                read_both(coefficients, places[q], order * N_MAX + n, &h[q][n], &d[q][n]);
            }
            __syncthreads();
            harmonics.enter(order);
            if (!busy)
                continue;
            harmonics.each(order, norms, [&](int m, real y, real dx, real dy, real dz) {
                real s = 0, t = 0;
#pragma unroll
                for (int n = 0; n < N_MAX; n++) {
                    const real weight = w[m * N_MAX + n];
                    s += weight * h[threadIdx.x][n];
                    t += weight * d[threadIdx.x][n];
                }
                radial += t * y;
                x0 += s * dx;
                x1 += s * dy;
                x2 += s * dz;
            });
        }
        if (!busy)
            continue;
        radial -= (x0 * u[0] + x1 * u[1] + x2 * u[2]) * inverse;
        out[3 * p] += radial * u[0] + x0 * inverse;
        out[3 * p + 1] += radial * u[1] + x1 * inverse;
        out[3 * p + 2] += radial * u[2] + x2 * inverse;
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
