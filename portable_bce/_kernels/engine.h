/* A call of the kernels, as module.c hands it to the engine of one instruction set. */
#ifndef PORTABLE_BCE_ENGINE_H
#define PORTABLE_BCE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

enum { MAX_DIMS = 64, BLOCK = 512 /* elements, at most, that are computed at once */ };

enum type { BOOL, INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64,
            FLOAT16, BFLOAT16, FLOAT32, FLOAT64, TYPES };

/* The arrays of a call. The first four are what the formula reads. */
enum role { X, TARGETS, WEIGHT, POS_WEIGHT, MASK, DIVISOR, FIRST, SECOND, ROLES };

/* Which factors are given: the formula has a shorter form without the others. */
enum factors { NONE, WEIGHTED, SMOOTHED, ALL };

/* An array, or a number as an array whose strides are 0. The stride is 0 along an axis that
   is broadcast; the first output has stride 0 along the axes that are summed over. */
typedef struct {
    char *data;
    ptrdiff_t stride[MAX_DIMS];
    enum type type;
    int swapped; /* its bytes are in the other order than this machine's */
} operand;

typedef struct {
    int dims;
    ptrdiff_t shape[MAX_DIMS];
    char summed[MAX_DIMS]; /* whether losses are summed along the axis */
    int sums;              /* whether losses are summed at all */
    int present[ROLES];    /* a weight that is not given is a number, 1 */
    operand operands[ROLES];
    double smoothing, eps, divisor; /* the divisor is used where no array of it is present */
    int formula, outputs, is_double;
    enum factors factors;
    int threads;
} call;

enum result { DONE, NO_KERNEL };

typedef enum result (*engine)(call *);

#endif
