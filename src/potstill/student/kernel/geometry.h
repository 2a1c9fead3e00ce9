// Functions of one edge.
#pragma once

namespace POTSTILL_KERNEL {

constexpr real THIRD = 0.5773502691896258;  // 1 / sqrt(3)

// ---------------------------------------------------------------- geometry of one edge
inline real length(const real* r) { return std::sqrt(std::max(r[0] * r[0] + r[1] * r[1] + r[2] * r[2], real(1e-12))); }
template <int NL>
inline void harmonics(const real* u, real* y) {
    const real a = u[0], b = u[1], c = u[2];
    const real s3 = 1.7320508075688772, s15 = 3.872983346207417, s5 = 2.23606797749979;
    y[0] = 1.0f;
    y[1] = s3 * a, y[2] = s3 * b, y[3] = s3 * c;
    y[4] = s15 * a * b, y[5] = s15 * b * c, y[6] = 0.5f * s5 * (3 * c * c - 1), y[7] = s15 * a * c, y[8] = 0.5f * s15 * (a * a - b * b);
    if constexpr (NL > 3) {
        const real p = 2.091650066335189, q = 10.246950765959598, r = 1.620185174601965, s = 1.3228756555322954, t = 5.123475382979799;
        y[9] = p * b * (3 * a * a - b * b), y[10] = q * a * b * c, y[11] = r * b * (5 * c * c - 1), y[12] = s * c * (5 * c * c - 3);
        y[13] = r * a * (5 * c * c - 1), y[14] = t * c * (a * a - b * b), y[15] = p * a * (a * a - 3 * b * b);
    }
}
// sum over lm of v[lm] times the gradient of the polynomial Y_lm
template <int NL>
inline void harmonics_gradient(const real* u, const real* v, real* g) {
    const real a = u[0], b = u[1], c = u[2];
    const real s3 = 1.7320508075688772, s15 = 3.872983346207417, s5 = 2.23606797749979;
    g[0] = s3 * v[1] + s15 * (v[4] * b + v[7] * c + v[8] * a);
    g[1] = s3 * v[2] + s15 * (v[4] * a + v[5] * c - v[8] * b);
    g[2] = s3 * v[3] + s15 * (v[5] * b + v[7] * a) + 3 * s5 * v[6] * c;
    if constexpr (NL > 3) {
        const real p = 2.091650066335189, q = 10.246950765959598, r = 1.620185174601965, s = 1.3228756555322954, t = 5.123475382979799;
        g[0] += v[9] * p * 6 * a * b + v[10] * q * b * c + v[13] * r * (5 * c * c - 1) + v[14] * t * 2 * a * c + v[15] * p * 3 * (a * a - b * b);
        g[1] += v[9] * p * 3 * (a * a - b * b) + v[10] * q * a * c + v[11] * r * (5 * c * c - 1) - v[14] * t * 2 * b * c - v[15] * p * 6 * a * b;
        g[2] += v[10] * q * a * b + v[11] * r * 10 * b * c + v[12] * s * (15 * c * c - 3) + v[13] * r * 10 * a * c + v[14] * t * (a * a - b * b);
    }
}
// 1 at 0, vanishing with two derivatives at 1; and its derivative
template <typename T>
inline T envelope(T x, T& slope) {
    if (x >= T(1)) return slope = 0, T(0);
    const T x4 = x * x * x * x;
    slope = x4 * (T(-105) + x * (T(210) - T(105) * x));
    return T(1) + x4 * x * (T(-21) + x * (T(35) - T(15) * x));
}
// Ziegler, Biersack and Littmark (zbl.py); energy of the pair and its derivative
inline double repulsion(double zi, double zj, double reach, double d, double& slope) {
    static const double amplitude[] = {0.18175, 0.50986, 0.28022, 0.02817}, decay[] = {3.1998, 0.94229, 0.4029, 0.20162};
    const double length = 0.8854 * 0.529177210903 / (std::pow(zi, 0.23) + std::pow(zj, 0.23));
    double screening = 0, derivative = 0, env_slope;
    for (int k = 0; k < 4; ++k) {
        const double term = amplitude[k] * std::exp(-decay[k] * d / length);
        screening += term, derivative -= decay[k] / length * term;
    }
    const double env = envelope(d / reach, env_slope), factor = 14.3996454784936 * zi * zj / d;
    slope = factor * (env * (derivative - screening / d) + screening * env_slope / reach);
    return factor * screening * env;
}

}  // namespace POTSTILL_KERNEL
