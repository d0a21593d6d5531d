// The power spectrum of density coefficients, forward and backward.
//
// A block is an atom, a thread some features or some coefficients. Coefficients of an
// atom, (S, M, N), are a few kilobytes: the first-level cache holds them for the block.

#define SQRT2 1.4142135623730951

struct Shape {
    int n_species, n_l, n_max;

    __device__ __forceinline__ int channels() const { return n_species * n_max; }

    __device__ __forceinline__ int pairs() const
    {
        return channels() * (channels() + 1) / 2;
    }

    __device__ __forceinline__ int coefficients() const
    {
        return channels() * n_l * n_l;
    }

    // The place of channel (species, n) and combined index m among the coefficients.
    __device__ __forceinline__ int place(int channel, int m) const
    {
        return (channel / n_max * n_l * n_l + m) * n_max + channel % n_max;
    }

    // The place of channels a <= b in the upper triangle.
    __device__ __forceinline__ int in_triangle(int a, int b) const
    {
        return a * channels() - a * (a - 1) / 2 + b - a;
    }

    // Write the channels a <= b at a place in the upper triangle.
    __device__ __forceinline__ void from_triangle(int place, int *a, int *b) const
    {
        const float side = 2 * channels() + 1;
        int row = (side - sqrtf(side * side - 8.0f * place)) * 0.5f;
        // the root is right to within one
        while (row > 0 && in_triangle(row, row) > place)
            row--;
        while (row + 1 < channels() && in_triangle(row + 1, row + 1) <= place)
            row++;
        *a = row;
        *b = row + place - in_triangle(row, row);
    }
};

extern "C" __global__ void __launch_bounds__(BLOCK) spectrum_full(
    integer n_species, integer n_l, integer n_max, const double *__restrict__ c,
    const double *__restrict__ weights, double *__restrict__ out)
{
    const Shape shape = {(int)n_species, (int)n_l, (int)n_max};
    const int n_pairs = shape.pairs(), n_features = n_pairs * shape.n_l;
    const double *own = c + (integer)blockIdx.x * shape.coefficients();
    for (int q = threadIdx.x; q < n_features; q += BLOCK) {
        const int order = q / n_pairs;
        int a, b;
        shape.from_triangle(q % n_pairs, &a, &b);
        double sum = 0.0;
        for (int m = order * order; m < (order + 1) * (order + 1); m++)
            sum += own[shape.place(a, m)] * own[shape.place(b, m)];
        const double root = a == b ? 1.0 : SQRT2;
        out[(integer)blockIdx.x * n_features + q] = root * weights[order] * sum;
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK) adjoint_full(
    integer n_species, integer n_l, integer n_max, const double *__restrict__ c,
    const double *__restrict__ weights, const double *__restrict__ gradient,
    double *__restrict__ out)
{
    const Shape shape = {(int)n_species, (int)n_l, (int)n_max};
    const int n_channels = shape.channels(), n_m = shape.n_l * shape.n_l;
    const int n_block = n_m * shape.n_max; // coefficients of a species
    const integer base = (integer)blockIdx.x * shape.coefficients();
    const double *own = c + base;
    for (int k = threadIdx.x; k < shape.coefficients(); k += BLOCK) {
        const int m = k / shape.n_max % n_m, order = order_of(m);
        const int a = k / n_block * shape.n_max + k % shape.n_max;
        const double *at_m = own + m * shape.n_max;
        const double *g
            = gradient + ((integer)blockIdx.x * n_l + order) * shape.pairs();
        double sum = 0.0;
        int place = a; // of channels a and b, going on from b = 0
        for (int b = 0; b < n_channels; place += b < a ? n_channels - 1 - b : 1, b++)
            sum += g[place] * at_m[b / shape.n_max * n_block + b % shape.n_max];
        sum = SQRT2 * sum + (2.0 - SQRT2) * g[shape.in_triangle(a, a)] * own[k];
        out[base + k] = weights[order] * sum;
    }
}

// The derivatives of the spectrum along changes of coefficients of one species: a block
// is a change, (M, N), of the atom owner[change].
extern "C" __global__ void __launch_bounds__(BLOCK) jacobian_full(
    integer n_species, integer n_l, integer n_max, const integer *__restrict__ owner,
    const double *__restrict__ c, const double *__restrict__ weights, integer species,
    const double *__restrict__ changes, double *__restrict__ out)
{
    const Shape shape = {(int)n_species, (int)n_l, (int)n_max};
    const int n_pairs = shape.pairs(), n_features = n_pairs * shape.n_l;
    const int low = (int)species * shape.n_max;
    const double *own = c + owner[blockIdx.x] * shape.coefficients();
    const double *change
        = changes + (integer)blockIdx.x * shape.n_l * shape.n_l * shape.n_max;
    for (int q = threadIdx.x; q < n_features; q += BLOCK) {
        const int order = q / n_pairs;
        int a, b;
        shape.from_triangle(q % n_pairs, &a, &b);
        const bool first = low <= a && a < low + shape.n_max;
        const bool second = low <= b && b < low + shape.n_max;
        double sum = 0.0;
        for (int m = order * order; m < (order + 1) * (order + 1); m++) {
            if (first)
                sum += change[m * shape.n_max + a - low] * own[shape.place(b, m)];
            if (second)
                sum += change[m * shape.n_max + b - low] * own[shape.place(a, m)];
        }
        const double root = a == b ? 1.0 : SQRT2;
        out[(integer)blockIdx.x * n_features + q] = root * weights[order] * sum;
    }
}

// Here and below, total (n, M, N) is the sum of c over the species.
extern "C" __global__ void __launch_bounds__(BLOCK) spectrum_reduced(
    integer n_species, integer n_l, integer n_max, const double *__restrict__ c,
    const double *__restrict__ total, const double *__restrict__ weights,
    double *__restrict__ out)
{
    const Shape shape = {(int)n_species, (int)n_l, (int)n_max};
    const int n_block = shape.channels() * shape.n_max;
    const int n_features = n_block * shape.n_l;
    const double *own = c + (integer)blockIdx.x * shape.coefficients();
    const double *all
        = total + (integer)blockIdx.x * shape.n_l * shape.n_l * shape.n_max;
    for (int q = threadIdx.x; q < n_features; q += BLOCK) {
        const int order = q / n_block, a = q % n_block / shape.n_max;
        const int b = q % shape.n_max;
        double sum = 0.0;
        for (int m = order * order; m < (order + 1) * (order + 1); m++)
            sum += own[shape.place(a, m)] * all[m * shape.n_max + b];
        out[(integer)blockIdx.x * n_features + q] = weights[order] * sum;
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK) adjoint_reduced(
    integer n_species, integer n_l, integer n_max, const double *__restrict__ c,
    const double *__restrict__ total, const double *__restrict__ weights,
    const double *__restrict__ gradient, double *__restrict__ out)
{
    const Shape shape = {(int)n_species, (int)n_l, (int)n_max};
    const int n_channels = shape.channels(), n_m = shape.n_l * shape.n_l;
    const integer base = (integer)blockIdx.x * shape.coefficients();
    const double *own = c + base;
    const double *all = total + (integer)blockIdx.x * n_m * shape.n_max;
    for (int k = threadIdx.x; k < shape.coefficients(); k += BLOCK) {
        const int n = k % shape.n_max, m = k / shape.n_max % n_m, order = order_of(m);
        const int a = k / shape.n_max / n_m * shape.n_max + n;
        const double *g = gradient
            + ((integer)blockIdx.x * n_l + order) * n_channels * shape.n_max;
        double sum = 0.0;
        for (int b = 0; b < shape.n_max; b++)
            sum += g[a * shape.n_max + b] * all[m * shape.n_max + b];
        for (int b = 0; b < n_channels; b++) // as a part of the total
            sum += g[b * shape.n_max + n] * own[shape.place(b, m)];
        out[base + k] = weights[order] * sum;
    }
}
