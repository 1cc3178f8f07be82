/* exp, log1p and log for binary cross-entropy, and arithmetic on pairs of doubles.
 *
 * Every function is branch-free and written with explicit fma. GCC and Clang therefore
 * vectorise a loop that calls it, and the results have the same bits on every CPU with FMA
 * (but for a NaN's sign and payload). Compile with -ffp-contract=off -fno-math-errno
 * -fno-trapping-math: without the first flag a compiler may fuse more operations, and the
 * bits differ; without the last two it does not vectorise.
 *
 *     function                 domain      relative error   why it is enough
 *     exp_single               z <= 0      5e-12            1e-4 ULP of float32
 *     log1p_single             [0, 1]      3e-13
 *     log_single               any x       5e-14
 *     log1p_negative_single    any v       5e-14
 *     exp_double               z <= 0      2^-57.5          0.05 ULP of float64
 *     log1p_double             [0, 1]      2^-55.5          0.12 ULP of float64
 *     log_double               any x       2^-57.5
 *     log1p_negative_double    any v       2^-57.5
 *
 * The *_single functions return a double, for a result that is rounded to float32, float16 or
 * bfloat16. The *_double functions return a pair, for a result that is rounded to float64.
 * Logarithms outside their mathematical domain are NaN, and log(0) = log1p(-1) = -infinity.
 *
 * coefficients.py finds the constants again; tests/libraries/numpy/test_primitives.py measures the errors.
 */
#ifndef PORTABLE_BCE_PRIMITIVES_H
#define PORTABLE_BCE_PRIMITIVES_H

#include <stdint.h>
#include <string.h>

/* BEGIN COEFFICIENTS (printed by coefficients.py) */
#define LOG2_E 1.4426950408889634
#define LN2 0.6931471805599453
#define LN2_HIGH 0.6931471805598903
#define LN2_LOW 5.497923018708371e-14
/* The relative error is 4.6e-12, which is 2^-37.7. */
static const double EXP_SINGLE[] = {
    0.5,
    0.166666667191548,
    0.04166666671913807,
    0.008333298413941455,
    0.0013888853979832356,
    0.00019899332056564083,
    2.485963629410833e-05,
};
/* The relative error is 4.8e-19, which is 2^-60.9. */
static const double EXP_DOUBLE[] = {
    0.33333333333333337,
    0.08333333333333333,
    0.016666666666660102,
    0.002777777777777309,
    0.00039682539726211937,
    4.960317463436377e-05,
    5.5114536757368385e-06,
    5.511456582296536e-07,
    5.0200848314010134e-08,
    4.182252847839217e-09,
};
/* The relative error is 2.7e-13, which is 2^-41.8. */
static const double LOG1P_SINGLE[] = {
    0.08333333333387272,
    0.012499999881188412,
    0.0022321471120369156,
    0.00043397093203745334,
    8.91372238710582e-05,
    1.76343931095963e-05,
    5.818417036684834e-06,
};
/* The relative error is 1.4e-19, which is 2^-62.7. */
static const double LOG1P_DOUBLE[] = {
    0.08333333333333333,
    0.012499999999999852,
    0.0022321428571562578,
    0.00043402777730931194,
    8.877841747052107e-05,
    1.8779960894605164e-05,
    4.069573556960833e-06,
    8.9525444498468e-07,
    2.068553618408206e-07,
    3.572532556319602e-08,
    1.8633100749162258e-08,
};
/* END COEFFICIENTS */

/* The compiler must not decide: a function that is called, because the loop around it is long
 * already, keeps that loop from vectorising, and nothing says so. */
#define PRIMITIVE static inline __attribute__((always_inline))

/* POLYNOMIAL_n(c, x, xx) has n terms c[i] x^i; xx is x * x. Its even and its odd terms are
 * summed apart, by Horner's rule in x^2, because one chain of fma twice as long would leave
 * the CPU waiting. The array is constant, so its elements become constants in the code. */
#define EVERY_SECOND_2(c, xx) __builtin_fma((c)[2], xx, (c)[0])
#define EVERY_SECOND_3(c, xx) __builtin_fma(EVERY_SECOND_2((c) + 2, xx), xx, (c)[0])
#define EVERY_SECOND_4(c, xx) __builtin_fma(EVERY_SECOND_3((c) + 2, xx), xx, (c)[0])
#define EVERY_SECOND_5(c, xx) __builtin_fma(EVERY_SECOND_4((c) + 2, xx), xx, (c)[0])
#define EVERY_SECOND_6(c, xx) __builtin_fma(EVERY_SECOND_5((c) + 2, xx), xx, (c)[0])
#define POLYNOMIAL_7(c, x, xx) __builtin_fma(EVERY_SECOND_3((c) + 1, xx), x, EVERY_SECOND_4(c, xx))
#define POLYNOMIAL_10(c, x, xx) __builtin_fma(EVERY_SECOND_5((c) + 1, xx), x, EVERY_SECOND_5(c, xx))
#define POLYNOMIAL_11(c, x, xx) __builtin_fma(EVERY_SECOND_5((c) + 1, xx), x, EVERY_SECOND_6(c, xx))

/* Bits and infinities.
 * The integers are unsigned, because a left shift of a negative number is undefined, and
 * because AVX2 has no arithmetic shift of 64-bit integers. */

PRIMITIVE uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

PRIMITIVE double from_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* isinf() of math.h may be a call, and a call keeps a loop from vectorising. */
PRIMITIVE int is_infinite(double x)
{
    return (x > 1.7976931348623157e308) | (x < -1.7976931348623157e308);
}

/* Pairs.
 *
 * A pair stands for high + low. The low part is small, but it may be larger than half an ULP of
 * the high part (a few per cent of it after log1p, any size after a cancellation). No function
 * here relies on less unless its comment says so.
 *
 * The high part of every result is computed from high parts alone, as if low parts did not
 * exist: where infinities make a low part NaN, the high part is still right, and pair_rounded
 * returns it. */

typedef struct {
    double high, low;
} pair;

PRIMITIVE pair pair_of(double x)
{
    return (pair){x, 0.0};
}

PRIMITIVE double pair_rounded(pair a)
{
    double sum = a.high + a.low;
    return sum == sum ? sum : a.high;
}

/* a + b, exactly (Knuth). */
PRIMITIVE pair two_sum(double a, double b)
{
    double sum = a + b;
    double b_used = sum - a;
    double a_used = sum - b_used;
    return (pair){sum, (a - a_used) + (b - b_used)};
}

/* a + b, exactly, where a = 0 or |a| >= |b| (Dekker). */
PRIMITIVE pair fast_two_sum(double a, double b)
{
    double sum = a + b;
    return (pair){sum, b - (sum - a)};
}

/* a * b, exactly unless the product is subnormal. */
PRIMITIVE pair two_product(double a, double b)
{
    double product = a * b;
    return (pair){product, __builtin_fma(a, b, -product)};
}

/* a / b. The remainder of the rounded quotient is exact, and becomes the low part. */
PRIMITIVE pair two_quotient(double a, double b)
{
    double quotient = a / b;
    return (pair){quotient, __builtin_fma(-quotient, b, a) / b};
}

PRIMITIVE pair pair_negate(pair a)
{
    return (pair){-a.high, -a.low};
}

/* a * b, exactly, where b is 1, -1 or another power of two. */
PRIMITIVE pair pair_scale(pair a, double b)
{
    return (pair){a.high * b, a.low * b};
}

PRIMITIVE pair pair_select(int condition, pair a, pair b)
{
    return (pair){condition ? a.high : b.high, condition ? a.low : b.low};
}

PRIMITIVE pair pair_add_number(pair a, double b)
{
    pair sum = two_sum(a.high, b);
    return (pair){sum.high, sum.low + a.low};
}

PRIMITIVE pair pair_add(pair a, pair b)
{
    pair sum = two_sum(a.high, b.high);
    return (pair){sum.high, sum.low + (a.low + b.low)};
}

PRIMITIVE pair pair_subtract_number(pair a, double b)
{
    return pair_add_number(a, -b);
}

PRIMITIVE pair pair_subtract(pair a, pair b)
{
    return pair_add(a, pair_negate(b));
}

PRIMITIVE pair number_subtract_pair(double a, pair b)
{
    return pair_add_number(pair_negate(b), a);
}

PRIMITIVE pair pair_multiply_number(pair a, double b)
{
    pair product = two_product(a.high, b);
    return (pair){product.high, __builtin_fma(a.low, b, product.low)};
}

/* The product of both low parts counts, too: neither need be small. */
PRIMITIVE pair pair_multiply(pair a, pair b)
{
    pair product = two_product(a.high, b.high);
    double low = __builtin_fma(a.low, b.high + b.low, product.low);
    return (pair){product.high, __builtin_fma(a.high, b.low, low)};
}

PRIMITIVE pair pair_divide_number(pair a, double b)
{
    double quotient = a.high / b;
    double remainder = __builtin_fma(-quotient, b, a.high) + a.low;
    return (pair){quotient, remainder / b};
}

PRIMITIVE pair number_divide_pair(double a, pair b)
{
    double quotient = a / b.high;
    double remainder = __builtin_fma(-quotient, b.low, __builtin_fma(-quotient, b.high, a));
    return (pair){quotient, remainder / (b.high + b.low)};
}

PRIMITIVE pair pair_divide(pair a, pair b)
{
    double quotient = a.high / b.high;
    double remainder = __builtin_fma(-quotient, b.high, a.high) + a.low;
    remainder = __builtin_fma(-quotient, b.low, remainder);
    return (pair){quotient, remainder / (b.high + b.low)};
}

/* exp(z) for z <= 0.
 *
 * z = k ln2 + r with an integer k and |r| <= ln2 / 2. Below -746 the result is 0 as at -746,
 * and the clamp keeps k within reach of the exponent's bits; a NaN passes through it. */

/* Adding this rounds to an integer and leaves that integer + 2046 in the lowest bits. */
#define EXPONENT_MAGIC (6755399441055744.0 + 2046.0)

PRIMITIVE double exp_clamp(double z)
{
    return z < -746.0 ? -746.0 : z;
}

/* The two powers of two whose product is 2^k, from the double that holds k + 2046. There are
 * two, because 2^k itself may be subnormal; only the second multiplication may round. */
PRIMITIVE pair exp_scales(double shifted)
{
    uint64_t exponent = bits_of(shifted), half = exponent >> 1;
    return (pair){from_bits(half << 52), from_bits((exponent - half) << 52)};
}

PRIMITIVE double exp_single(double z)
{
    double clamped = exp_clamp(z);
    double shifted = __builtin_fma(clamped, LOG2_E, EXPONENT_MAGIC);
    double k = shifted - EXPONENT_MAGIC;
    double r = __builtin_fma(k, -LN2, clamped);
    double square = r * r;
    double power = 1.0 + __builtin_fma(square, POLYNOMIAL_7(EXP_SINGLE, r, square), r);
    pair scales = exp_scales(shifted);
    return power * scales.high * scales.low;
}

/* exp(r) = 1 + r + (r^2/2) (1 + r P(r)). The terms 1, r and r^2/2 are summed exactly; their
 * roundings and the rest become the low part. The result is normalised. Where it is
 * subnormal, each part is rounded by the last multiplication, and their sum is within 0.76
 * ULP. */
PRIMITIVE pair exp_double(double z)
{
    double clamped = exp_clamp(z);
    double shifted = __builtin_fma(clamped, LOG2_E, EXPONENT_MAGIC);
    double k = shifted - EXPONENT_MAGIC;
    /* k LN2_HIGH has at most 53 bits, so this difference is exact. */
    pair r = fast_two_sum(__builtin_fma(k, -LN2_HIGH, clamped), k * -LN2_LOW);
    double x = r.high;
    pair linear = fast_two_sum(1.0, x);
    pair square = two_product(0.5 * x, x);
    pair sum = fast_two_sum(linear.high, square.high);
    /* exp(r.high + r.low) is exp(r.high) (1 + r.low), and sum.high is near exp(r.high). */
    double tail = __builtin_fma(r.low, sum.high, square.low);
    tail = __builtin_fma(square.high * x, POLYNOMIAL_10(EXP_DOUBLE, x, x * x), tail);
    pair power = fast_two_sum(sum.high, (linear.low + sum.low) + tail);
    pair scales = exp_scales(shifted);
    return (pair){power.high * scales.high * scales.low, power.low * scales.high * scales.low};
}

/* log1p(f) for f from sqrt(1/2) - 1 to 1.
 *
 * log1p(f) = 2 artanh(t / 2) = t + t^3/12 + t^5/80 + ... with t = 2 f / (2 + f). The doubled
 * quotient is exact for a subnormal f, where f / (2 + f) would lose a bit. */

PRIMITIVE double log1p_single(double f)
{
    double t = (f + f) / (2.0 + f), square = t * t;
    return __builtin_fma(t * square, POLYNOMIAL_7(LOG1P_SINGLE, square, square * square), t);
}

/* f is normalised. The result is not: its low part is up to t^3/11, 4 % of the high part. */
PRIMITIVE pair log1p_double(pair f)
{
    pair denominator = fast_two_sum(2.0, f.high);
    denominator.low += f.low;
    pair t = pair_divide(pair_scale(f, 2.0), denominator);
    double square = t.high * t.high;
    /* The derivative of 2 artanh(t / 2) is 1 + t^2/4 and less than 0.02 more. */
    double low = __builtin_fma(t.low, 0.25 * square, t.low);
    low = __builtin_fma(t.high * square, POLYNOMIAL_11(LOG1P_DOUBLE, square, square * square), low);
    return (pair){t.high, low};
}

/* log(x), and log1p(v) for any v.
 *
 * x = 2^k m with m from sqrt(1/2) to sqrt(2), so log(x) = k ln2 + log1p(m - 1). */

typedef struct {
    double exponent, mantissa, inverse_power; /* k, m, and 2^-k, which is valid for k < 1023 */
} logarithm_parts;

/* x is positive and normal; for any other x the result is arbitrary. */
PRIMITIVE logarithm_parts split_power(double x)
{
    const uint64_t one = UINT64_C(0x3ff0000000000000), sqrt_half = UINT64_C(0x3fe6a09e00000000);
    /* After this addition the exponent's bits change at sqrt(1/2) instead of at 1. */
    uint64_t bits = bits_of(x) + (one - sqrt_half), biased = bits >> 52;
    logarithm_parts parts;
    /* The double with these bits is 2^52 + biased, and biased is k + 1023. */
    parts.exponent = from_bits(biased | UINT64_C(0x4330000000000000)) - 4503599627371519.0;
    parts.mantissa = from_bits((bits & UINT64_C(0x000fffffffffffff)) + sqrt_half);
    parts.inverse_power = from_bits((2046 - biased) << 52);
    return parts;
}

/* Subnormal numbers are lifted by 2^54 first. */
PRIMITIVE logarithm_parts split_power_any(double x)
{
    int subnormal = x < 2.2250738585072014e-308;
    logarithm_parts parts = split_power(x * (subnormal ? 18014398509481984.0 : 1.0));
    parts.exponent -= subnormal ? 54.0 : 0.0;
    return parts;
}

/* The logarithm of x where that is special, else `value`. The bits alone would give a number
 * for a negative x. */
PRIMITIVE double log_or_special(double x, double value)
{
    double special = x == 0.0 ? -__builtin_inf() : __builtin_nan("");
    double positive = x > 1.7976931348623157e308 ? x : value;
    return x > 0.0 ? positive : special;
}

PRIMITIVE pair log_of_parts(double k, pair log_mantissa)
{
    /* k is 0 or |k ln2| > |log(m)|, and k LN2_HIGH is exact. */
    pair sum = fast_two_sum(k * LN2_HIGH, log_mantissa.high);
    return (pair){sum.high, sum.low + __builtin_fma(k, LN2_LOW, log_mantissa.low)};
}

PRIMITIVE double log_single(double x)
{
    logarithm_parts parts = split_power_any(x);
    double log_mantissa = log1p_single(parts.mantissa - 1.0);
    return log_or_special(x, __builtin_fma(parts.exponent, LN2, log_mantissa));
}

PRIMITIVE pair log_double(double x)
{
    logarithm_parts parts = split_power_any(x);
    pair result = log_of_parts(parts.exponent, log1p_double(pair_of(parts.mantissa - 1.0)));
    return (pair){log_or_special(x, result.high), result.low};
}

/* log1p(v) for v from -1 to 0. Any v below 2^1023 is right, too, so that a probability outside
 * [0, 1] gives what the formula says. 1 + v is rounded to x = 2^k m; that rounding is divided
 * by 2^k and joins m - 1, which is exact. */
PRIMITIVE double log1p_negative_single(double v)
{
    double x = 1.0 + v, rounding = v - (x - 1.0);
    logarithm_parts parts = split_power(x);
    double f = __builtin_fma(rounding, parts.inverse_power, parts.mantissa - 1.0);
    return log_or_special(x, __builtin_fma(parts.exponent, LN2, log1p_single(f)));
}

PRIMITIVE pair log1p_negative_double(double v)
{
    pair x = two_sum(1.0, v);
    logarithm_parts parts = split_power(x.high);
    pair f = fast_two_sum(parts.mantissa - 1.0, x.low * parts.inverse_power);
    pair result = log_of_parts(parts.exponent, log1p_double(f));
    return (pair){log_or_special(x.high, result.high), result.low};
}

#endif
