/* What the engine of each level offers to the module. */
#ifndef ENGINE_H
#define ENGINE_H

typedef struct {
    const char *name;
    void (*twice)(double *result, const double *x, long count);
} Engine;

extern const Engine engine_avx2, engine_avx512, engine_neon;

#endif
