/* A call of the engine from C: what sweep.c and cases.c share.

   Both are linked with the engine of one level and with nothing of Python, so that they run
   wherever there is a compiler for that level, under an emulator too. Needs -DLEVEL. */
#ifndef PORTABLE_BCE_CALL_H
#define PORTABLE_BCE_CALL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define JOINED(a, b) a##_##b
#define NAMED(a, b) JOINED(a, b)
enum result NAMED(evaluate, LEVEL)(call *);
#define evaluate NAMED(evaluate, LEVEL)

/* The header prints either the kernels of a level or the names of the formulas. */
#pragma push_macro("LEVEL")
#undef LEVEL
#include "kernels_generated.h"
#pragma pop_macro("LEVEL")

static const struct {
    const char *name;
    enum type type;
    int size;
} dtypes[] = {{"float16", FLOAT16, 2}, {"bfloat16", BFLOAT16, 2}, {"float32", FLOAT32, 4},
              {"float64", FLOAT64, 8}};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

static inline int number_of(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    fprintf(stderr, "there is no %s\n", name);
    exit(2);
}

static inline int dtype_of(const char *name)
{
    for (int i = 0; i < DTYPES; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return i;
    fprintf(stderr, "there is no dtype %s\n", name);
    exit(2);
}

/* Set an operand to an array without gaps, whose last axis is the fast one. */
static inline void give(call *c, enum role role, const void *data, int dtype)
{
    operand *array = &c->operands[role];
    array->data = (char *)(uintptr_t)data;
    array->type = dtypes[dtype].type;
    array->swapped = 0;
    ptrdiff_t stride = dtypes[dtype].size;
    for (int i = c->dims - 1; i >= 0; stride *= c->shape[i], i--)
        array->stride[i] = stride;
    c->present[role] = 1;
}

static inline void give_number(call *c, enum role role, const double *number)
{
    give(c, role, number, DTYPES - 1);
    memset(c->operands[role].stride, 0, sizeof c->operands[role].stride);
}

/* Begin a call of n elements, or of `rows` rows of n, without weights. */
static inline void begin(call *c, const char *formula, const char *outputs, int dtype,
                         ptrdiff_t rows, ptrdiff_t n)
{
    static const double unit = 1.0;
    memset(c, 0, sizeof *c);
    c->dims = rows ? 2 : 1;
    c->shape[0] = rows ? rows : n;
    c->shape[1] = n;
    c->formula = number_of(formula_names, formula);
    c->outputs = number_of(output_names, outputs);
    c->is_double = dtypes[dtype].type == FLOAT64;
    c->divisor = 1.0;
    c->threads = 1;
    for (enum role role = TARGETS; role <= POS_WEIGHT; role++)
        give_number(c, role, &unit);
}

/* Choose the shortest form of the formula that has all factors, as module.c does. */
static inline void set_factors(call *c, int weight, int pos_weight, double smoothing)
{
    c->smoothing = smoothing;
    c->factors = pos_weight ? ALL : smoothing != 0.0 ? SMOOTHED : weight ? WEIGHTED : NONE;
}

static inline void run(call *c)
{
    if (evaluate(c) != DONE) {
        fputs("there is no kernel for this call\n", stderr);
        exit(2);
    }
}

/* Random numbers that are the same on every machine (splitmix64). */
static inline uint64_t random_bits(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* In [0, 1). */
static inline double random_unit(uint64_t *state)
{
    return (double)(random_bits(state) >> 11) * 0x1p-53;
}

#endif
