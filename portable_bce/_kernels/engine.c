/* The engine of one level, which -DLEVEL names. It knows nothing of Python. */
#include "engine.h"

#include "primitives.h"
#include "kernels_generated.h"

#define JOIN(a, b) a##b
#define ENGINE(level) JOIN(engine_, level)
#define TEXT(level) #level
#define NAME(level) TEXT(level)

const Engine ENGINE(LEVEL) = {NAME(LEVEL), k_double};
