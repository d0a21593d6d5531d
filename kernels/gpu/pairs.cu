// Formulae of one pair: radial spline and spherical harmonics.
//
// N_MAX and L_MAX are those of the radial table, (nodes, 3, L_MAX + 1, N_MAX). TILE
// pairs are prepared together in shared memory, FEW where more is kept of each.

#define N_L (L_MAX + 1)
#define N_M (N_L * N_L)
#define N_H (N_L * N_MAX)
#define FEW (TILE / 4)

// Below this distance the direction is scaled down to zero instead of dividing by zero;
// all h_nl of l > 0 vanish there.
#define TINY 1e-10

// Where a distance lies in the table, and the weights of the six rows around it: value,
// slope, curvature of the left node, then of the right one. In the slope the two values
// have opposite weights; its first weight is that of their difference.
struct Place {
    integer interval;
    real value[6], slope[5];
};

__device__ __forceinline__ Place place_of(
    double r, integer nodes, double cutoff)
{
    const double inverse_step = (nodes - 1) / cutoff;
    const double x = r * inverse_step;
    Place place;
    place.interval = (integer)x < nodes - 2 ? (integer)x : nodes - 2;
    const real t = x - place.interval, s = 1 - t, t2 = t * t, t3 = t2 * t;
    const real f = inverse_step, half = 0.5;
    place.value[0] = 1 - t3 * (10 - t * (15 - 6 * t));
    place.value[1] = t - t3 * (6 - t * (8 - 3 * t));
    place.value[2] = half * t2 * (1 - t * (3 - t * (3 - t)));
    place.value[3] = 1 - place.value[0];
    place.value[4] = -t3 * (4 - t * (7 - 3 * t));
    place.value[5] = half * t3 * s * s;
    place.slope[0] = 30 * t2 * s * s * f;
    place.slope[1] = s * s * (1 + t * (2 - 15 * t)) * f;
    place.slope[2] = half * t * s * s * (2 - 5 * t) * f;
    place.slope[3] = t2 * (-12 + t * (28 - 15 * t)) * f;
    place.slope[4] = half * t2 * s * (3 - 5 * t) * f;
    return place;
}

// Return h_nl at a place, column l N_MAX + n.
__device__ __forceinline__ real read_value(
    const double *__restrict__ values, integer interval, const real *weights, int column)
{
    const double *row = values + 3 * interval * N_H + column;
    real sum = 0;
#pragma unroll
    for (int k = 0; k < 6; k++)
        sum += weights[k] * (real)row[k * N_H];
    return sum;
}

// The radial functions of the pairs of a tile: first where each lies in the table.
struct Radial {
    integer interval[TILE];
    real weights[TILE][6], h[TILE][N_H + 1];

    __device__ __forceinline__ void place(int pair, const Place &place)
    {
        interval[pair] = place.interval;
#pragma unroll
        for (int k = 0; k < 6; k++)
            weights[pair][k] = place.value[k];
    }

    // Neighbouring threads read neighbouring numbers of the table.
    __device__ __forceinline__ void read(const double *__restrict__ values, int n_pairs)
    {
        for (int k = threadIdx.x; k < n_pairs * N_H; k += BLOCK) {
            const int p = k / N_H, column = k % N_H;
            h[p][column] = read_value(values, interval[p], weights[p], column);
        }
    }
};

// Return h_nl' at a place; the difference of two values is taken in double.
__device__ __forceinline__ real read_slope(
    const double *__restrict__ values, const Place &place, int column)
{
    const double *row = values + 3 * place.interval * N_H + column;
    real sum = place.slope[0] * (real)(row[3 * N_H] - row[0]);
    sum += place.slope[1] * (real)row[N_H] + place.slope[2] * (real)row[2 * N_H];
    sum += place.slope[3] * (real)row[4 * N_H] + place.slope[4] * (real)row[5 * N_H];
    return sum;
}

// Write the unit vector of a pair and return 1 / r.
__device__ __forceinline__ real direction(const double *vector, double r, real *u)
{
    const double inverse = 1.0 / (r > TINY ? r : TINY);
    for (int k = 0; k < 3; k++)
        u[k] = vector[k] * inverse;
    return inverse;
}

// Real spherical harmonics of a direction, order by order.
//
// With q_lm = d^m P_l/dz^m and the powers (x + i y)^m, Y_lm is norm_lm q_lm times their
// real (m >= 0) or imaginary part. All loops are unrolled: arrays are registers.
struct Harmonics {
    real z, row[N_L + 1], last[N_L + 1], cosine[N_L], sine[N_L];

    __device__ __forceinline__ Harmonics(const real *u) : z(u[2])
    {
#pragma unroll
        for (int m = 0; m <= N_L; m++)
            row[m] = last[m] = 0;
        cosine[0] = 1;
        sine[0] = 0;
#pragma unroll
        for (int m = 1; m < N_L; m++) {
            cosine[m] = u[0] * cosine[m - 1] - u[1] * sine[m - 1];
            sine[m] = u[0] * sine[m - 1] + u[1] * cosine[m - 1];
        }
    }

    // Go on to the next order, from 0.
    __device__ __forceinline__ void enter(int order)
    {
        if (order == 0) {
            row[0] = 1;
            return;
        }
        const real head = ((2 * order - 1) * z * row[0] - (order - 1) * last[0])
            * ((real)1 / order);
#pragma unroll
        for (int m = N_L; m > 0; m--) {
            // P_l' = P_(l-2)' + (2 l - 1) P_(l-1), differentiated m - 1 times
            const real next = last[m] + (2 * order - 1) * row[m - 1];
            last[m] = row[m];
            row[m] = next;
        }
        last[0] = row[0];
        row[0] = head;
    }

    // Call use(l^2 + l + m, Y_lm, x, y, z) for the order entered, where the last three
    // are the Cartesian gradient of the polynomial; of it only the part tangential to
    // the unit sphere has a meaning.
    template <class Use>
    __device__ __forceinline__ void each(
        int order, const double *__restrict__ norms, Use use) const
    {
#pragma unroll
        for (int m = 0; m < N_L; m++) {
            if (m > order)
                continue;
            const real norm = norms[order * N_L + m];
            const real f = norm * row[m], g = norm * row[m + 1];
            const int middle = order * order + order;
            if (m == 0) {
                use(middle, f, (real)0, (real)0, g);
                continue;
            }
            const real f_m = m * f, before = cosine[m - 1], behind = sine[m - 1];
            use(middle + m, f * cosine[m], f_m * before, -f_m * behind, g * cosine[m]);
            use(middle - m, f * sine[m], f_m * behind, f_m * before, g * sine[m]);
        }
    }
};
