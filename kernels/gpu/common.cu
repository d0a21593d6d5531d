// What every program starts with: types, sums over a block, choices in order.
//
// Sources include nothing: NVRTC compiles them without headers, a C++ compiler runs
// them without a GPU. A program is this file and one or two others, see launcher.py.
// BLOCK is the number of threads of a block, a multiple of WARP; REAL is the type of
// the arithmetic of single pairs. All else, and all numbers in memory, are double.

typedef long long integer;
typedef REAL real;

#define WARP 32
#define FOUR 4
#define ALL_LANES 0xffffffffu

// Numbers that are read together; their place must be a multiple of four.
template <class T> struct alignas(16) Four {
    T at[FOUR];
};

template <class T> __device__ __forceinline__ const Four<T> &four(const T *from)
{
    return *(const Four<T> *)from;
}

// Return the sum of x over the threads of a block, to all of them, always in one order.
__device__ __forceinline__ double block_sum(double x)
{
    __shared__ double partial[BLOCK / WARP];
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, step);
    __syncthreads(); // the last sum may still be read
    if (threadIdx.x % WARP == 0)
        partial[threadIdx.x / WARP] = x;
    __syncthreads();
    double sum = 0.0;
    for (int w = 0; w < BLOCK / WARP; w++)
        sum += partial[w];
    return sum;
}

// Write the numbers of the threads that are chosen to list, rising; return how many.
// The last list must have been read by all.
__device__ __forceinline__ int choose(bool chosen, int *list)
{
    __shared__ int count[BLOCK / WARP];
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const unsigned votes = __ballot_sync(ALL_LANES, chosen);
    if (lane == 0)
        count[warp] = __popc(votes);
    __syncthreads();
    int place = __popc(votes & ((1u << lane) - 1u)), total = 0;
    for (int w = 0; w < BLOCK / WARP; w++) {
        if (w == warp)
            place += total;
        total += count[w];
    }
    if (chosen)
        list[place] = threadIdx.x;
    __syncthreads();
    return total;
}

// Return l of the combined index l^2 + l + m.
__device__ __forceinline__ int order_of(int index)
{
    int order = 0;
    while ((order + 1) * (order + 1) <= index)
        order++;
    return order;
}
