// Energies, forces and strain derivative of a pair potential read from a table.
//
// A block is an atom. Every pair is computed from both its ends, half of its energy and
// strain at each, so that no two blocks write to the same place.

extern "C" __global__ void __launch_bounds__(BLOCK) pair_potential(
    const integer *__restrict__ start, const integer *__restrict__ neighbor,
    const integer *__restrict__ kind, const double *__restrict__ vector,
    const double *__restrict__ distance, const double *__restrict__ bare,
    const double *__restrict__ smooth, integer n_species, integer intervals,
    double cutoff, double *__restrict__ energies, double *__restrict__ forces,
    double *__restrict__ strains)
{
    const integer i = blockIdx.x, high = start[i + 1];
    const double inverse_step = intervals / cutoff;
    double sums[10] = {0.0}; // energy, force, strain
    for (integer p = start[i] + threadIdx.x; p < high; p += BLOCK) {
        const double r = distance[p];
        if (r >= cutoff)
            continue;
        const integer pair = kind[i] * n_species + kind[neighbor[p]];
        const double place = r * inverse_step;
        const integer k = (integer)place < intervals - 1 ? (integer)place : intervals - 1;
        const double *c = smooth + (pair * intervals + k) * 6, t = place - k;
        const double inverse = 1.0 / r, core = bare[pair] * inverse;
        const double rise = c[1]
            + t * (2.0 * c[2] + t * (3.0 * c[3] + t * (4.0 * c[4] + t * 5.0 * c[5])));
        const double pull = (rise * inverse_step - core * inverse) * inverse;
        const double *v = vector + 3 * p;
        sums[0] += 0.5
            * (core + c[0]
               + t * (c[1] + t * (c[2] + t * (c[3] + t * (c[4] + t * c[5])))));
        for (int a = 0; a < 3; a++) {
            sums[1 + a] += pull * v[a];
            sums[4 + a] += 0.5 * pull * v[a] * v[a];
        }
        sums[7] += 0.5 * pull * v[1] * v[2];
        sums[8] += 0.5 * pull * v[0] * v[2];
        sums[9] += 0.5 * pull * v[0] * v[1];
    }
    for (int k = 0; k < 10; k++)
        sums[k] = block_sum(sums[k]);
    if (threadIdx.x == 0) {
        energies[i] = sums[0];
        for (int k = 0; k < 3; k++)
            forces[3 * i + k] = sums[1 + k];
        for (int k = 0; k < 6; k++)
            strains[6 * i + k] = sums[4 + k];
    }
}
