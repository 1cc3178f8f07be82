// What CuPy asks of CUDA's runtime and driver, of a device that is this CPU.
//
// Work is put off until somebody waits for it, so whoever does not wait is seen not to.
// The functions have the signatures by which CuPy's extensions call each other: Cython's, with
// an argument more.
#include <Python.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

typedef std::function<void()> Work;
typedef Work (*Launcher)(unsigned int, unsigned int, void **, bool);
struct Function {
  Launcher launcher;
  std::string name;
};

static std::deque<Work> queue;
static long long done = 0;  // works so far
static std::map<intptr_t, long long> events;  // how many were to be done
static std::vector<std::string> launches;
static bool is_backwards = false;
static intptr_t handles = 0;
static int current = 0;

static void finish() {
  for (; !queue.empty(); queue.pop_front(), done++) queue.front()();
}

static PyObject *none() { Py_RETURN_NONE; }

static PyObject *finished() {
  finish();
  return none();
}

static intptr_t failed(const char *what, const char *why) {
  PyErr_Format(PyExc_RuntimeError, "the emulated device cannot %s: %s", what, why);
  return 0;
}

extern "C" {
// The runtime.
PyObject *_ensure_context() { return none(); }
int driverGetVersion(int) { return 13000; }
int runtimeGetVersion(int) { return 13000; }
int _getCUDAMajorVersion(int) { return 13; }
int getDeviceCount(int) { return 2; }
int getDevice(int) { return current; }
PyObject *setDevice(int device, int) { return current = device, none(); }
int deviceCanAccessPeer(int, int, int) { return 0; }
int deviceGetAttribute(int attribute, int, int) {
  switch (attribute) {
    case 1: return 1024;  // threads of a block
    case 8: return 49152;  // bytes of memory that they share
    case 10: return 32;  // threads of a warp
    case 16: return 132;  // multiprocessors
    case 75: return 9;  // compute capability
    default: return 0;
  }
}
PyObject *memGetInfo(int) { return Py_BuildValue("(LL)", 1LL << 33, 1LL << 33); }
PyObject *deviceSynchronize(int) { return finished(); }

intptr_t runtime_malloc(size_t size, int) {
  void *place = nullptr;
  if (posix_memalign(&place, 512, size + 1)) return failed("allocate", "no memory");
  memset(place, 0xA5, size);  // nothing that a kernel may take for a result
  return reinterpret_cast<intptr_t>(place);
}
PyObject *runtime_free(intptr_t place, int) {
  finish();
  free(reinterpret_cast<void *>(place));
  return none();
}
intptr_t mallocAsync(size_t size, intptr_t, int) { return runtime_malloc(size, 0); }
PyObject *freeAsync(intptr_t place, intptr_t, int) { return runtime_free(place, 0); }
intptr_t hostAlloc(size_t size, unsigned int, int) { return runtime_malloc(size, 0); }
PyObject *freeHost(intptr_t place, int) { return runtime_free(place, 0); }
int pointerGetMemoryType(intptr_t, int) { return 0; }

PyObject *memcpyAsync(intptr_t to, intptr_t from, size_t size, int kind, intptr_t, int) {
  const bool is_from_host = kind == 1;  // who may write over it at once
  const char *source = reinterpret_cast<char *>(from);
  std::vector<char> kept(source, source + (is_from_host ? size : 0));
  queue.push_back([=, kept = std::move(kept)] {
    memcpy(reinterpret_cast<void *>(to), is_from_host ? kept.data() : source, size);
  });
  return none();
}
PyObject *runtime_memcpy(intptr_t to, intptr_t from, size_t size, int kind, int) {
  Py_DECREF(memcpyAsync(to, from, size, kind, 0, 0));
  return finished();
}
PyObject *memsetAsync(intptr_t place, int value, size_t size, intptr_t, int) {
  queue.push_back([=] { memset(reinterpret_cast<void *>(place), value, size); });
  return none();
}
PyObject *runtime_memset(intptr_t place, int value, size_t size, int) {
  return memsetAsync(place, value, size, 0, 0);
}

// Streams: one queue serves all.
intptr_t streamCreate(int) { return ++handles; }
intptr_t streamCreateWithFlags(unsigned int, int) { return ++handles; }
intptr_t streamCreateWithPriority(unsigned int, int, int) { return ++handles; }
PyObject *streamDestroy(intptr_t, int) { return none(); }
PyObject *streamSynchronize(intptr_t, int) { return finished(); }
PyObject *streamQuery(intptr_t, int) { return PyLong_FromLong(queue.empty() ? 0 : 600); }
int streamIsCapturing(intptr_t, int) { return 0; }
PyObject *streamWaitEvent(intptr_t, intptr_t, int, void *) { return none(); }
intptr_t eventCreate(int) { return ++handles; }
intptr_t eventCreateWithFlags(unsigned int, int) { return ++handles; }
PyObject *eventDestroy(intptr_t event, int) { return events.erase(event), none(); }
PyObject *eventRecord(intptr_t event, intptr_t, int) { return events[event] = done + queue.size(), none(); }
PyObject *eventSynchronize(intptr_t, int) { return finished(); }
PyObject *eventQuery(intptr_t event, int) { return PyLong_FromLong(events[event] <= done ? 0 : 600); }
float eventElapsedTime(intptr_t, intptr_t, int) { return 0; }

// The driver: a module is a shared library, which is what our compiler makes.
intptr_t moduleLoadData(PyObject *image, int) {
  char *bytes;
  Py_ssize_t size;
  if (PyBytes_AsStringAndSize(image, &bytes, &size)) return 0;
  // A name of its own each time: dlopen knows libraries by their names.
  const std::string path = "/dev/shm/portable_bce-" + std::to_string(getpid()) + "-" + std::to_string(++handles);
  FILE *file = fopen(path.c_str(), "wb");
  if (!file || fwrite(bytes, 1, size, file) != size_t(size) || fclose(file))
    return failed("load a module", "no room in /dev/shm");
  void *module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  unlink(path.c_str());
  return module ? reinterpret_cast<intptr_t>(module) : failed("load a module", dlerror());
}
PyObject *moduleUnload(intptr_t, int) { return none(); }
intptr_t moduleGetFunction(intptr_t module, PyObject *name, int) {
  const std::string symbol = std::string("launch_") + PyUnicode_AsUTF8(name);
  void *found = dlsym(reinterpret_cast<void *>(module), symbol.c_str());
  if (!found) return failed("find a kernel", dlerror());
  auto *function = new Function{reinterpret_cast<Launcher>(found), PyUnicode_AsUTF8(name)};
  return reinterpret_cast<intptr_t>(function);
}
PyObject *launchKernel(
    intptr_t function, unsigned int grid, unsigned int grid_y, unsigned int grid_z, unsigned int block,
    unsigned int block_y, unsigned int block_z, unsigned int, intptr_t, intptr_t arguments, intptr_t, int) {
  if (grid_y * grid_z * block_y * block_z != 1 || block > 1024)
    return failed("launch a kernel", "the grid has one axis, a block 1024 threads"), nullptr;
  const auto *given = reinterpret_cast<Function *>(function);
  launches.push_back(given->name);
  queue.push_back(given->launcher(grid, block, reinterpret_cast<void **>(arguments), is_backwards));
  return none();
}
int funcGetAttribute(int, intptr_t, int) { return 0; }
PyObject *funcSetAttribute(intptr_t, int, int, int) { return none(); }

// For the tests.
PyObject *take_launches() {
  PyObject *names = PyList_New(0);
  for (const auto &one : launches) {
    PyObject *name = PyUnicode_FromString(one.c_str());
    PyList_Append(names, name);
    Py_DECREF(name);
  }
  launches.clear();
  return names;
}
void run_backwards(bool is) { is_backwards = is; }
}
