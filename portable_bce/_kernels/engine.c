/* Evaluates a call block by block: load into doubles, compute, divide, mask, store or sum.

   This file is compiled once for each instruction set (LEVEL), with the kernels that
   generate.py prints from the formula. A block has at most BLOCK elements: some rows along the
   slow axis of some columns along the fast one. Each operand is converted as it is loaded,
   whatever its type, layout and byte order are, so that no array is converted or copied.

   Sums are pairs of doubles. A panel is the part of the output whose sums are kept at once; all
   blocks that add to it are visited before the next panel. The order of additions depends on
   the layout alone, never on the number of threads.
*/
#include "engine.h"
#include "primitives.h"
#include "kernels_generated.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    PANEL = 4 * BLOCK,
    STRIP = 64, /* blocks whose sum is one number, whoever of the threads adds them */
};

/* ---- the floating-point environment: default rounding, no traps, subnormals kept ---- */

#if defined(__x86_64__)
typedef unsigned int environment;
static environment enter(void)
{
    environment before = _mm_getcsr();
    _mm_setcsr(0x1f80);
    return before;
}
static void leave(environment before) { _mm_setcsr(before); }
#elif defined(__aarch64__)
typedef struct { uint64_t control, status; } environment;
static environment enter(void)
{
    environment before;
    __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(before.control), "=r"(before.status));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0) : "memory");
    return before;
}
static void leave(environment before)
{
    __asm__ volatile("msr fpcr, %0\n\tmsr fpsr, %1"
                     : : "r"(before.control), "r"(before.status) : "memory");
}
#endif

/* ---- loaders: n elements, a stride apart, as doubles that are `step` apart ---- */

typedef void (*loader)(double *to, ptrdiff_t step, const char *from, ptrdiff_t stride, ptrdiff_t n);
typedef void (*storer)(char *to, ptrdiff_t stride, const double *from, ptrdiff_t step, ptrdiff_t n);

#define LOADER(NAME, TYPE)                                                                         \
    static void load_##NAME(double *restrict to, ptrdiff_t step, const char *restrict from,        \
                            ptrdiff_t stride, ptrdiff_t n)                                         \
    {                                                                                              \
        TYPE value;                                                                                \
        if (step == 1 && stride == (ptrdiff_t)sizeof value)                                        \
            for (ptrdiff_t i = 0; i < n; i++) {                                                    \
                memcpy(&value, from + i * (ptrdiff_t)sizeof value, sizeof value);                  \
                to[i] = (double)value;                                                             \
            }                                                                                      \
        else                                                                                       \
            for (ptrdiff_t i = 0; i < n; i++) {                                                    \
                memcpy(&value, from + i * stride, sizeof value);                                   \
                to[i * step] = (double)value;                                                      \
            }                                                                                      \
    }

LOADER(int8, int8_t)
LOADER(uint8, uint8_t)
LOADER(int16, int16_t)
LOADER(uint16, uint16_t)
LOADER(int32, int32_t)
LOADER(uint32, uint32_t)
LOADER(int64, int64_t)
LOADER(uint64, uint64_t)
LOADER(float32, float)
LOADER(float64, double)

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Round to the nearest bfloat16, to even at a tie; a NaN stays one. */
static uint16_t to_bfloat16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)(value == value ? rounded : (bits >> 16 | 0x40));
}

static void halves_to_floats(float *to, const uint16_t *from)
{
#if defined(__x86_64__)
    for (int i = 0; i < BLOCK; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i))));
#else
    for (int i = 0; i < BLOCK; i++) {
        __fp16 half;
        memcpy(&half, from + i, sizeof half);
        to[i] = half;
    }
#endif
}

static void floats_to_halves(uint16_t *to, const float *from)
{
#if defined(__x86_64__)
    for (int i = 0; i < BLOCK; i += 8)
        _mm_storeu_si128((__m128i *)(to + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
#else
    for (int i = 0; i < BLOCK; i++) {
        __fp16 half = (__fp16)from[i];
        memcpy(to + i, &half, sizeof half);
    }
#endif
}

static void load_float16(double *to, ptrdiff_t step, const char *from, ptrdiff_t stride,
                         ptrdiff_t n)
{
    uint16_t halves[BLOCK];
    float floats[BLOCK];
    for (ptrdiff_t i = 0; i < n; i++)
        memcpy(halves + i, from + i * stride, sizeof *halves);
    memset(halves + n, 0, (size_t)(BLOCK - n) * sizeof *halves);
    halves_to_floats(floats, halves);
    for (ptrdiff_t i = 0; i < n; i++)
        to[i * step] = (double)floats[i];
}

static void load_bfloat16(double *to, ptrdiff_t step, const char *from, ptrdiff_t stride,
                          ptrdiff_t n)
{
    uint16_t half;
    for (ptrdiff_t i = 0; i < n; i++) {
        memcpy(&half, from + i * stride, sizeof half);
        to[i * step] = (double)float_of((uint32_t)half << 16);
    }
}

static const loader loaders[TYPES] = {
    load_uint8, load_int8, load_uint8, load_int16, load_uint16, load_int32, load_uint32,
    load_int64, load_uint64, load_float16, load_bfloat16, load_float32, load_float64,
};
static const int sizes[TYPES] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8};

/* Outputs are floating. A half is rounded by way of float: at most 2^-13 of an ULP more. */
#define STORER(NAME, TYPE)                                                                         \
    static void store_##NAME(char *restrict to, ptrdiff_t stride, const double *restrict from,     \
                             ptrdiff_t step, ptrdiff_t n)                                          \
    {                                                                                              \
        TYPE value;                                                                                \
        if (step == 1 && stride == (ptrdiff_t)sizeof value)                                        \
            for (ptrdiff_t i = 0; i < n; i++) {                                                    \
                value = (TYPE)from[i];                                                             \
                memcpy(to + i * (ptrdiff_t)sizeof value, &value, sizeof value);                    \
            }                                                                                      \
        else                                                                                       \
            for (ptrdiff_t i = 0; i < n; i++) {                                                    \
                value = (TYPE)from[i * step];                                                      \
                memcpy(to + i * stride, &value, sizeof value);                                     \
            }                                                                                      \
    }

STORER(float32, float)
STORER(float64, double)

static void store_float16(char *to, ptrdiff_t stride, const double *from, ptrdiff_t step,
                          ptrdiff_t n)
{
    float floats[BLOCK] = {0};
    uint16_t halves[BLOCK];
    for (ptrdiff_t i = 0; i < n; i++)
        floats[i] = (float)from[i * step];
    floats_to_halves(halves, floats);
    for (ptrdiff_t i = 0; i < n; i++)
        memcpy(to + i * stride, halves + i, sizeof *halves);
}

static void store_bfloat16(char *to, ptrdiff_t stride, const double *from, ptrdiff_t step,
                           ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        uint16_t half = to_bfloat16((float)from[i * step]);
        memcpy(to + i * stride, &half, sizeof half);
    }
}

static storer storer_of(enum type type)
{
    switch (type) {
    case FLOAT16: return store_float16;
    case BFLOAT16: return store_bfloat16;
    case FLOAT32: return store_float32;
    default: return store_float64;
    }
}

/* Copy n elements of `size` bytes with the order of their bytes reversed. */
static void swap(char *to, ptrdiff_t to_stride, const char *from, ptrdiff_t from_stride, int size,
                 ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        for (int byte = 0; byte < size; byte++)
            to[i * to_stride + byte] = from[i * from_stride + size - 1 - byte];
}

static void load_line(const operand *array, double *to, ptrdiff_t step, const char *from,
                      ptrdiff_t stride, ptrdiff_t n)
{
    char native[8 * BLOCK];
    int size = sizes[array->type];
    if (array->swapped) {
        swap(native, size, from, stride, size, n);
        from = native;
        stride = size;
    }
    loaders[array->type](to, step, from, stride, n);
}

static void store_line(const operand *array, char *to, ptrdiff_t stride, const double *from,
                       ptrdiff_t step, ptrdiff_t n)
{
    char native[8 * BLOCK];
    int size = sizes[array->type];
    if (array->swapped) {
        storer_of(array->type)(native, size, from, step, n);
        swap(to, stride, native, size, size, n);
    } else {
        storer_of(array->type)(to, stride, from, step, n);
    }
}

/* ---- the order in which a call is evaluated ---- */

typedef struct {
    ptrdiff_t length, stride[ROLES];
    int summed;
} axis;

typedef struct {
    const call *call;
    kernel kernel;
    axis fast, slow, kept[MAX_DIMS], summed[MAX_DIMS]; /* kept and summed: all other axes */
    int kept_axes, summed_axes;
    ptrdiff_t columns, rows;             /* of a block */
    ptrdiff_t panel_columns, panel_rows; /* of a panel */
    ptrdiff_t panels, blocks;            /* blocks are those of one panel */
    double reciprocal, reciprocal_low;   /* of the divisor, as a pair; 0 if it has none */
} plan;

static ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t ceiling(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

static ptrdiff_t size_of(ptrdiff_t stride) { return stride < 0 ? -stride : stride; }

/* How far apart elements lie along an axis: by the logits, or by what is not broadcast. */
static ptrdiff_t spacing(const axis *along)
{
    static const enum role order[] = {X, FIRST, SECOND, TARGETS, WEIGHT, POS_WEIGHT, MASK};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (along->stride[order[i]])
            return size_of(along->stride[order[i]]);
    return 0;
}

/* Whether two axes are one, the inner one continuing the outer one in every operand. */
static int continues(const call *c, const axis *outer, const axis *inner)
{
    if (outer->summed != inner->summed)
        return 0;
    for (int k = 0; k < ROLES; k++)
        if (c->present[k] && outer->stride[k] != inner->stride[k] * inner->length)
            return 0;
    return 1;
}

/* Sort the axes by where memory runs, and join those that are one. */
static int sorted_axes(call *c, axis *axes)
{
    int count = 0;
    for (int i = 0; i < c->dims; i++) {
        if (c->shape[i] == 1)
            continue;
        axis next = {.length = c->shape[i], .summed = c->sums && c->summed[i]};
        for (int k = 0; k < ROLES; k++)
            next.stride[k] = c->present[k] ? c->operands[k].stride[i] : 0;
        if (next.stride[X] < 0) /* run through it from its other end */
            for (int k = 0; k < ROLES; k++) {
                if (c->present[k])
                    c->operands[k].data += next.stride[k] * (next.length - 1);
                next.stride[k] = -next.stride[k];
            }
        int place = count++;
        for (; place > 0 && spacing(&axes[place - 1]) < spacing(&next); place--)
            axes[place] = axes[place - 1];
        axes[place] = next;
    }
    int joined = 0;
    for (int i = 1; i < count; i++) {
        if (continues(c, &axes[joined], &axes[i])) {
            axes[i].length *= axes[joined].length;
            axes[joined] = axes[i];
        } else {
            axes[++joined] = axes[i];
        }
    }
    return count ? joined + 1 : 0;
}

static ptrdiff_t columns_of(ptrdiff_t length)
{
    if (length <= BLOCK)
        return length > 0 ? length : 1;
    if (length >= 4 * BLOCK)
        return BLOCK;
    return least(BLOCK, (ceiling(length, ceiling(length, BLOCK)) + 7) / 8 * 8);
}

__attribute__((noinline)) static void make_plan(plan *p, call *c)
{
    axis axes[MAX_DIMS];
    static const axis single = {.length = 1};
    int count = sorted_axes(c, axes);
    p->call = c;
    p->fast = count ? axes[count - 1] : single;
    p->slow = single;
    p->slow.summed = p->fast.summed;
    p->kept_axes = p->summed_axes = 0;
    int slow = count - 2;
    if (slow >= 0 && p->fast.length * axes[slow].length < BLOCK / 8)
        for (int i = 0; i < count - 1; i++)
            if (axes[i].length > axes[slow].length)
                slow = i;
    for (int i = 0; i < count - 1; i++) {
        if (i == slow)
            p->slow = axes[i];
        else if (axes[i].summed)
            p->summed[p->summed_axes++] = axes[i];
        else
            p->kept[p->kept_axes++] = axes[i];
    }
    p->columns = columns_of(p->fast.length);
    p->rows = least(BLOCK / p->columns, p->slow.length);
    if (p->rows < 1)
        p->rows = 1;
    /* The panel: all of an axis that is summed; of one that is kept, as many sums as are held. */
    p->panel_columns = p->fast.summed ? p->fast.length : p->columns;
    p->panel_rows = p->slow.summed ? p->slow.length : p->rows;
    if (c->sums && !p->fast.summed && p->slow.summed)
        p->panel_columns = PANEL / p->columns * p->columns;
    if (c->sums && p->fast.summed && !p->slow.summed)
        p->panel_rows = PANEL / p->rows * p->rows;
    p->panels = (p->slow.summed ? 1 : ceiling(p->slow.length, p->panel_rows))
                * (p->fast.summed ? 1 : ceiling(p->fast.length, p->panel_columns));
    for (int i = 0; i < p->kept_axes; i++)
        p->panels *= p->kept[i].length;
    p->blocks = 1;
    for (int i = 0; i < p->summed_axes; i++)
        p->blocks *= p->summed[i].length;
    const environment before = enter();
    double reciprocal = 1.0 / c->divisor, size = reciprocal < 0 ? -reciprocal : reciprocal;
    p->reciprocal = p->reciprocal_low = 0.0;
    if (!c->present[DIVISOR] && size > 1e-280 && size < 1e280) {
        p->reciprocal = reciprocal;
        p->reciprocal_low = __builtin_fma(-reciprocal, c->divisor, 1.0) * reciprocal;
    }
    leave(before);
}

/* ---- blocks ---- */

/* Where the elements that an operand was loaded from last began, and how many rows and columns
   of them there were: what is broadcast is loaded once. */
typedef struct {
    const char *from;
    ptrdiff_t rows, columns;
} loaded;

typedef struct {
    double in[DIVISOR + 1][BLOCK], high[2][BLOCK], low[2][BLOCK];
    loaded last[DIVISOR + 1];
    double sum[PANEL], lost[PANEL];
} scratch;

typedef struct {
    ptrdiff_t at[ROLES]; /* the offset of its first element in each operand */
    ptrdiff_t rows, columns;
    ptrdiff_t row, column; /* where it begins within the panel */
} block;

static const double *load(const plan *p, scratch *s, enum role role, const block *b)
{
    const operand *array = &p->call->operands[role];
    const ptrdiff_t fast = p->fast.stride[role], slow = p->slow.stride[role];
    const ptrdiff_t rows = b->rows, columns = b->columns;
    const char *from = array->data + b->at[role];
    double *to = s->in[role];
    loaded *last = &s->last[role];
    const int dense = rows == 1 || slow == fast * columns;
    if (array->type == FLOAT64 && dense && fast == 8 && !array->swapped
        && (uintptr_t)from % sizeof(double) == 0)
        return (const double *)(const void *)from;
    if (last->from == from && last->rows >= rows && last->columns == columns)
        return to;
    *last = (loaded){from, rows, columns};
    if (dense)
        load_line(array, to, 1, from, fast, rows * columns);
    else if (columns >= rows)
        for (ptrdiff_t r = 0; r < rows; r++)
            load_line(array, to + r * columns, 1, from + r * slow, fast, columns);
    else
        for (ptrdiff_t c = 0; c < columns; c++)
            load_line(array, to + c, columns, from + c * fast, slow, rows);
    return to;
}

static void store(const plan *p, enum role role, const block *b, const double *from)
{
    const operand *array = &p->call->operands[role];
    const ptrdiff_t fast = p->fast.stride[role], slow = p->slow.stride[role];
    const ptrdiff_t rows = b->rows, columns = b->columns;
    char *to = array->data + b->at[role];
    if (rows == 1 || slow == fast * columns)
        store_line(array, to, fast, from, 1, rows * columns);
    else if (columns >= rows)
        for (ptrdiff_t r = 0; r < rows; r++)
            store_line(array, to + r * slow, fast, from + r * columns, 1, columns);
    else
        for (ptrdiff_t c = 0; c < columns; c++)
            store_line(array, to + c * fast, slow, from + c, columns, rows);
}

/* Whether the reciprocals of all divisors are normal numbers. */
static int have_reciprocals(const double *divisors, ptrdiff_t n)
{
    int64_t ordinary = 1;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double size = divisors[i] < 0.0 ? -divisors[i] : divisors[i];
        ordinary &= (size > 1e-280) & (size < 1e280);
    }
    return (int)ordinary;
}

/* Divide by the divisor, and round pairs. Without low parts the result is rounded to float32 or
   less, and a product with the reciprocal is as good as a quotient. */
static void divide(const plan *p, double *high, const double *low, const double *divisors,
                   ptrdiff_t n)
{
    const double r = p->reciprocal, rest = p->reciprocal_low, divisor = p->call->divisor;
    if (!divisors && divisor == 1.0) {
        for (ptrdiff_t i = 0; low && i < n; i++)
            high[i] = pair_rounded((pair){high[i], low[i]});
    } else if (!divisors && r != 0.0) {
        if (low)
            for (ptrdiff_t i = 0; i < n; i++) {
                const double product = high[i] * r;
                const double error = __builtin_fma(high[i], r, -product);
                high[i] = pair_rounded((pair){product, error + (high[i] * rest + low[i] * r)});
            }
        else
            for (ptrdiff_t i = 0; i < n; i++)
                high[i] *= r;
    } else if (divisors && low && have_reciprocals(divisors, n)) {
        for (ptrdiff_t i = 0; i < n; i++) {
            const double reciprocal = 1.0 / divisors[i], product = high[i] * reciprocal;
            const double remainder = __builtin_fma(-product, divisors[i], high[i]) + low[i];
            high[i] = pair_rounded((pair){product, remainder * reciprocal});
        }
    } else {
        for (ptrdiff_t i = 0; i < n; i++) {
            const double by = divisors ? divisors[i] : divisor;
            high[i] = low ? pair_rounded(pair_divide_number((pair){high[i], low[i]}, by))
                          : high[i] / by;
        }
    }
}

static void mask(double *values, const double *keep, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        values[i] = keep[i] != 0.0 ? values[i] : 0.0;
}

/* ---- sums ---- */

static inline void add_to(double *sum, double *lost, double high, double low)
{
    const pair total = two_sum(*sum, high);
    *sum = total.high;
    *lost += total.low + low;
}

/* Let the high part of each pair be the pair rounded. A logarithm's low part may be 4 % of its
   high part; added up as such, the low parts would lose digits of the sum. */
static void normalise(double *high, double *low, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const double value = pair_rounded((pair){high[i], low[i]});
        low[i] -= value - high[i];
        high[i] = value;
    }
}

/* Add the upper rows to the lower ones until one row is left. */
static void halve_rows(double *high, double *low, ptrdiff_t rows, ptrdiff_t columns)
{
    while (rows > 1) {
        const ptrdiff_t half = rows / 2, n = half * columns, from = (rows - half) * columns;
        if (low)
            for (ptrdiff_t i = 0; i < n; i++) {
                const pair total = two_sum(high[i], high[from + i]);
                high[i] = total.high;
                low[i] += low[from + i] + total.low;
            }
        else
            for (ptrdiff_t i = 0; i < n; i++)
                high[i] += high[from + i];
        rows -= half;
    }
}

static void add_block(const plan *p, scratch *s, const block *b, double *high, double *low)
{
    const ptrdiff_t rows = b->rows, columns = b->columns;
    if (p->fast.summed && p->slow.summed) {
        halve_rows(high, low, rows * columns, 1);
        add_to(s->sum, s->lost, high[0], low ? low[0] : 0.0);
    } else if (p->fast.summed) {
        for (ptrdiff_t r = 0; r < rows; r++) {
            double *row = high + r * columns, *rest = low ? low + r * columns : NULL;
            if (columns >= 16) {
                halve_rows(row, rest, columns, 1);
                add_to(&s->sum[b->row + r], &s->lost[b->row + r], row[0], rest ? rest[0] : 0.0);
            } else if (rest) {
                for (ptrdiff_t c = 0; c < columns; c++)
                    add_to(&s->sum[b->row + r], &s->lost[b->row + r], row[c], rest[c]);
            } else {
                double total = row[0];
                for (ptrdiff_t c = 1; c < columns; c++)
                    total += row[c];
                add_to(&s->sum[b->row + r], &s->lost[b->row + r], total, 0.0);
            }
        }
    } else {
        const ptrdiff_t n = p->slow.summed ? columns : rows * columns;
        double *sum = s->sum + b->column, *lost = s->lost + b->column;
        if (p->slow.summed)
            halve_rows(high, low, rows, columns);
        for (ptrdiff_t i = 0; i < n; i++)
            add_to(&sum[i], &lost[i], high[i], low ? low[i] : 0.0);
    }
}

/* Divide the sums of a panel, round them, and store them. */
static void finish(const plan *p, scratch *s, block *b)
{
    const int flat = p->fast.summed || p->slow.summed;
    const ptrdiff_t rows = p->slow.summed ? 1 : b->rows, columns = p->fast.summed ? 1 : b->columns;
    const axis *along = p->fast.summed ? &p->slow : &p->fast;
    const ptrdiff_t step = flat ? BLOCK : rows * columns, n = rows * columns;
    for (ptrdiff_t first = 0; first < n; first += step) {
        /* A line of sums is a block of one row along `along`. */
        plan line = *p;
        block part = *b;
        if (flat) {
            line.fast = *along;
            part.rows = 1;
            part.columns = least(step, n - first);
            part.at[FIRST] += first * along->stride[FIRST];
            part.at[DIVISOR] += first * along->stride[DIVISOR];
        }
        const ptrdiff_t m = part.rows * part.columns;
        const double *divisors = NULL;
        s->last[DIVISOR].from = NULL;
        if (p->call->present[DIVISOR])
            divisors = load(&line, s, DIVISOR, &part);
        double *high = s->sum + first, *low = s->lost + first;
        if (!p->call->is_double) {
            for (ptrdiff_t i = 0; i < m; i++)
                high[i] = pair_rounded((pair){high[i], low[i]});
            low = NULL;
        }
        divide(p, high, low, divisors, m);
        store(&line, FIRST, &part, high);
        s->last[DIVISOR].from = NULL;
    }
}

/* Evaluate one block. */
static void compute(const plan *p, scratch *s, const block *b)
{
    const call *c = p->call;
    const ptrdiff_t n = b->rows * b->columns;
    const double *in[MASK];
    for (int k = 0; k < MASK; k++)
        in[k] = p->kernel.reads[k] ? load(p, s, k, b) : s->in[k];
    double *high[2] = {s->high[0], s->high[1]}, *low[2] = {s->low[0], s->low[1]};
    p->kernel.run(in, c->smoothing, c->eps, high, low, n);
    const double *keep = c->present[MASK] ? load(p, s, MASK, b) : NULL;
    const double *divisors = NULL;
    for (int k = 0; k < p->kernel.outputs; k++) {
        double *rest = c->is_double ? low[k] : NULL;
        const int is_loss = k == 0 && p->kernel.has_loss;
        if (is_loss && c->sums) {
            if (keep) {
                mask(high[k], keep, n);
                if (rest)
                    mask(rest, keep, n);
            }
            if (rest)
                normalise(high[k], rest, n);
            add_block(p, s, b, high[k], rest);
            continue;
        }
        if (!is_loss && c->present[DIVISOR] && !divisors)
            divisors = load(p, s, DIVISOR, b);
        if (!is_loss)
            divide(p, high[k], rest, divisors, n);
        else if (rest)
            for (ptrdiff_t i = 0; i < n; i++)
                high[k][i] = pair_rounded((pair){high[k][i], rest[i]});
        if (keep)
            mask(high[k], keep, n);
        store(p, FIRST + k, b, high[k]);
    }
}

/* Move the offsets to the index along an axis. */
static void move(block *b, const axis *along, ptrdiff_t index)
{
    for (int k = 0; k < ROLES; k++)
        b->at[k] += index * along->stride[k];
}

/* Return a panel: all that is kept of it begins here. */
static block panel_of(const plan *p, ptrdiff_t index)
{
    block b = {.rows = p->slow.length, .columns = p->fast.length};
    if (!p->fast.summed) {
        const ptrdiff_t across = ceiling(p->fast.length, p->panel_columns);
        const ptrdiff_t first = index % across * p->panel_columns;
        index /= across;
        move(&b, &p->fast, first);
        b.columns = least(p->panel_columns, p->fast.length - first);
    }
    if (!p->slow.summed) {
        const ptrdiff_t down = ceiling(p->slow.length, p->panel_rows);
        const ptrdiff_t first = index % down * p->panel_rows;
        index /= down;
        move(&b, &p->slow, first);
        b.rows = least(p->panel_rows, p->slow.length - first);
    }
    for (int i = p->kept_axes - 1; i >= 0; i--) {
        move(&b, &p->kept[i], index % p->kept[i].length);
        index /= p->kept[i].length;
    }
    return b;
}

static ptrdiff_t blocks_of(const plan *p, const block *panel)
{
    return p->blocks * ceiling(panel->rows, p->rows) * ceiling(panel->columns, p->columns);
}

static block block_of(const plan *p, const block *panel, ptrdiff_t index)
{
    block b = *panel;
    const ptrdiff_t across = ceiling(panel->columns, p->columns);
    const ptrdiff_t down = ceiling(panel->rows, p->rows);
    b.column = index % across * p->columns;
    index /= across;
    b.row = index % down * p->rows;
    index /= down;
    b.columns = least(p->columns, panel->columns - b.column);
    b.rows = least(p->rows, panel->rows - b.row);
    move(&b, &p->fast, b.column);
    move(&b, &p->slow, b.row);
    for (int i = p->summed_axes - 1; i >= 0; i--) {
        move(&b, &p->summed[i], index % p->summed[i].length);
        index /= p->summed[i].length;
    }
    return b;
}

static void compute_panel(const plan *p, scratch *s, ptrdiff_t index)
{
    block panel = panel_of(p, index);
    const ptrdiff_t blocks = blocks_of(p, &panel);
    if (p->call->sums) {
        const ptrdiff_t sums = (p->slow.summed ? 1 : panel.rows)
                               * (p->fast.summed ? 1 : panel.columns);
        memset(s->sum, 0, (size_t)sums * sizeof *s->sum);
        memset(s->lost, 0, (size_t)sums * sizeof *s->lost);
    }
    for (ptrdiff_t i = 0; i < blocks; i++) {
        const block b = block_of(p, &panel, i);
        compute(p, s, &b);
    }
    if (p->call->sums)
        finish(p, s, &panel);
}

static pair compute_strip(const plan *p, scratch *s, const block *panel, ptrdiff_t first,
                          ptrdiff_t blocks)
{
    s->sum[0] = s->lost[0] = 0.0;
    for (ptrdiff_t i = first; i < least(first + STRIP, blocks); i++) {
        const block b = block_of(p, panel, i);
        compute(p, s, &b);
    }
    return (pair){s->sum[0], s->lost[0]};
}

/* ---- threads ---- */

/* What one thread does: some panels, or some strips of the only panel. */
typedef struct {
    const plan *plan;
    const block *panel; /* the only one, if its strips are shared out */
    pair *strips;
    ptrdiff_t first, last;
} part;

__attribute__((noinline)) static void run_part(const part *mine, scratch *s)
{
    const environment before = enter();
    memset(s->last, 0, sizeof s->last);
    if (mine->panel) {
        const ptrdiff_t blocks = blocks_of(mine->plan, mine->panel);
        for (ptrdiff_t i = mine->first; i < mine->last; i++)
            mine->strips[i] = compute_strip(mine->plan, s, mine->panel, i * STRIP, blocks);
    } else {
        for (ptrdiff_t i = mine->first; i < mine->last; i++)
            compute_panel(mine->plan, s, i);
    }
    leave(before);
}

static void *run_thread(void *argument)
{
    scratch s;
    run_part(argument, &s);
    return NULL;
}

/* Share units out; what no thread could be had for, this one does. No pool outlives a call, so
   that a fork finds none. */
static void run_units(const plan *p, scratch *s, const block *panel, pair *strips, ptrdiff_t units)
{
    enum { MOST = 64 };
    pthread_t threads[MOST];
    part parts[MOST];
    const int count = (int)least(least(p->call->threads, MOST), units > 0 ? units : 1);
    int started = 1;
    pthread_attr_t attributes;
    if (count > 1 && pthread_attr_init(&attributes) == 0) {
        pthread_attr_setstacksize(&attributes, 1 << 20);
        for (; started < count; started++) {
            parts[started] = (part){p, panel, strips, units * started / count,
                                    units * (started + 1) / count};
            if (pthread_create(&threads[started], &attributes, run_thread, &parts[started]))
                break;
        }
        pthread_attr_destroy(&attributes);
    }
    parts[0] = (part){p, panel, strips, 0, units / count};
    run_part(&parts[0], s);
    if (started < count) {
        parts[0] = (part){p, panel, strips, units * started / count, units};
        run_part(&parts[0], s);
    }
    for (int i = 1; i < started; i++)
        pthread_join(threads[i], NULL);
}

/* Evaluate all into one sum. The sums of strips are added in their order, whoever made them;
   without memory for them they are added as they come. */
static void run_total(const plan *p, scratch *s)
{
    enum { FEW = 16 };
    block panel = panel_of(p, 0);
    const ptrdiff_t blocks = blocks_of(p, &panel), strips = ceiling(blocks, STRIP);
    pair few[FEW], *sums = strips <= FEW ? few : malloc((size_t)strips * sizeof *sums);
    if (sums)
        run_units(p, s, &panel, sums, strips);
    const environment before = enter();
    memset(s->last, 0, sizeof s->last);
    pair sum = {0.0, 0.0};
    for (ptrdiff_t i = 0; i < strips; i++) {
        const pair strip = sums ? sums[i] : compute_strip(p, s, &panel, i * STRIP, blocks);
        add_to(&sum.high, &sum.low, strip.high, strip.low);
    }
    s->sum[0] = sum.high;
    s->lost[0] = sum.low;
    finish(p, s, &panel);
    leave(before);
    if (sums != few)
        free(sums);
}

#define JOINED(a, b) a##_##b
#define NAMED(a, b) JOINED(a, b)

enum result NAMED(evaluate, LEVEL)(call *c);

enum result NAMED(evaluate, LEVEL)(call *c)
{
    plan p;
    scratch s;
    p.kernel = kernel_of(c->formula, c->outputs, c->factors, c->is_double);
    if (!p.kernel.run || !c->present[FIRST] || (p.kernel.outputs == 2 && !c->present[SECOND]))
        return NO_KERNEL;
    make_plan(&p, c);
    if (c->sums && p.fast.summed && p.slow.summed && p.kept_axes == 0)
        run_total(&p, &s);
    else
        run_units(&p, &s, NULL, NULL, p.panels);
    return DONE;
}
