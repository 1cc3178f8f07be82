/* The largest errors of the kernels over a range of logits, in ULP of the exact result.

       sweep DTYPE TARGETS FIRST LAST STEP COUNT SEED

   FIRST to LAST are bit patterns of |x|. With COUNT = 0 the logits are one pattern in STEP, of
   both signs; else they are COUNT random ones. One line is printed for each of loss, grad and
   hess: name, points, ULP, and the x, y, w, p, u and result of the largest error.

   The exact values are written from the definition, in WIDE: double for dtypes up to float32,
   of which it has 29 bits more, and long double for float64, where that has 11 bits more. Both
   come from the C library, whose exp and log1p are within an ULP of WIDE. */
#include "call.h"

#include <math.h>
#include <tgmath.h>

typedef WIDE wide;

enum { POINTS = 1 << 14, LONGEST = 16384, VALUES = 3 };
static const char *const value_names[VALUES] = {"loss", "grad", "hess"};

typedef struct {
    double eps, smallest, largest;
} format;
static const format formats[DTYPES] = {
    {0x1p-10, 0x1p-24, 65504.0},
    {0x1p-7, 0x1p-133, 0x1.fep127},
    {0x1p-23, 0x1p-149, 0x1.fffffep127},
    {0x1p-52, 0x1p-1074, 0x1.fffffffffffffp1023},
};

/* The points: numbers that the dtype holds, and what the engine reads and fills. */
static double x[LONGEST], y[LONGEST], w[LONGEST], p[LONGEST], got[LONGEST];
static wide loss_right[LONGEST], loss_wrong[LONGEST], small[LONGEST];
static wide exact[VALUES][LONGEST], scale[LONGEST], off[LONGEST];
static uint64_t raw[4][LONGEST], raw_loss[LONGEST], raw_grad[LONGEST], raw_slope[LONGEST],
    raw_hess[LONGEST];

static struct {
    double ulps, x, y, w, p, got;
} worst[VALUES];

/* ---- numbers and their bits ---- */

static double half_values[1 << 16];

static double of_bits(int dtype, uint64_t bits)
{
    if (dtypes[dtype].size == 8) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    const int is_half = dtypes[dtype].type == FLOAT16, is_short = dtypes[dtype].size == 2;
    if (is_half) {
        const double sign = bits >> 15 & 1 ? -1.0 : 1.0, mantissa = (double)(bits & 0x3ff);
        const int exponent = (int)(bits >> 10 & 0x1f);
        if (exponent == 0x1f)
            return mantissa != 0 ? (double)NAN : sign * (double)INFINITY;
        return sign * (exponent ? ldexp(1024.0 + mantissa, exponent - 25) : ldexp(mantissa, -24));
    }
    const uint32_t word = (uint32_t)(is_short ? bits << 16 : bits);
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* Round to float32 or float64; halves are only drawn by their bits. */
static double rounded(int dtype, double value)
{
    return dtypes[dtype].size == 4 ? (double)(float)value : value;
}

static void pack(int dtype, void *to, const double *from, ptrdiff_t n)
{
    if (dtypes[dtype].size == 8)
        memcpy(to, from, (size_t)n * sizeof *from);
    else
        for (ptrdiff_t i = 0; i < n; i++)
            ((float *)to)[i] = (float)from[i];
}

static void unpack(int dtype, double *to, const void *from, ptrdiff_t n)
{
    if (dtypes[dtype].size == 8)
        memcpy(to, from, (size_t)n * sizeof *to);
    else if (dtypes[dtype].size == 4)
        for (ptrdiff_t i = 0; i < n; i++)
            to[i] = (double)((const float *)from)[i];
    else
        for (ptrdiff_t i = 0; i < n; i++)
            to[i] = half_values[((const uint16_t *)from)[i]];
}

/* ---- targets: what is drawn for a logit ---- */

enum targets { HARD, UNIFORM, THOUSANDTH, TEN_MILLIONTH, NEXT, WEIGHT_ONLY, POS_WEIGHT_ONLY,
               EVERYTHING, EVERY_TARGET, TARGET_CLASSES };
static const char *const target_names[TARGET_CLASSES + 1] = {
    "hard", "uniform", "1e-3 from 0 or 1", "1e-7 from 0 or 1", "next to sigmoid(x)", "weight",
    "pos_weight", "weight, pos_weight, smoothing", "every one in [0, 1]", NULL,
};

static double drawn_target(enum targets of, int dtype, double logit, uint64_t *state)
{
    const double u = random_unit(state);
    const int heads = (int)(random_bits(state) & 1);
    if (of == THOUSANDTH || of == TEN_MILLIONTH) {
        const double away = (of == THOUSANDTH ? 1e-3 : 1e-7) * (0.5 + 1.5 * u);
        return rounded(dtype, heads ? away : 1.0 - away);
    }
    if (of == NEXT) {
        const double e = exp(-fabs(logit)), sigmoid = logit >= 0 ? 1 / (1 + e) : e / (1 + e);
        const double near = sigmoid * (1 + formats[dtype].eps * (floor(9 * u) - 4));
        return rounded(dtype, near < 1.0 ? near : 1.0);
    }
    if (of == HARD || (of >= WEIGHT_ONLY && heads))
        return u < 0.5 ? 0.0 : 1.0;
    return rounded(dtype, u);
}

static double drawn_factor(int dtype, uint64_t *state)
{
    return rounded(dtype, exp2(20.0 * random_unit(state) - 10.0));
}

/* ---- exact values ---- */

/* Set what |x| alone decides: softplus where the sign is right and wrong, and sigmoid(-|x|). */
static void set_exact_of_logit(ptrdiff_t i, wide size)
{
    const wide e = exp(-size);
    loss_right[i] = log1p(e);
    loss_wrong[i] = size + loss_right[i];
    small[i] = e / (1 + e);
}

static void set_exact(ptrdiff_t n, double smoothing)
{
    const wide u = smoothing;
    for (ptrdiff_t i = 0; i < n; i++) {
        const wide target = y[i], weight = w[i];
        const wide a = weight * p[i] * (target * (1 - u) + u / 2);
        const wide b = weight * ((1 - target) * (1 - u) + u / 2);
        const int up = x[i] >= 0;
        const wide large = 1 - small[i]; /* at least 1/2, so nothing cancels */
        exact[0][i] = a * (up ? loss_right[i] : loss_wrong[i])
                      + b * (up ? loss_wrong[i] : loss_right[i]);
        exact[1][i] = b * (up ? large : small[i]) - a * (up ? small[i] : large);
        exact[2][i] = (a + b) * (small[i] * large);
        scale[i] = (a + b) * small[i];
    }
}

/* ---- errors ---- */

/* The power of two at or below a number. */
static inline wide binade(wide value)
{
#if defined(PRECISE)
    int exponent;
    frexp(value, &exponent);
    return value > 0 ? ldexp((wide)1, exponent - 1) : 0;
#else
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= UINT64_C(0x7ff0000000000000);
    memcpy(&value, &bits, sizeof bits);
    return value;
#endif
}

static void judge(int value, int dtype, ptrdiff_t n, int lifts)
{
    const format form = formats[dtype];
    for (ptrdiff_t i = 0; i < n; i++) {
        const wide right = exact[value][i], size = fabs(right);
        const wide larger = value == 1 && scale[i] > size ? scale[i] : size;
        /* For float64 there is no wider format to compute in: a weight scales what a subnormal
           number has lost. */
        const wide lift = lifts && w[i] * (1 + p[i]) > 1 ? w[i] * (1 + p[i]) : 1;
        const wide unit = binade(larger) * form.eps, floor = form.smallest * lift;
        wide error = fabs(got[i] - right) / (unit > floor ? unit : floor);
        if (size > form.largest)
            error = fabs(got[i]) >= form.largest && (got[i] > 0) == (right > 0) ? 0 : INFINITY;
        off[i] = error >= 0 ? error : (wide)INFINITY; /* a NaN is as wrong as can be */
    }
    for (ptrdiff_t i = 0; i < n; i++)
        if (off[i] > worst[value].ulps) {
            worst[value].ulps = (double)off[i];
            worst[value].x = x[i];
            worst[value].y = y[i];
            worst[value].w = w[i];
            worst[value].p = p[i];
            worst[value].got = got[i];
        }
}

/* ---- a block of points ---- */

static void measure(enum targets of, int dtype, ptrdiff_t n)
{
    static call c;
    const int weighted = of == WEIGHT_ONLY || of == EVERYTHING;
    const int pos_weighted = of == POS_WEIGHT_ONLY || of == EVERYTHING;
    const double smoothing = of == EVERYTHING ? 0.1 : 0.0;
    void *const results[2][2] = {{raw_loss, raw_grad}, {raw_slope, raw_hess}};
    for (int pass = 0; pass < 2; pass++) {
        begin(&c, "with_logits", pass ? "grad,hess" : "loss,grad", dtype, 0, n);
        set_factors(&c, weighted, pos_weighted, smoothing);
        give(&c, X, raw[0], dtype);
        give(&c, TARGETS, raw[1], dtype);
        if (weighted)
            give(&c, WEIGHT, raw[2], dtype);
        if (pos_weighted)
            give(&c, POS_WEIGHT, raw[3], dtype);
        give(&c, FIRST, results[pass][0], dtype);
        give(&c, SECOND, results[pass][1], dtype);
        run(&c);
    }
    if (memcmp(raw_grad, raw_slope, (size_t)(n * dtypes[dtype].size))) {
        fputs("the gradient depends on what else is asked for\n", stderr);
        exit(1);
    }
    set_exact(n, smoothing);
    void *const filled[VALUES] = {raw_loss, raw_grad, raw_hess};
    for (int value = 0; value < VALUES; value++) {
        unpack(dtype, got, filled[value], n);
        judge(value, dtype, n, dtypes[dtype].size == 8 && (weighted || pos_weighted));
    }
}

/* Measure each target between 0 and 1 with a logit. */
static int64_t measure_pairs(int dtype, uint64_t bits)
{
    uint16_t *logits = (uint16_t *)raw[0], *targets = (uint16_t *)raw[1];
    const double value = of_bits(dtype, bits);
    ptrdiff_t n = 0;
    set_exact_of_logit(0, fabs((wide)value));
    for (double target = 0.0; target <= 1.0; n++, target = half_values[n]) {
        logits[n] = (uint16_t)bits;
        targets[n] = (uint16_t)n;
        x[n] = value;
        y[n] = target;
        w[n] = p[n] = 1.0;
        loss_right[n] = loss_right[0];
        loss_wrong[n] = loss_wrong[0];
        small[n] = small[0];
    }
    measure(EVERY_TARGET, dtype, n);
    return n;
}

int main(int count, char **given)
{
    if (count != 8) {
        fputs("usage: sweep DTYPE TARGETS FIRST LAST STEP COUNT SEED\n", stderr);
        return 2;
    }
    const int dtype = dtype_of(given[1]);
    const enum targets of = (enum targets)number_of(target_names, given[2]);
    const uint64_t first = strtoull(given[3], NULL, 0), last = strtoull(given[4], NULL, 0);
    const uint64_t step = strtoull(given[5], NULL, 0), drawn = strtoull(given[6], NULL, 0);
    uint64_t state = strtoull(given[7], NULL, 0) ^ first << 8;
    const uint64_t logits = drawn ? drawn : (last - first + step - 1) / step;
    int64_t points = 0;
    if (dtypes[dtype].size == 2) {
        for (int i = 0; i < 1 << 16; i++)
            half_values[i] = of_bits(dtype, (uint64_t)i);
        for (uint64_t bits = first; bits < last; bits += step)
            points += measure_pairs(dtype, bits) + measure_pairs(dtype, bits | 0x8000);
        goto report;
    }
    /* Each logit has both signs; with hard targets, both of them. */
    const int copies = of == HARD ? 4 : 2;
    const ptrdiff_t most = POINTS / copies;
    for (uint64_t done = 0; done < logits; done += (uint64_t)most) {
        const ptrdiff_t n = logits - done < (uint64_t)most ? (ptrdiff_t)(logits - done) : most;
        for (ptrdiff_t i = 0; i < n; i++) {
            uint64_t bits = first + (done + (uint64_t)i) * step;
            if (drawn)
                bits = first + random_bits(&state) % (last - first);
            else if (step > 1)
                bits += random_bits(&state) % (last - bits < step ? last - bits : step);
            x[i] = of_bits(dtype, bits);
            set_exact_of_logit(i, x[i]);
        }
        for (int copy = copies - 1; copy >= 0; copy--)
            for (ptrdiff_t i = 0; i < n; i++) {
                const ptrdiff_t at = copy * n + i;
                x[at] = copy & 1 ? -x[i] : x[i];
                loss_right[at] = loss_right[i];
                loss_wrong[at] = loss_wrong[i];
                small[at] = small[i];
                y[at] = of == HARD ? copy >> 1 : drawn_target(of, dtype, x[at], &state);
                w[at] = of == WEIGHT_ONLY || of == EVERYTHING ? drawn_factor(dtype, &state) : 1.0;
                p[at] = of == POS_WEIGHT_ONLY || of == EVERYTHING ? drawn_factor(dtype, &state)
                                                                  : 1.0;
            }
        pack(dtype, raw[0], x, copies * n);
        pack(dtype, raw[1], y, copies * n);
        pack(dtype, raw[2], w, copies * n);
        pack(dtype, raw[3], p, copies * n);
        measure(of, dtype, copies * n);
        points += copies * n;
    }
report:
    for (int value = 0; value < VALUES; value++)
        printf("%s %lld %.17g %a %a %a %a %a %a\n", value_names[value], (long long)points,
               worst[value].ulps, worst[value].x, worst[value].y, worst[value].w, worst[value].p,
               of == EVERYTHING ? 0.1 : 0.0, worst[value].got);
    return 0;
}
