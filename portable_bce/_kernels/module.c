/* The module: one object for each instruction set that this CPU has, best first.

   Its method takes arrays by the buffer protocol, so that neither NumPy's headers nor its ABI
   are needed, and hands them to the engine. Shapes and dtypes were checked in Python; what is
   asked again here only keeps a wrong call from reading memory that is not its own. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "engine.h"
#include "kernels_generated.h"

#define LEVEL_OF(NAME) enum result evaluate_##NAME(call *)
#if defined(HAS_AVX2)
LEVEL_OF(avx2);
#endif
#if defined(HAS_AVX512)
LEVEL_OF(avx512);
#endif
#if defined(HAS_NEON)
LEVEL_OF(neon);
#endif

/* From so many elements on, other threads of Python run meanwhile. */
enum { LONG = 4096 };

typedef struct {
    PyObject_HEAD
    const char *name;
    engine evaluate;
} level;

/* Return the type of a buffer's elements, TYPES if there is no loader for it. */
static enum type type_of(const Py_buffer *view, int *swapped)
{
    const char *format = view->format ? view->format : "B";
    const int one = 1;
    const char foreign = *(const char *)&one ? '>' : '<';
    *swapped = *format == foreign || (*format == '!' && foreign == '>');
    if (*format && strchr("<>=@^!", *format))
        format++;
    if (!*format || format[1])
        return TYPES;
    const int bytes = (int)view->itemsize;
    const int width = bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : bytes == 8 ? 3 : 4;
    static const enum type is_signed[] = {INT8, INT16, INT32, INT64, TYPES};
    static const enum type is_unsigned[] = {UINT8, UINT16, UINT32, UINT64, TYPES};
    if (*format == '?')
        return bytes == 1 ? BOOL : TYPES;
    if (strchr("bhilqn", *format))
        return is_signed[width];
    if (strchr("BHILQN", *format))
        return is_unsigned[width];
    if (*format == 'e' && bytes == 2)
        return FLOAT16;
    if (*format == 'f' && bytes == 4)
        return FLOAT32;
    if (*format == 'd' && bytes == 8)
        return FLOAT64;
    return TYPES;
}

/* A call, the buffers that it holds, and the numbers among its operands. */
typedef struct {
    call call;
    Py_buffer views[ROLES];
    int held[ROLES];
    double numbers[ROLES];
    int is_unreadable; /* whether an operand has a dtype that no kernel reads */
} request;

static void release(request *r)
{
    for (int k = 0; k < ROLES; k++)
        if (r->held[k])
            PyBuffer_Release(&r->views[k]);
}

static void set_number(request *r, enum role role, double value)
{
    operand *array = &r->call.operands[role];
    r->numbers[role] = value;
    r->call.present[role] = 1;
    array->data = (char *)&r->numbers[role];
    array->type = FLOAT64;
    array->swapped = 0;
    memset(array->stride, 0, (size_t)r->call.dims * sizeof *array->stride);
}

/* Take a buffer that broadcasts to the shape of the logits; skip the axes that are summed over,
   if the output has none. */
static int set_array(request *r, enum role role, PyObject *array, int bfloat16, int is_total)
{
    call *c = &r->call;
    Py_buffer *view = &r->views[role];
    operand *taken = &c->operands[role];
    const int is_output = role >= FIRST;
    const int flags = is_output ? PyBUF_RECORDS : PyBUF_RECORDS_RO;
    if (PyObject_GetBuffer(array, view, flags) < 0) {
        /* NumPy's answer for a dtype that the buffer protocol cannot name, such as bfloat16. */
        r->is_unreadable = PyErr_ExceptionMatches(PyExc_ValueError)
                           || PyErr_ExceptionMatches(PyExc_BufferError);
        return -1;
    }
    r->held[role] = 1;
    c->present[role] = 1;
    taken->data = view->buf;
    taken->type = type_of(view, &taken->swapped);
    if (bfloat16 && (taken->type == UINT16 || taken->type == INT16))
        taken->type = BFLOAT16;
    if (taken->type == TYPES || (is_output && taken->type < FLOAT16)) {
        PyErr_Format(PyExc_TypeError, "operand %d has the format %s, which no kernel takes", role,
                     view->format ? view->format : "B");
        r->is_unreadable = 1;
        return -1;
    }
    if (view->ndim > MAX_DIMS)
        goto misfit;
    if (role == X) {
        c->dims = view->ndim;
        for (int i = 0; i < view->ndim; i++)
            c->shape[i] = view->shape[i];
    }
    int axis = view->ndim;
    for (int i = c->dims - 1; i >= 0; i--) {
        taken->stride[i] = 0;
        if (is_total && c->summed[i])
            continue;
        if (--axis < 0) {
            if (is_output)
                goto misfit;
            continue;
        }
        if (view->shape[axis] == c->shape[i])
            taken->stride[i] = view->strides[axis];
        else if (view->shape[axis] != 1 || is_output)
            goto misfit;
    }
    if (axis > 0)
        goto misfit;
    return 0;
misfit:
    PyErr_Format(PyExc_ValueError, "operand %d does not fit the shape of the first", role);
    return -1;
}

static int set_operand(request *r, enum role role, PyObject *value, int bfloat16)
{
    if (!PyFloat_Check(value))
        return set_array(r, role, value, bfloat16 >> role & 1, 0);
    set_number(r, role, PyFloat_AsDouble(value));
    return 0;
}

enum { FORMULA, OUTPUTS, IS_DOUBLE, OPERANDS, SMOOTHING = OPERANDS + MASK + 1, EPS, DIVIDE_BY,
       RESULTS, SUMMED = RESULTS + 2, IS_BFLOAT16, THREADS, ARGUMENTS };

static int fill(request *r, PyObject *const *given)
{
    call *c = &r->call;
    c->formula = (int)PyLong_AsLong(given[FORMULA]);
    c->outputs = (int)PyLong_AsLong(given[OUTPUTS]);
    c->is_double = (int)PyLong_AsLong(given[IS_DOUBLE]);
    c->smoothing = PyFloat_AsDouble(given[SMOOTHING]);
    c->eps = given[EPS] == Py_None ? 0.0 : PyFloat_AsDouble(given[EPS]);
    c->sums = given[SUMMED] != Py_None;
    const unsigned long long axes = c->sums ? PyLong_AsUnsignedLongLongMask(given[SUMMED]) : 0;
    const int bfloat16 = (int)PyLong_AsLong(given[IS_BFLOAT16]);
    c->threads = (int)PyLong_AsLong(given[THREADS]);
    if (PyErr_Occurred())
        return -1;
    PyObject *const *arrays = given + OPERANDS;
    if (set_array(r, X, arrays[X], bfloat16 & 1, 0) < 0)
        return -1;
    for (int i = 0; i < c->dims; i++)
        c->summed[i] = (char)(axes >> i & 1);
    c->factors = arrays[POS_WEIGHT] != Py_None ? ALL : c->smoothing != 0.0 ? SMOOTHED
                 : arrays[WEIGHT] != Py_None ? WEIGHTED : NONE;
    for (int k = TARGETS; k <= MASK; k++) {
        if (arrays[k] != Py_None) {
            if (set_operand(r, k, arrays[k], bfloat16) < 0)
                return -1;
        } else if (k != MASK) {
            set_number(r, k, 1.0);
        }
    }
    c->divisor = 1.0;
    if (PyFloat_Check(given[DIVIDE_BY]))
        c->divisor = PyFloat_AsDouble(given[DIVIDE_BY]);
    else if (set_array(r, DIVISOR, given[DIVIDE_BY], 0, 0) < 0)
        return -1;
    for (int k = 0; k < 2; k++) {
        PyObject *output = given[RESULTS + k];
        const int is_total = k == 0 && c->sums;
        if (output != Py_None
            && set_array(r, FIRST + k, output, bfloat16 >> (FIRST + k) & 1, is_total) < 0)
            return -1;
    }
    return 0;
}

static PyObject *evaluate(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    if (count != ARGUMENTS) {
        PyErr_Format(PyExc_TypeError, "evaluate takes %d arguments; got %zd", ARGUMENTS, count);
        return NULL;
    }
    request r;
    memset(r.held, 0, sizeof r.held);
    memset(r.call.present, 0, sizeof r.call.present);
    r.is_unreadable = 0;
    enum result done = NO_KERNEL;
    if (fill(&r, given) == 0) {
        const engine run = ((level *)self)->evaluate;
        if (r.views[X].len >= LONG * (Py_ssize_t)r.views[X].itemsize) {
            Py_BEGIN_ALLOW_THREADS
            done = run(&r.call);
            Py_END_ALLOW_THREADS
        } else {
            done = run(&r.call);
        }
        if (done == NO_KERNEL)
            PyErr_SetString(PyExc_ValueError, "there is no kernel for this formula and its outputs");
    }
    release(&r);
    if (r.is_unreadable) {
        PyErr_Clear();
        Py_RETURN_FALSE;
    }
    if (done != DONE)
        return NULL;
    Py_RETURN_TRUE;
}

static PyObject *name_of(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(((level *)self)->name);
}

static PyObject *represent(PyObject *self)
{
    return PyUnicode_FromFormat("<compiled kernels, %s>", ((level *)self)->name);
}

static PyMethodDef methods[] = {
    {"evaluate", (PyCFunction)(void (*)(void))evaluate, METH_FASTCALL,
     "evaluate(formula, outputs, is_double, x, targets, weight, pos_weight, where, smoothing,\n"
     "         eps, divisor, first, second, summed, is_bfloat16, threads)\n\n"
     "Evaluate a formula of `formulas` and fill the arrays first and second, one per output.\n"
     "Return False, and do nothing, if an operand has a dtype that no kernel reads."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef attributes[] = {
    {"name", name_of, NULL, "The instruction set, such as \"AVX2\".", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {Py_tp_repr, (void *)represent},
    {0, NULL},
};
static PyType_Spec spec = {
    .name = "portable_bce._kernels._compiled.Level",
    .basicsize = sizeof(level),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

static int add_level(PyObject *levels, PyObject *type, const char *name, engine evaluate_level)
{
    level *made = PyObject_New(level, (PyTypeObject *)type);
    if (!made)
        return -1;
    made->name = name;
    made->evaluate = evaluate_level;
    const int status = PyList_Append(levels, (PyObject *)made);
    Py_DECREF(made);
    return status;
}

#if defined(__x86_64__)
/* Clang before 17 does not know "f16c" by its name. */
static int has_f16c(void)
{
    unsigned int a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

/* Append the levels that this CPU has: each feature is asked for by its own name. */
static int add_levels(PyObject *levels, PyObject *type)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
#endif
#if defined(HAS_AVX512)
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")
        && add_level(levels, type, "AVX-512", evaluate_avx512) < 0)
        return -1;
#endif
#if defined(HAS_AVX2)
    if (avx2 && add_level(levels, type, "AVX2", evaluate_avx2) < 0)
        return -1;
#endif
#if defined(HAS_NEON)
    if (add_level(levels, type, "NEON", evaluate_neon) < 0)
        return -1;
#endif
    return 0;
}

/* Return a tuple of names, or of tuples of the names in each, which a comma parts. */
static PyObject *names(const char *const *given, int are_lists)
{
    PyObject *list = PyList_New(0);
    for (; list && *given; given++) {
        PyObject *text = PyUnicode_FromString(*given), *item = text;
        if (text && are_lists) {
            PyObject *comma = PyUnicode_FromString(",");
            PyObject *split = comma ? PyUnicode_Split(text, comma, -1) : NULL;
            item = split ? PyList_AsTuple(split) : NULL;
            Py_XDECREF(split);
            Py_XDECREF(comma);
            Py_DECREF(text);
        }
        if (!item || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    PyObject *result = list ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return result;
}

static int add(PyObject *module, const char *name, PyObject *value)
{
    const int status = value ? PyModule_AddObjectRef(module, name, value) : -1;
    Py_XDECREF(value);
    return status;
}

static int execute(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&spec), *levels = PyList_New(0);
    int status = type && levels ? add_levels(levels, type) : -1;
    if (status == 0)
        status = add(module, "levels", PyList_AsTuple(levels));
    Py_XDECREF(levels);
    Py_XDECREF(type);
    if (status < 0 || add(module, "formulas", names(formula_names, 0)) < 0)
        return -1;
    return add(module, "outputs", names(output_names, 1));
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)execute},
#if defined(Py_mod_gil)
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_compiled",
    .m_doc = "The kernels compiled for this machine's CPU.", .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__compiled(void) { return PyModuleDef_Init(&definition); }
