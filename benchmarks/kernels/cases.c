/* The bits of the kernels' results, to compare those of two levels or of two compilers.

       cases N SEED           one line per kind of call, with a digest of its results for N
                              random elements
       cases N SEED CALL      the elements of that call, each with its operands and results
       cases < LINES          lines of dtype, x, y, weight, pos_weight and smoothing; prints the
                              bits of loss, gradient and Hessian of each

   Nothing here calls exp or log of the C library, because the operands must be the same on every
   machine. One NaN stands for all: its sign and payload are the processor's choice. */
#include "call.h"

#include <fenv.h>
#include <math.h>

enum { SMALL = 1 << 10, RESULTS = 2 };

typedef struct {
    const char *name, *formula;
    const char *const *outputs;
    int factors; /* how many of the sets of factors the formula is compiled for */
} family;

static const char *const all_outputs[] = {"loss", "loss,grad", "grad", "grad,hess",
                                          "grad_targets", NULL};
static const char *const only_loss[] = {"loss", NULL};
static const family families[] = {
    {"logits", "with_logits", all_outputs, 4},
    {"probabilities", "with_probabilities", all_outputs, 4},
    {"clamped probabilities", "with_clamped_probabilities", all_outputs, 4},
    {"product with a cotangent", "cotangent_product", only_loss, 2},
    {"terms of a denominator", "denominator_terms", only_loss, 2},
};
static const char *const factor_names[] = {"no factors", "weight", "weight and smoothing",
                                           "weight, pos_weight and smoothing"};
enum { FAMILIES = sizeof families / sizeof *families };

/* How the elements are laid out and what becomes of the losses. */
enum shape { ELEMENTWISE, DIVIDED, STATE, TOTAL, ROWS, COLUMNS, THREADS, SHAPES };
static const char *const shape_names[SHAPES] = {
    "one each", "one each, divided and masked", "one each, rounding upwards", "total", "sums of rows", "sums of columns",
    "total by three threads",
};

static double *operands[DIVISOR + 1];
static unsigned char *packed[ROLES], *mask;

/* ---- numbers as bits of a dtype ---- */

static uint64_t bits_of_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t half_bits(double value)
{
    const uint64_t sign = bits_of_double(value) >> 63 << 15;
    const double size = fabs(value);
    if (size != size)
        return 0x7e00;
    if (size >= 65520.0)
        return sign | 0x7c00;
    int exponent;
    frexp(size, &exponent);
    const int least = exponent < -13 ? -13 : exponent; /* that of the smallest normal number */
    const uint64_t units = (uint64_t)rint(ldexp(size, 11 - least));
    /* A normal number has 1024 units or more, and its exponent's field counts one of them. */
    return sign | (units + (uint64_t)(least + 13) * 1024);
}

static uint64_t bits_in(int dtype, double value)
{
    switch (dtypes[dtype].type) {
    case FLOAT16: return half_bits(value);
    case BFLOAT16: return bits_of_float((float)value) >> 16;
    case FLOAT32: return bits_of_float((float)value);
    default: return bits_of_double(value);
    }
}

static void pack(int dtype, unsigned char *to, const double *from, ptrdiff_t n)
{
    const size_t size = (size_t)dtypes[dtype].size;
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint64_t bits = bits_in(dtype, from[i]);
        memcpy(to + (size_t)i * size, &bits, size); /* the machines are little-endian */
    }
}

/* Return the bits of an element, with one NaN for all. */
static uint64_t element(int dtype, const unsigned char *from, ptrdiff_t i)
{
    static const uint64_t infinity[] = {0x7c00, 0x7f80, 0x7f800000, UINT64_C(0x7ff0000000000000)};
    static const uint64_t sign[] = {0x8000, 0x8000, 0x80000000, UINT64_C(0x8000000000000000)};
    const size_t size = (size_t)dtypes[dtype].size;
    uint64_t bits = 0;
    memcpy(&bits, from + (size_t)i * size, size);
    return (bits & ~sign[dtype]) > infinity[dtype] ? infinity[dtype] + 1 : bits;
}

/* ---- operands ---- */

static double any_power(uint64_t *state, int least, int most)
{
    const int exponent = least + (int)(random_bits(state) % (uint64_t)(most - least));
    return ldexp(1.0 + random_unit(state), exponent);
}

static double any_double(uint64_t *state)
{
    const uint64_t bits = random_bits(state);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double drawn_logit(uint64_t *state)
{
    static const double edges[] = {
        0.0, -0.0, 5e-324, 1e-310, 1e-45, 1e-38, 0x1p-54, 1.0, 16.6, 17.3, 36.7, 87.4, 88.8,
        103.98, 104.0, 708.4, 709.8, 745.1, 745.2, 746.0, 1e4, 3e38, 1e308, INFINITY, NAN,
    };
    const uint64_t kind = random_bits(state) % 16;
    const double sign = random_bits(state) & 1 ? -1.0 : 1.0;
    if (kind < 8)
        return 80.0 * random_unit(state) - 40.0;
    if (kind < 10)
        return sign * 800.0 * random_unit(state);
    if (kind < 13)
        return sign * any_power(state, -140, 128);
    if (kind < 15)
        return any_double(state);
    return sign * edges[random_bits(state) % (sizeof edges / sizeof *edges)];
}

static double drawn_probability(uint64_t *state)
{
    static const double edges[] = {0.0, -0.0, 1.0, 0.5, 5e-324, 1e-310, 1e-45, 1e-38, 0x1p-54,
                                   -0.25, 1.25, 2.0, INFINITY, -INFINITY, NAN};
    const uint64_t kind = random_bits(state) % 16;
    if (kind < 8)
        return random_unit(state);
    if (kind < 11)
        return any_power(state, -149, -1);
    if (kind < 14)
        return 1.0 - any_power(state, -53, -2);
    if (kind < 15)
        return any_double(state);
    return edges[random_bits(state) % (sizeof edges / sizeof *edges)];
}

static double drawn_weight(uint64_t *state)
{
    const uint64_t kind = random_bits(state) % 16;
    if (kind == 0)
        return 0.0;
    return kind < 14 ? any_power(state, -10, 10) : any_power(state, -149, 127);
}

/* Draw all operands. A quarter of the targets are what the kernels say the sigmoid is, where the
   gradient cancels. */
static void draw(int is_logits, int dtype, ptrdiff_t n, uint64_t *state)
{
    static call c;
    for (ptrdiff_t i = 0; i < n; i++) {
        operands[X][i] = is_logits ? drawn_logit(state) : drawn_probability(state);
        operands[WEIGHT][i] = drawn_weight(state);
        operands[POS_WEIGHT][i] = drawn_weight(state);
        operands[DIVISOR][i] = drawn_weight(state);
        mask[i] = random_bits(state) % 4 > 0;
    }
    pack(dtype, packed[X], operands[X], n);
    if (is_logits) {
        static const double zero = 0.0;
        begin(&c, "with_logits", "grad", dtype, 0, n);
        give(&c, X, packed[X], dtype);
        give_number(&c, TARGETS, &zero);
        give(&c, FIRST, packed[TARGETS], dtype);
        run(&c);
    } else {
        memcpy(packed[TARGETS], packed[X], (size_t)(n * dtypes[dtype].size));
    }
    const size_t size = (size_t)dtypes[dtype].size;
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint64_t kind = random_bits(state) % 4;
        const double drawn = kind == 1 ? (double)(random_bits(state) & 1) : random_unit(state);
        if (kind)
            pack(dtype, packed[TARGETS] + (size_t)i * size, &drawn, 1);
    }
    pack(dtype, packed[WEIGHT], operands[WEIGHT], n);
    pack(dtype, packed[POS_WEIGHT], operands[POS_WEIGHT], n);
}

/* ---- calls ---- */

/* Run a call where the caller rounds upwards and takes subnormal numbers for 0, which must not
   change the results, and must still be so afterwards. */
static void run_in_another_state(call *c)
{
    fenv_t before;
    fegetenv(&before);
#if defined(__x86_64__)
    unsigned int set = 0x1f80 | 0x4000 | 0x8040, after; /* upwards, FTZ and DAZ */
    __asm__ volatile("ldmxcsr %0" : : "m"(set));
    run(c);
    __asm__ volatile("stmxcsr %0" : "=m"(after));
    const int is_kept = after == set;
#else
    uint64_t set = 1 << 22 | 1 << 24, after; /* upwards and FZ */
    __asm__ volatile("msr fpcr, %0" : : "r"(set));
    run(c);
    __asm__ volatile("mrs %0, fpcr" : "=r"(after));
    const int is_kept = after == set;
#endif
    fesetenv(&before);
    if (!is_kept) {
        fputs("a call changed the caller's floating-point state\n", stderr);
        exit(1);
    }
}

static uint64_t digest(int dtype, const unsigned char *from, ptrdiff_t n, uint64_t before)
{
    for (ptrdiff_t i = 0; i < n; i++)
        before = (before ^ element(dtype, from, i)) * UINT64_C(0x100000001b3);
    return before;
}

/* Evaluate a call, and return a digest of its results; print its elements where asked. */
static uint64_t evaluated(const family *of, const char *outputs, int factors, enum shape shape,
                          int dtype, ptrdiff_t n, int is_printed)
{
    static call c;
    const int results = strchr(outputs, ',') ? 2 : 1;
    const int is_two = shape == ROWS || shape == COLUMNS;
    const ptrdiff_t rows = is_two ? (n < 64 ? n : 37) : 0, columns = is_two ? n / rows : n;
    const ptrdiff_t elements = is_two ? rows * columns : n;
    const int is_masked = shape != ELEMENTWISE && shape != STATE;
    begin(&c, of->formula, outputs, dtype, rows, columns);
    set_factors(&c, factors > 0, factors > 2, factors > 1 ? 0.1 : 0.0);
    c.eps = strstr(of->formula, "clamped") ? 1e-7 : 0.0;
    c.threads = shape == THREADS ? 3 : 1;
    give(&c, X, packed[X], dtype);
    give(&c, TARGETS, packed[TARGETS], dtype);
    if (factors > 0)
        give(&c, WEIGHT, packed[WEIGHT], dtype);
    if (factors > 2)
        give(&c, POS_WEIGHT, packed[POS_WEIGHT], dtype);
    if (is_masked) {
        c.operands[MASK].data = (char *)mask;
        c.operands[MASK].type = BOOL;
        for (int i = c.dims - 1, stride = 1; i >= 0; i--) {
            c.operands[MASK].stride[i] = stride;
            stride *= (int)c.shape[i];
        }
        c.present[MASK] = 1;
    }
    if (shape == DIVIDED)
        give(&c, DIVISOR, operands[DIVISOR], DTYPES - 1);
    c.sums = shape >= TOTAL;
    c.divisor = c.sums ? 3.0 * (double)n : 1.0;
    give(&c, FIRST, packed[FIRST], dtype);
    ptrdiff_t firsts = elements;
    if (c.sums) {
        c.summed[0] = shape != ROWS;
        c.summed[1] = shape == ROWS;
        firsts = shape == ROWS ? rows : shape == COLUMNS ? columns : 1;
        memset(c.operands[FIRST].stride, 0, sizeof c.operands[FIRST].stride);
        if (is_two)
            c.operands[FIRST].stride[shape == COLUMNS] = dtypes[dtype].size;
    }
    if (results == 2)
        give(&c, SECOND, packed[SECOND], dtype);
    if (shape == STATE)
        run_in_another_state(&c);
    else
        run(&c);
    if (is_printed)
        for (ptrdiff_t i = 0; i < elements; i++) {
            for (enum role role = X; role <= POS_WEIGHT; role++)
                printf("%llx ", (unsigned long long)element(dtype, packed[role], i));
            printf("%d:", !is_masked || mask[i]);
            if (i < firsts)
                printf(" %llx", (unsigned long long)element(dtype, packed[FIRST], i));
            if (results == 2)
                printf(" %llx", (unsigned long long)element(dtype, packed[SECOND], i));
            putchar('\n');
        }
    uint64_t found = digest(dtype, packed[FIRST], firsts, UINT64_C(0xcbf29ce484222325));
    return results == 2 ? digest(dtype, packed[SECOND], elements, found) : found;
}

static void evaluate_all(ptrdiff_t n, uint64_t seed, int only)
{
    int number = 0;
    for (int dtype = 0; dtype < DTYPES; dtype++)
        for (const family *of = families; of < families + FAMILIES; of++) {
            uint64_t state = seed + (uint64_t)(dtype * FAMILIES + (of - families));
            draw(of == families, dtype, n, &state);
            for (int o = 0; of->outputs[o]; o++)
                for (int factors = 0; factors < of->factors; factors++)
                    for (enum shape shape = ELEMENTWISE; shape < SHAPES; shape++) {
                        if (shape >= TOTAL && strncmp(of->outputs[o], "loss", 4) != 0)
                            continue;
                        if (only >= 0 && number++ != only)
                            continue;
                        const uint64_t found = evaluated(of, of->outputs[o], factors, shape,
                                                         dtype, n, only >= 0);
                        if (only < 0)
                            printf("%016llx %s, %s: %s, %s, %s\n", (unsigned long long)found,
                                   dtypes[dtype].name, of->name, of->outputs[o],
                                   factor_names[factors], shape_names[shape]);
                    }
        }
}

/* ---- calls that are read ---- */

static void evaluate_lines(void)
{
    static call c;
    char name[16], texts[5][64];
    while (scanf("%15s %63s %63s %63s %63s %63s", name, texts[0], texts[1], texts[2], texts[3],
                 texts[4]) == 6) {
        const int dtype = dtype_of(name);
        double numbers[5];
        for (int i = 0; i < 5; i++)
            numbers[i] = strtod(texts[i], NULL);
        for (enum role role = X; role <= POS_WEIGHT; role++)
            pack(dtype, packed[role], &numbers[role], 1);
        fputs(name, stdout);
        for (int pass = 0; pass < 2; pass++) {
            begin(&c, "with_logits", pass ? "grad,hess" : "loss,grad", dtype, 0, 1);
            set_factors(&c, numbers[WEIGHT] != 1.0, numbers[POS_WEIGHT] != 1.0, numbers[4]);
            for (enum role role = X; role <= POS_WEIGHT; role++)
                give(&c, role, packed[role], dtype);
            give(&c, FIRST, packed[FIRST], dtype);
            give(&c, SECOND, packed[SECOND], dtype);
            run(&c);
            if (!pass)
                printf(" %llx", (unsigned long long)element(dtype, packed[FIRST], 0));
            printf(" %llx", (unsigned long long)element(dtype, packed[SECOND], 0));
        }
        putchar('\n');
    }
}

int main(int count, char **given)
{
    const ptrdiff_t n = count > 1 ? (ptrdiff_t)strtoll(given[1], NULL, 0) : SMALL;
    for (int role = 0; role < ROLES; role++)
        packed[role] = calloc((size_t)n, sizeof(double));
    for (int role = 0; role <= DIVISOR; role++)
        operands[role] = calloc((size_t)n, sizeof(double));
    mask = calloc((size_t)n, 1);
    if (count == 1)
        evaluate_lines();
    else
        evaluate_all(n, count > 2 ? strtoull(given[2], NULL, 0) : 0,
                     count > 3 ? (int)strtol(given[3], NULL, 0) : -1);
    return 0;
}
