// The pairs of a list made with a skin that are near now: counted, then written.
//
// A block is one warp and a centre.

// Both kernels must find the same pairs: products are rounded before they are added, as
// on the CPU, whatever a compiler would rather fuse.
__device__ __forceinline__ bool is_near(
    const double *__restrict__ positions, integer centre, integer neighbor,
    const double *__restrict__ offset, double cutoff, double *vector, double *distance)
{
    double square = 0.0;
    for (int k = 0; k < 3; k++) {
        vector[k] = positions[3 * neighbor + k] - positions[3 * centre + k] + offset[k];
        square = __dadd_rn(square, __dmul_rn(vector[k], vector[k]));
    }
    *distance = sqrt(square);
    // the root may round up to the cutoff
    return square < __dmul_rn(cutoff, cutoff) && *distance < cutoff;
}

extern "C" __global__ void __launch_bounds__(WARP) count_near(
    integer low, const integer *__restrict__ start,
    const integer *__restrict__ neighbor, const double *__restrict__ offset,
    const double *__restrict__ positions, double cutoff, integer *__restrict__ counts)
{
    const integer high = start[blockIdx.x + 1];
    integer count = 0;
    for (integer base = start[blockIdx.x]; base < high; base += WARP) {
        const integer p = base + threadIdx.x;
        double vector[3], distance;
        const bool near = p < high
            && is_near(positions, low + blockIdx.x, neighbor[p], offset + 3 * p, cutoff,
                       vector, &distance);
        count += __popc(__ballot_sync(ALL_LANES, near));
    }
    if (threadIdx.x == 0)
        counts[blockIdx.x] = count;
}

extern "C" __global__ void __launch_bounds__(WARP) write_near(
    integer low, const integer *__restrict__ start,
    const integer *__restrict__ neighbor, const double *__restrict__ offset,
    const double *__restrict__ positions, double cutoff,
    const integer *__restrict__ first, integer *__restrict__ near_neighbor,
    double *__restrict__ near_vector, double *__restrict__ near_distance)
{
    const integer high = start[blockIdx.x + 1];
    integer written = first[blockIdx.x];
    for (integer base = start[blockIdx.x]; base < high; base += WARP) {
        const integer p = base + threadIdx.x;
        double vector[3], distance;
        const bool near = p < high
            && is_near(positions, low + blockIdx.x, neighbor[p], offset + 3 * p, cutoff,
                       vector, &distance);
        const unsigned votes = __ballot_sync(ALL_LANES, near);
        if (near) {
            const integer to = written + __popc(votes & ((1u << threadIdx.x) - 1u));
            near_neighbor[to] = neighbor[p];
            near_distance[to] = distance;
            for (int k = 0; k < 3; k++)
                near_vector[3 * to + k] = vector[k];
        }
        written += __popc(votes);
    }
}
