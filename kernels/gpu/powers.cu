// Softened directions and weighted powers: the covariance stage of a prediction.
//
// A block is a row. All in double: covariances of large weights cancel.

extern "C" __global__ void __launch_bounds__(BLOCK) softened(
    const double *__restrict__ features, integer n_features, double softening,
    double *__restrict__ directions, double *__restrict__ rho)
{
    const double *x = features + blockIdx.x * n_features;
    double sum = 0.0;
    for (integer k = threadIdx.x; k < n_features; k += BLOCK)
        sum += x[k] * x[k];
    const double square = block_sum(sum);
    const double norm_square = square + softening * softening;
    const double inverse = 1.0 / sqrt(norm_square);
    for (integer k = threadIdx.x; k < n_features; k += BLOCK)
        directions[blockIdx.x * n_features + k] = inverse * x[k];
    if (threadIdx.x == 0)
        rho[blockIdx.x] = square / norm_square;
}

extern "C" __global__ void __launch_bounds__(BLOCK) softened_gradient(
    const double *__restrict__ features, integer n_features, double softening,
    const double *__restrict__ slope, const double *__restrict__ own,
    double *__restrict__ out)
{
    const integer base = blockIdx.x * n_features;
    double sum = 0.0;
    for (integer k = threadIdx.x; k < n_features; k += BLOCK)
        sum += features[base + k] * features[base + k];
    const double inverse = 1.0 / sqrt(block_sum(sum) + softening * softening);
    const double along = own[blockIdx.x] * inverse * inverse;
    for (integer k = threadIdx.x; k < n_features; k += BLOCK)
        out[base + k] = inverse * slope[base + k] + along * features[base + k];
}

extern "C" __global__ void __launch_bounds__(BLOCK) row_squares(
    const double *__restrict__ rows, integer n_columns, double *__restrict__ out)
{
    const double *row = rows + blockIdx.x * n_columns;
    double sum = 0.0;
    for (integer k = threadIdx.x; k < n_columns; k += BLOCK)
        sum += row[k] * row[k];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        out[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(BLOCK) weighted_power(
    double *__restrict__ k, integer n_columns, const double *__restrict__ weights,
    integer exponent, double *__restrict__ out)
{
    double *row = k + blockIdx.x * n_columns, sum = 0.0;
    for (integer b = threadIdx.x; b < n_columns; b += BLOCK) {
        const double x = row[b];
        double a = weights[b];
        for (integer e = 1; e < exponent; e++)
            a *= x;
        sum += a * x;
        row[b] = exponent * a;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        out[blockIdx.x] = sum;
}
