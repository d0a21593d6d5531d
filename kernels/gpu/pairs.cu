// Formulae of one pair: radial spline and spherical harmonics.
//
// N_MAX and L_MAX are those of the radial table. Its ``coefficients``,
// (intervals, 6, L_MAX + 1, N_MAX), are those of the quintic of every interval. TILE
// pairs are prepared together in shared memory, FEW where more is kept of each. There
// the functions of an order are filled up with zeros to N_FULL, whole fours.

#define N_L (L_MAX + 1)
#define N_M (N_L * N_L)
#define N_H (N_L * N_MAX)
#define N_FOURS ((N_MAX + FOUR - 1) / FOUR)
#define N_FULL (FOUR * N_FOURS)
#define FEW (TILE / 4)

// Below this distance the direction is scaled down to zero instead of dividing by zero;
// all h_nl of l > 0 vanish there.
#define TINY 1e-10

// Where a distance lies in the table, r = (interval + t) / rate.
struct Place {
    integer interval;
    real t, rate;
};

__device__ __forceinline__ Place place_of(double r, integer intervals, double cutoff)
{
    const double rate = intervals / cutoff, x = r * rate;
    const integer interval = (integer)x < intervals - 1 ? (integer)x : intervals - 1;
    return {interval, (real)(x - interval), (real)rate};
}

// Write h_nl and its slope at a place, column l N_MAX + n.
__device__ __forceinline__ void read_both(
    const real *__restrict__ coefficients, const Place &place, int column, real *h,
    real *slope)
{
    const real *row = coefficients + 6 * place.interval * N_H + column;
    real value = row[5 * N_H], change = 0;
#pragma unroll
    for (int k = 4; k >= 0; k--) {
        change = change * place.t + value;
        value = value * place.t + row[k * N_H];
    }
    *h = value;
    *slope = change * place.rate;
}

// Return h_nl at a place.
__device__ __forceinline__ real read_value(
    const real *__restrict__ coefficients, const Place &place, int column)
{
    real value, slope; // which is not computed where nobody reads it
    read_both(coefficients, place, column, &value, &slope);
    return value;
}

// The radial functions of the pairs of a tile, (order, N_FULL), and their slopes: first
// where each lies in the table. Rows of four more than are used meet in no bank.
struct Radial {
    Place places[TILE];
    alignas(16) real h[TILE][N_L * N_FULL + FOUR];

    // Neighbouring threads read neighbouring numbers of the table.
    __device__ __forceinline__ void read(
        const real *__restrict__ coefficients, int n_pairs)
    {
#pragma unroll 4
        for (int k = threadIdx.x; k < n_pairs * N_L * N_FULL; k += BLOCK) {
            const int p = k / (N_L * N_FULL), to = k % (N_L * N_FULL);
            const int order = to / N_FULL, n = to % N_FULL;
            h[p][to] = n < N_MAX
                ? read_value(coefficients, places[p], order * N_MAX + n)
                : (real)0;
        }
    }
};

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
