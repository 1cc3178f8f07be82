/* What test_primitives.py calls: one loop per primitive, and the formulas of a loss, its
 * gradient and its Hessian, written by hand for float64 (pairs) and for float32 (doubles). */
#include <stddef.h>

#include "../../../portable_bce/_kernels/primitives.h"

#define LARGEST 1.7976931348623157e308
#define SMALLEST_NORMAL 2.2250738585072014e-308
#define BELOW_ONE 0.99999999999999989

#define SINGLE_LOOP(name) \
    void loop_##name(size_t n, const double *restrict x, double *restrict high, double *restrict low) \
    { \
        for (size_t i = 0; i < n; i++) { \
            high[i] = name(x[i]); \
            low[i] = 0.0; \
        } \
    }

#define PAIR_LOOP(name, argument) \
    void loop_##name(size_t n, const double *restrict x, double *restrict high, double *restrict low) \
    { \
        for (size_t i = 0; i < n; i++) { \
            pair result = name(argument); \
            high[i] = result.high; \
            low[i] = result.low; \
        } \
    }

SINGLE_LOOP(exp_single)
SINGLE_LOOP(log1p_single)
SINGLE_LOOP(log_single)
SINGLE_LOOP(log1p_negative_single)
PAIR_LOOP(exp_double, x[i])
PAIR_LOOP(log1p_double, pair_of(x[i]))
PAIR_LOOP(log_double, x[i])
PAIR_LOOP(log1p_negative_double, x[i])

void logits_double(size_t n, const double *restrict logits, const double *restrict targets,
                   double *restrict loss, double *restrict grad, double *restrict hess)
{
    for (size_t i = 0; i < n; i++) {
        double x = logits[i], s = x >= 0.0 ? 1.0 : 0.0, m = 1.0 - 2.0 * s;
        pair e = exp_double(m * x);
        pair q = pair_divide(e, pair_add_number(e, 1.0));
        pair d = two_sum(s, -targets[i]);
        double finite = (d.high == 0.0) & is_infinite(x) ? -m * LARGEST : x;
        loss[i] = pair_rounded(pair_add(pair_multiply_number(d, finite), log1p_double(e)));
        grad[i] = pair_rounded(pair_add(d, pair_scale(q, m)));
        hess[i] = pair_rounded(pair_subtract(q, pair_multiply(q, q)));
    }
}

void logits_single(size_t n, const double *restrict logits, const double *restrict targets,
                   double *restrict loss, double *restrict grad, double *restrict hess)
{
    for (size_t i = 0; i < n; i++) {
        double x = logits[i], s = x >= 0.0 ? 1.0 : 0.0, m = 1.0 - 2.0 * s;
        double e = exp_single(m * x), q = e / (1.0 + e), d = s - targets[i];
        double finite = (d == 0.0) & is_infinite(x) ? -m * LARGEST : x;
        loss[i] = finite * d + log1p_single(e);
        grad[i] = d + m * q;
        hess[i] = q - q * q;
    }
}

void probabilities_double(size_t n, const double *restrict x, const double *restrict targets,
                          double *restrict loss, double *restrict grad, double *restrict hess)
{
    for (size_t i = 0; i < n; i++) {
        double y = targets[i];
        pair other_y = two_sum(1.0, -y), other_x = two_sum(1.0, -x[i]);
        int no_positive = y == 0.0, no_negative = other_y.high == 0.0;
        pair log_x = log_double(no_positive & (x[i] == 0.0) ? SMALLEST_NORMAL : x[i]);
        pair log_other = log1p_negative_double(-(no_negative & (x[i] == 1.0) ? BELOW_ONE : x[i]));
        loss[i] = pair_rounded(
            pair_subtract(pair_multiply_number(log_x, -y), pair_multiply(other_y, log_other)));
        double chance = no_positive & (x[i] >= 0.0) ? 1.0 : x[i];
        pair rest = pair_select(no_negative & (x[i] <= 1.0), pair_of(1.0), other_x);
        pair positive = two_quotient(y, chance), negative = pair_divide(other_y, rest);
        pair apart = pair_subtract(negative, positive), spread = pair_multiply_number(other_x, x[i]);
        int at_end = spread.high == 0.0;
        pair denominator = pair_select(at_end, pair_of(1.0), spread);
        pair together = pair_divide(two_sum(x[i], -y), denominator);
        grad[i] = pair_rounded(pair_select(at_end, apart, together));
        hess[i] = pair_rounded(pair_add(pair_multiply(positive, two_quotient(1.0, chance)),
                                        pair_multiply(negative, number_divide_pair(1.0, rest))));
    }
}

void probabilities_single(size_t n, const double *restrict x, const double *restrict targets,
                          double *restrict loss, double *restrict grad, double *restrict hess)
{
    for (size_t i = 0; i < n; i++) {
        double y = targets[i], other_y = 1.0 - y, other_x = 1.0 - x[i];
        int no_positive = y == 0.0, no_negative = other_y == 0.0;
        double log_x = log_single(no_positive & (x[i] == 0.0) ? SMALLEST_NORMAL : x[i]);
        double end = no_negative & (x[i] == 1.0) ? BELOW_ONE : x[i];
        loss[i] = -y * log_x - other_y * log1p_negative_single(-end);
        double chance = no_positive & (x[i] >= 0.0) ? 1.0 : x[i];
        double rest = no_negative & (x[i] <= 1.0) ? 1.0 : other_x;
        double apart = other_y / rest - y / chance, spread = x[i] * other_x;
        double together = (x[i] - y) / (spread == 0.0 ? 1.0 : spread);
        grad[i] = spread == 0.0 ? apart : together;
        hess[i] = (y / chance) * (1.0 / chance) + (other_y / rest) * (1.0 / rest);
    }
}
