// Self terms of the power spectrum: pair functions by the addition theorem.

#define N_T (N_MAX * (N_MAX + 1) / 2)
#define N_O (N_L * N_T)
#define PER_THREAD ((N_O + BLOCK - 1) / BLOCK)
#define FOUR_PI 12.566370614359172

// Write the radial functions a <= b of a place in the triangle.
__device__ __forceinline__ void radial_pair(int place, int *a, int *b)
{
    int row = 0;
    while (place >= N_MAX - row) {
        place -= N_MAX - row;
        row++;
    }
    *a = row;
    *b = row + place;
}

// o_i of one species: a block an atom and species, a thread some self terms.
extern "C" __global__ void __launch_bounds__(BLOCK) overlap(
    const integer *__restrict__ start, const integer *__restrict__ species,
    const double *__restrict__ distance, const real *__restrict__ coefficients,
    integer intervals, double cutoff, double *__restrict__ o)
{
    __shared__ int chosen[BLOCK];
    __shared__ Radial tile;
    const integer low = start[blockIdx.x], high = start[blockIdx.x + 1];
    int left[PER_THREAD], right[PER_THREAD];
    real sums[PER_THREAD];
#pragma unroll
    for (int q = 0; q < PER_THREAD; q++) {
        const int index = threadIdx.x + q * BLOCK < N_O ? threadIdx.x + q * BLOCK : 0;
        radial_pair(index % N_T, &left[q], &right[q]);
        left[q] += index / N_T * N_FULL;
        right[q] += index / N_T * N_FULL;
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
                const double r = distance[base + chosen[first + threadIdx.x]];
                tile.places[threadIdx.x] = place_of(r, intervals, cutoff);
            }
            __syncthreads();
            tile.read(coefficients, n);
            __syncthreads();
            for (int p = 0; p < n; p++)
#pragma unroll
                for (int q = 0; q < PER_THREAD; q++)
                    sums[q] += tile.h[p][left[q]] * tile.h[p][right[q]];
        }
    }
    double *out = o + ((integer)blockIdx.x * gridDim.y + blockIdx.y) * N_O;
#pragma unroll
    for (int q = 0; q < PER_THREAD; q++) {
        const int index = threadIdx.x + q * BLOCK;
        if (index < N_O)
            out[index] = (2 * (index / N_T) + 1) / FOUR_PI * sums[q];
    }
}

// The gradient of sum_i U_i(o_i) by the pair vectors: a block an atom, a thread a pair.
extern "C" __global__ void __launch_bounds__(BLOCK) add_overlap_gradient(
    const integer *__restrict__ start, const integer *__restrict__ species,
    const double *__restrict__ vector, const double *__restrict__ distance,
    const real *__restrict__ coefficients, integer intervals,
    double cutoff,
    const double *__restrict__ slopes, integer n_species, double *__restrict__ out)
{
    const integer high = start[blockIdx.x + 1];
    for (integer p = start[blockIdx.x] + threadIdx.x; p < high; p += BLOCK) {
        if (distance[p] >= cutoff)
            continue;
        const double *w = slopes + (blockIdx.x * n_species + species[p]) * N_O;
        const Place place = place_of(distance[p], intervals, cutoff);
        real u[3], radial = 0;
        direction(vector + 3 * p, distance[p], u);
        for (int order = 0; order < N_L; order++) {
            real h[N_MAX], d[N_MAX], sum = 0;
#pragma unroll
            for (int n = 0; n < N_MAX; n++)
                read_both(coefficients, place, order * N_MAX + n, &h[n], &d[n]);
            const double *next = w + order * N_T;
#pragma unroll
            for (int a = 0; a < N_MAX; a++)
#pragma unroll
                for (int b = a; b < N_MAX; b++)
                    sum += (real)*next++ * (d[a] * h[b] + h[a] * d[b]);
            radial += sum * (real)((2 * order + 1) / FOUR_PI);
        }
        for (int k = 0; k < 3; k++)
            out[3 * p + k] += radial * u[k];
    }
}

// The derivatives of the self terms of pairs: threads write neighbouring numbers.
extern "C" __global__ void __launch_bounds__(BLOCK) overlap_derivatives(
    integer n_pairs, const double *__restrict__ vector,
    const double *__restrict__ distance, const real *__restrict__ coefficients,
    integer intervals, double cutoff, double *__restrict__ out)
{
    __shared__ Place places[FEW];
    __shared__ real unit[FEW][3];
    const integer first = (integer)blockIdx.x * FEW;
    const int n = n_pairs - first < FEW ? n_pairs - first : FEW;
    if (threadIdx.x < n) {
        const integer p = first + threadIdx.x;
        const bool near = distance[p] < cutoff;
        real u[3];
        direction(vector + 3 * p, distance[p], u);
        places[threadIdx.x] = place_of(near ? distance[p] : 0.0, intervals, cutoff);
        for (int k = 0; k < 3; k++)
            unit[threadIdx.x][k] = near ? u[k] : (real)0;
    }
    __syncthreads();
    for (int index = threadIdx.x; index < n * 3 * N_O; index += BLOCK) {
        const int p = index / (3 * N_O), k = index / N_O % 3, order = index / N_T % N_L;
        int a, b;
        radial_pair(index % N_T, &a, &b);
        a += order * N_MAX;
        b += order * N_MAX;
        real h_a, h_b, d_a, d_b;
        read_both(coefficients, places[p], a, &h_a, &d_a);
        read_both(coefficients, places[p], b, &h_b, &d_b);
        out[3 * N_O * first + index]
            = (2 * order + 1) / FOUR_PI * (d_a * h_b + h_a * d_b) * unit[p][k];
    }
}
