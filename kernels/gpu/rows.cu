// Sums over pairs: forces and strain of one function, or rows of many.

// Forces are summed as whole numbers of 2^-40 eV/angstrom: so they do not depend on the
// order in which blocks come, and add up to zero. A pair may give up to LARGEST of them.
#define FORCE_UNIT 9.094947017729282e-13
#define LARGEST 16384.0

// Pair gradients to forces and strain: a block is one warp and a centre. What is too
// large for the sums, or no number, is told in ``lost``.
extern "C" __global__ void __launch_bounds__(WARP) sum_forces(
    integer low, const integer *__restrict__ start,
    const integer *__restrict__ neighbor, const double *__restrict__ vector,
    const double *__restrict__ gradient, unsigned long long *__restrict__ sums,
    integer *__restrict__ lost, double *__restrict__ strains)
{
    const integer centre = low + blockIdx.x;
    integer own[3] = {0};
    double strain[6] = {0.0};
    for (integer p = start[blockIdx.x] + threadIdx.x; p < start[blockIdx.x + 1];
         p += WARP) {
        const double *g = gradient + 3 * p, *v = vector + 3 * p;
        const integer j = neighbor[p];
        for (int a = 0; a < 3; a++) {
            if (!(fabs(g[a]) < LARGEST))
                *lost = 1;
            else { // what its own images give cancels
                const integer units = __double2ll_rn(g[a] / FORCE_UNIT);
                own[a] += units;
                atomicAdd(sums + 3 * j + a, (unsigned long long)-units);
            }
            strain[a] += g[a] * v[a];
        }
        strain[3] += 0.5 * (g[1] * v[2] + g[2] * v[1]);
        strain[4] += 0.5 * (g[0] * v[2] + g[2] * v[0]);
        strain[5] += 0.5 * (g[0] * v[1] + g[1] * v[0]);
    }
    for (int a = 0; a < 3; a++) {
        for (int step = WARP / 2; step > 0; step /= 2)
            own[a] += __shfl_xor_sync(ALL_LANES, own[a], step);
        if (threadIdx.x == 0)
            atomicAdd(sums + 3 * centre + a, (unsigned long long)own[a]);
    }
    for (int k = 0; k < 6; k++)
        strain[k] = block_sum(strain[k]);
    if (threadIdx.x == 0)
        for (int k = 0; k < 6; k++)
            strains[6 * (integer)blockIdx.x + k] = strain[k];
}

// Add the sums to forces, which are not finite when something was lost.
extern "C" __global__ void __launch_bounds__(BLOCK) take_forces(
    integer n, const integer *__restrict__ sums, const integer *__restrict__ lost,
    double *__restrict__ forces)
{
    const integer k = (integer)blockIdx.x * BLOCK + threadIdx.x;
    if (k < n)
        forces[k] += sums[k] * FORCE_UNIT / (1.0 - *lost);
}

// Add the columns of a table to out: a block a column.
extern "C" __global__ void __launch_bounds__(BLOCK) add_columns(
    integer n_rows, const double *__restrict__ table, double *__restrict__ out)
{
    double sum = 0.0;
    for (integer row = threadIdx.x; row < n_rows; row += BLOCK)
        sum += table[row * gridDim.x + blockIdx.x];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        out[blockIdx.x] += sum;
}

// The sums of rows: a block a centre and some columns, a thread one column.
extern "C" __global__ void __launch_bounds__(BLOCK) merge_rows(
    const integer *__restrict__ centres, const integer *__restrict__ start,
    const integer *__restrict__ neighbor, const double *__restrict__ vector,
    const double *__restrict__ derivatives, integer n_columns,
    const integer *__restrict__ first, double *__restrict__ sums)
{
    const integer k = blockIdx.x, column = (integer)blockIdx.y * BLOCK + threadIdx.x;
    if (column >= n_columns)
        return;
    double *to = sums + 3 * first[k] * n_columns + column;
    double target[3] = {0.0}, strain[6] = {0.0};
    integer open = -1; // the neighbour whose images are being summed
    for (integer p = start[k]; p < start[k + 1]; p++) {
        const double *d = derivatives + 3 * p * n_columns + column, *v = vector + 3 * p;
        const double g[3] = {d[0], d[n_columns], d[2 * n_columns]};
        if (neighbor[p] != centres[k]) {
            if (neighbor[p] != open) {
                for (int a = 0; a < 3 && open >= 0; a++, to += n_columns)
                    *to = target[a];
                open = neighbor[p];
                target[0] = target[1] = target[2] = 0.0;
            }
            for (int a = 0; a < 3; a++)
                target[a] += g[a];
        }
        for (int a = 0; a < 3; a++)
            strain[a] += g[a] * v[a];
        strain[3] += 0.5 * (g[1] * v[2] + g[2] * v[1]);
        strain[4] += 0.5 * (g[0] * v[2] + g[2] * v[0]);
        strain[5] += 0.5 * (g[0] * v[1] + g[1] * v[0]);
    }
    for (int a = 0; a < 3 && open >= 0; a++, to += n_columns)
        *to = target[a];
    to = sums + (3 * first[gridDim.x] + 6 * k) * n_columns + column;
    for (int a = 0; a < 6; a++, to += n_columns)
        *to = strain[a];
}

// Rows of a design matrix: a thread a column, centre after centre, for centres share
// their neighbours.
extern "C" __global__ void __launch_bounds__(BLOCK) scatter_rows(
    integer n_centres, const integer *__restrict__ centres,
    const integer *__restrict__ first, const integer *__restrict__ targets,
    const double *__restrict__ product, const double *__restrict__ alpha,
    const double *__restrict__ own, const double *__restrict__ gamma,
    integer n_columns, integer n_products, double *__restrict__ rows, integer n_rows,
    integer width, integer column)
{
    const integer here = (integer)blockIdx.x * BLOCK + threadIdx.x;
    if (here >= n_columns)
        return;
    double *out = rows + column + here;
    const integer n_forces = 3 * first[n_centres];
    const int n_strains = n_products > n_forces ? 6 : 0;
    for (integer k = 0; k < n_centres; k++) {
        const double f = alpha[k * n_columns + here], g = gamma[k * n_columns + here];
        double centre[3] = {0.0};
        for (integer t = first[k]; t < first[k + 1]; t++)
            for (int a = 0; a < 3; a++) {
                const integer row = 3 * t + a;
                const double x = f * product[row * n_columns + here] + g * own[row];
                out[(3 * targets[t] + a) * width] -= x;
                centre[a] += x;
            }
        for (int a = 0; a < 3; a++)
            out[(3 * centres[k] + a) * width] += centre[a];
        for (int a = 0; a < n_strains; a++) {
            const integer row = n_forces + 6 * k + a;
            out[(n_rows - 6 + a) * width]
                += f * product[row * n_columns + here] + g * own[row];
        }
    }
}
