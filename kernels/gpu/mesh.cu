// Charges onto a periodic mesh by B-splines of degree ORDER - 1, and a potential back.

// Where a charge is along one axis: weights of the mesh points first - j, slopes by the
// fractional coordinate, j = 0 .. ORDER - 1.
struct Axis {
    double value[ORDER], slope[ORDER];
    integer first, n;

    __device__ __forceinline__ Axis(double fractional, integer n_points) : n(n_points)
    {
        const double u = (fractional - floor(fractional)) * n;
        first = (integer)floor(u);
        const double t = u - first;
        value[0] = t;
        value[1] = 1.0 - t;
#pragma unroll
        for (int k = 3; k <= ORDER; k++) {
            if (k == ORDER) {
                slope[0] = n * value[0];
#pragma unroll
                for (int j = 1; j < k - 1; j++)
                    slope[j] = n * (value[j] - value[j - 1]);
                slope[k - 1] = -n * value[k - 2];
            }
            const double share = 1.0 / (k - 1);
            value[k - 1] = share * (1.0 - t) * value[k - 2];
#pragma unroll
            for (int j = k - 2; j > 0; j--)
                value[j] = share * ((t + j) * value[j] + (k - t - j) * value[j - 1]);
            value[0] = share * t * value[0];
        }
    }

    __device__ __forceinline__ integer point(int j) const
    {
        return ((first - j) % n + n) % n;
    }
};

// The weights (n, 3, ORDER) of charges and the mesh cell each is in, a thread a charge.
extern "C" __global__ void __launch_bounds__(BLOCK) place_charges(
    integer n_charges, const double *__restrict__ fractional, integer n0, integer n1,
    integer n2, double *__restrict__ weights, integer *__restrict__ cell)
{
    const integer i = (integer)blockIdx.x * BLOCK + threadIdx.x;
    if (i >= n_charges)
        return;
    const integer shape[3] = {n0, n1, n2};
    integer flat = 0;
    for (int axis = 0; axis < 3; axis++) {
        const Axis place(fractional[3 * i + axis], shape[axis]);
        flat = flat * shape[axis] + place.point(0);
#pragma unroll
        for (int j = 0; j < ORDER; j++)
            weights[(3 * i + axis) * ORDER + j] = place.value[j];
    }
    cell[i] = flat;
}

// Charges on the mesh, a thread a point: it takes from the cells whose splines reach it.
// The charges of a cell are sorted[first[cell]] .. sorted[first[cell + 1] - 1].
extern "C" __global__ void __launch_bounds__(BLOCK) spread_to_mesh(
    integer n0, integer n1, integer n2, const integer *__restrict__ first,
    const integer *__restrict__ sorted, const double *__restrict__ weights,
    const double *__restrict__ charges, double *__restrict__ mesh)
{
    const integer point = (integer)blockIdx.x * BLOCK + threadIdx.x;
    if (point >= n0 * n1 * n2)
        return;
    const integer m0 = point / (n1 * n2), m1 = point / n2 % n1, m2 = point % n2;
    double sum = 0.0;
    for (int a = 0; a < ORDER; a++)
        for (int b = 0; b < ORDER; b++)
            for (int c = 0; c < ORDER; c++) {
                const integer cell
                    = ((m0 + a) % n0 * n1 + (m1 + b) % n1) * n2 + (m2 + c) % n2;
                for (integer k = first[cell]; k < first[cell + 1]; k++) {
                    const double *w = weights + 3 * sorted[k] * ORDER;
                    sum += charges[sorted[k]] * w[a] * w[ORDER + b] * w[2 * ORDER + c];
                }
            }
    mesh[point] = sum;
}

// A potential at positions and its slopes by the fractional coordinates, a thread each.
extern "C" __global__ void __launch_bounds__(BLOCK) gather_from_mesh(
    integer n_charges, const double *__restrict__ fractional, integer n0, integer n1,
    integer n2, const double *__restrict__ mesh, double *__restrict__ values,
    double *__restrict__ slopes)
{
    const integer i = (integer)blockIdx.x * BLOCK + threadIdx.x;
    if (i >= n_charges)
        return;
    const Axis x(fractional[3 * i], n0), y(fractional[3 * i + 1], n1);
    const Axis z(fractional[3 * i + 2], n2);
    double sums[4] = {0.0};
    for (int a = 0; a < ORDER; a++)
        for (int b = 0; b < ORDER; b++) {
            const double *row = mesh + (x.point(a) * n1 + y.point(b)) * n2;
            double line = 0.0, rise = 0.0;
            for (int c = 0; c < ORDER; c++) {
                const double here = row[z.point(c)];
                line += here * z.value[c];
                rise += here * z.slope[c];
            }
            sums[0] += x.value[a] * y.value[b] * line;
            sums[1] += x.slope[a] * y.value[b] * line;
            sums[2] += x.value[a] * y.slope[b] * line;
            sums[3] += x.value[a] * y.value[b] * rise;
        }
    values[i] = sums[0];
    for (int k = 0; k < 3; k++)
        slopes[3 * i + k] = sums[1 + k];
}
