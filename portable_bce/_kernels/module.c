/* portable_bce._kernels._compiled: the levels that this CPU can run, best first. */
#include <Python.h>
#include <structmember.h>

#include "engine.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Clang before 17 does not know "f16c" by its name. The operating system keeps the registers that
   F16C uses where it keeps those of AVX2, which is asked for, too. */
static int has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
#endif

typedef struct {
    PyObject_HEAD
    const Engine *engine;
    const char *name;
} Level;

static void level_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMemberDef level_members[] = {
    {"name", T_STRING, offsetof(Level, name), READONLY, "What the level is called."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot level_slots[] = {
    {Py_tp_dealloc, level_dealloc},
    {Py_tp_members, level_members},
    {0, NULL},
};

static PyType_Spec level_spec = {
    .name = "portable_bce._kernels._compiled.Level",
    .basicsize = sizeof(Level),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = level_slots,
};

static int append(PyObject *list, PyObject *type, const Engine *engine)
{
    Level *level = PyObject_New(Level, (PyTypeObject *)type);
    if (level == NULL)
        return -1;
    level->engine = engine;
    level->name = engine->name;
    int status = PyList_Append(list, (PyObject *)level);
    Py_DECREF(level);
    return status;
}

/* Return the levels that this CPU can run, best first. */
static PyObject *levels_of_cpu(PyObject *type)
{
    PyObject *list = PyList_New(0), *tuple = NULL;
    if (list == NULL)
        return NULL;
#ifdef HAS_AVX512
    if (has_avx512() && append(list, type, &engine_avx512))
        goto end;
#endif
#ifdef HAS_AVX2
    if (has_avx2() && append(list, type, &engine_avx2))
        goto end;
#endif
#ifdef HAS_NEON
    if (append(list, type, &engine_neon))
        goto end;
#endif
    tuple = PyList_AsTuple(list);
    goto end;
end:
    Py_DECREF(list);
    return tuple;
}

static int execute(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&level_spec);
    if (type == NULL)
        return -1;
    PyObject *levels = levels_of_cpu(type);
    int status = levels == NULL ? -1 : PyModule_AddObjectRef(module, "Level", type);
    if (status == 0)
        status = PyModule_AddObjectRef(module, "levels", levels);
    Py_XDECREF(levels);
    Py_DECREF(type);
    return status;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_compiled",
    .m_doc = "The formula compiled for the CPU.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__compiled(void)
{
    return PyModuleDef_Init(&definition);
}
