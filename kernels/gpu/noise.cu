// Counter-based random numbers; defined in otf.kernels.noise.
//
// A thread is a block of Philox, two numbers.

typedef unsigned int word;
typedef unsigned long long words;

extern "C" __global__ void __launch_bounds__(BLOCK) normal(
    words seed, words stream, words step, integer n, double *__restrict__ out)
{
    const integer block = (integer)blockIdx.x * BLOCK + threadIdx.x;
    if (2 * block >= n)
        return;
    word c0 = block, c1 = step, c2 = step >> 32, c3 = stream;
    word k0 = seed, k1 = seed >> 32;
    for (int round = 0; round < 10; round++) {
        const words p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        c0 = (word)(p1 >> 32) ^ c1 ^ k0;
        c2 = (word)(p0 >> 32) ^ c3 ^ k1;
        c1 = p1;
        c3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const double unit = 1.1102230246251565e-16; // 2^-53
    const double a = ((c0 | (words)c1 << 32) >> 11) + 1;
    const double b = (c2 | (words)c3 << 32) >> 11;
    const double radius = sqrt(-2.0 * log(a * unit));
    const double angle = 6.283185307179586 * (b * unit);
    out[2 * block] = radius * cos(angle);
    if (2 * block + 1 < n)
        out[2 * block + 1] = radius * sin(angle);
}
