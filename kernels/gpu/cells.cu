// All pairs within a reach: atoms sorted into cells, cells that are near looked through.
//
// A block is one warp and a centre. Pairs are counted, written as they are found, and put
// in the order of neighbour and image.

#define AXES 3

// Numbers of bits of the images along an axis, and what makes them positive.
#define IMAGE_BITS 20
#define NO_IMAGE (1LL << (IMAGE_BITS - 1))

// Where atoms are: of all arrays the first axis counts atoms, in the order they have.
struct Places {
    const double *__restrict__ positions; // (n, 3)
    const integer *__restrict__ cell_of;  // (n, 3) the cell along every axis
    const integer *__restrict__ wrapped;  // (n, 3) cell vectors taken off to be inside
    const integer *__restrict__ members;  // (n,) atoms, cell by cell
    const integer *__restrict__ begins;   // (cells + 1,) of the members of every cell
    const integer *__restrict__ axes;     // (3, 3) cells, cells looked at either side,
                                          // and whether it is periodic, of every axis
    const double *__restrict__ vectors;   // (3, 3) of the whole
};

__device__ __forceinline__ integer floor_ratio(integer a, integer b)
{
    return a / b - (a % b < 0);
}

// Give every pair of a centre to what is done with it, in turn; return their number.
template <class Then>
__device__ __forceinline__ integer each_pair(const Places &at, integer i, double reach,
                                             Then then)
{
    const integer *cells = at.axes, *sides = at.axes + AXES, *periodic = at.axes + 2 * AXES;
    integer found = 0, d[AXES];
    for (d[0] = -sides[0]; d[0] <= sides[0]; d[0]++)
    for (d[1] = -sides[1]; d[1] <= sides[1]; d[1]++)
    for (d[2] = -sides[2]; d[2] <= sides[2]; d[2]++) {
        integer image[AXES], cell = 0;
        bool is_there = true;
        for (int k = 0; k < AXES; k++) {
            const integer place = at.cell_of[AXES * i + k] + d[k];
            image[k] = floor_ratio(place, cells[k]);
            is_there = is_there && (periodic[k] || image[k] == 0);
            cell = cell * cells[k] + place - image[k] * cells[k];
        }
        if (!is_there)
            continue;
        const integer end = at.begins[cell + 1];
        for (integer base = at.begins[cell]; base < end; base += WARP) {
            const integer member = base + threadIdx.x;
            const integer j = member < end ? at.members[member] : i;
            integer shift[AXES], key = 0;
            double square = 0.0;
            for (int k = 0; k < AXES; k++) {
                shift[k] = image[k] - at.wrapped[AXES * j + k] + at.wrapped[AXES * i + k];
                key = (key << IMAGE_BITS) + shift[k] + NO_IMAGE;
            }
            // Rounded like its opposite: both ends find a pair.
            for (int k = 0; k < AXES; k++) {
                double offset = 0.0;
                for (int axis = 0; axis < AXES; axis++)
                    offset = __dadd_rn(
                        offset, __dmul_rn((double)shift[axis], at.vectors[AXES * axis + k]));
                const double x = at.positions[AXES * j + k] - at.positions[AXES * i + k]
                    + offset;
                square = __dadd_rn(square, __dmul_rn(x, x));
            }
            const bool is_itself = j == i && !(shift[0] || shift[1] || shift[2]);
            const bool is_pair = member < end && !is_itself && square < reach * reach;
            const unsigned votes = __ballot_sync(ALL_LANES, is_pair);
            if (is_pair)
                then(found + __popc(votes & ((1u << threadIdx.x) - 1u)), j, key);
            found += __popc(votes);
        }
    }
    return found;
}

#define PLACES                                                                        \
    const double *__restrict__ positions, const integer *__restrict__ cell_of,        \
        const integer *__restrict__ wrapped, const integer *__restrict__ members,     \
        const integer *__restrict__ begins, const integer *__restrict__ axes,         \
        const double *__restrict__ vectors, double reach
#define THE_PLACES {positions, cell_of, wrapped, members, begins, axes, vectors}

extern "C" __global__ void __launch_bounds__(WARP) count_pairs(
    PLACES, integer *__restrict__ counts)
{
    const Places at = THE_PLACES;
    const integer count
        = each_pair(at, blockIdx.x, reach, [](integer, integer, integer) {});
    if (threadIdx.x == 0)
        counts[blockIdx.x] = count;
}

extern "C" __global__ void __launch_bounds__(WARP) write_pairs(
    PLACES, const integer *__restrict__ start, integer *__restrict__ neighbor,
    integer *__restrict__ images)
{
    const Places at = THE_PLACES;
    const integer first = start[blockIdx.x];
    each_pair(at, blockIdx.x, reach, [=](integer place, integer j, integer key) {
        neighbor[first + place] = j;
        images[first + place] = key;
    });
}

// Write the pairs of a centre where their neighbours and images put them.
extern "C" __global__ void __launch_bounds__(WARP) sort_pairs(
    const integer *__restrict__ start, const integer *__restrict__ neighbor,
    const integer *__restrict__ images, integer *__restrict__ sorted,
    double *__restrict__ shifts)
{
    const integer low = start[blockIdx.x], high = start[blockIdx.x + 1];
    for (integer p = low + threadIdx.x; p < high; p += WARP) {
        const integer j = neighbor[p], key = images[p];
        integer place = low;
        for (integer other = low; other < high; other++)
            place += neighbor[other] < j || (neighbor[other] == j && images[other] < key);
        sorted[place] = j;
        integer left = key;
        for (int k = AXES - 1; k >= 0; k--) {
            const integer shift = (left & ((1LL << IMAGE_BITS) - 1)) - NO_IMAGE;
            shifts[AXES * place + k] = (double)shift;
            left >>= IMAGE_BITS;
        }
    }
}
