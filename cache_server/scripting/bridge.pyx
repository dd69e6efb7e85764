"""The short way between the server and Lua: the C interface of the Lua that lupa carries.

Problem. Through lupa a call of the host costs half a microsecond and a run a whole one: the
interpreter's lock is given up and taken again, and each value is wrapped.

Idea. lupa's module exports Lua's own C functions. They are looked up in it when this module is
imported, and the two crossings that count take them: `redis.call` becomes a C function of Lua
(`host_call`), and a run becomes one protected call (`Bridge.run`). All else still goes through
lupa. Where this module is not built, so do these two (engine.py).

What crosses is what crosses through lupa: see host.py and replies.py.

Safety. A Lua error is a longjmp, and any function that allocates in Lua may raise one. So nothing
that Lua may leave by a jump holds a reference of Python's: `take_request` asks Lua for nothing that
allocates and leaves the answer in the `Crossing`, `host_call` pushes it from there as a borrowed
reference; a run is inside `lua_pcall`, and its results are read by functions that do not allocate.

Source: the Lua 5.1 reference manual, https://www.lua.org/manual/5.1/manual.html#3.
"""

import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdio cimport snprintf
from lupa import lua51

from cache_server.scripting import replies
from cache_server.scripting.host cimport Host

cdef extern from *:
    """
    #include <dlfcn.h>
    #include <stddef.h>

    typedef struct lua_State lua_State;
    typedef int (*lua_CFunction)(lua_State *);
    #define LUA_UPVALUE_1 (-10003)
    #define LUA_REGISTRY (-10000)
    #define LUA_ALL_RESULTS (-1)

    #define LUA_FUNCTIONS(X) \\
        X(int, lua_gettop, (lua_State *)) \\
        X(void, lua_settop, (lua_State *, int)) \\
        X(int, lua_checkstack, (lua_State *, int)) \\
        X(int, lua_type, (lua_State *, int)) \\
        X(double, lua_tonumber, (lua_State *, int)) \\
        X(int, lua_toboolean, (lua_State *, int)) \\
        X(size_t, lua_objlen, (lua_State *, int)) \\
        X(int, lua_next, (lua_State *, int)) \\
        X(const char *, lua_tolstring, (lua_State *, int, size_t *)) \\
        X(void *, lua_touserdata, (lua_State *, int)) \\
        X(void, lua_pushnil, (lua_State *)) \\
        X(void, lua_pushnumber, (lua_State *, double)) \\
        X(void, lua_pushboolean, (lua_State *, int)) \\
        X(void, lua_pushlstring, (lua_State *, const char *, size_t)) \\
        X(void, lua_pushlightuserdata, (lua_State *, void *)) \\
        X(void, lua_pushcclosure, (lua_State *, lua_CFunction, int)) \\
        X(void, lua_createtable, (lua_State *, int, int)) \\
        X(void, lua_rawseti, (lua_State *, int, int)) \\
        X(void, lua_rawgeti, (lua_State *, int, int)) \\
        X(void, lua_setfield, (lua_State *, int, const char *)) \\
        X(void, lua_call, (lua_State *, int, int)) \\
        X(int, lua_pcall, (lua_State *, int, int, int)) \\
        X(int, luaL_ref, (lua_State *, int)) \\
        X(int, luaL_error, (lua_State *, const char *, ...))

    #define LUA_DECLARE(type, name, args) static type (*name) args;
    LUA_FUNCTIONS(LUA_DECLARE)

    /* The name of a function that is not in the library, or NULL. */
    static const char *lua_find(const char *path) {
        void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
        if (library == NULL) return path;
    #define LUA_LOOK_UP(type, name, args) \\
        *(void **)&name = dlsym(library, #name); \\
        if (name == NULL) return #name;
        LUA_FUNCTIONS(LUA_LOOK_UP)
        return NULL;
    }

    /* One call of `redis.call`, and one run, between the two languages. */
    typedef struct {
        lua_State *state;
        PyObject *host;     /* borrowed */
        PyObject *answer;   /* owned: what the host answered, or what a run came to */
        PyObject *words;    /* borrowed: the arguments of a run */
        long long number;
        long long key_count;
        int protocol;
        int run;            /* references in Lua's registry */
        int enter;
    } Crossing;

    typedef void (*Taker)(Crossing *, lua_State *);
    static Taker take_request, take_results;

    static void push_plain(lua_State *L, PyObject *value) {
        if (PyBytes_CheckExact(value)) lua_pushlstring(L, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
        else if (PyLong_CheckExact(value)) lua_pushnumber(L, PyLong_AsDouble(value));
        else if (PyFloat_CheckExact(value)) lua_pushnumber(L, PyFloat_AS_DOUBLE(value));
        else if (value == Py_None) lua_pushnil(L);
        else lua_pushboolean(L, value == Py_True);
    }

    static int push_tuple(lua_State *L, PyObject *answer) {
        Py_ssize_t count = PyTuple_GET_SIZE(answer), i;
        long kind = count > 1 && PyLong_CheckExact(PyTuple_GET_ITEM(answer, 1))
            ? PyLong_AsLong(PyTuple_GET_ITEM(answer, 1)) : -1;
        if (kind == 1) {
            lua_createtable(L, 0, 1);
            push_plain(L, PyTuple_GET_ITEM(answer, 0));
            lua_setfield(L, -2, "ok");
            return 1;
        }
        if (kind == 2) {
            lua_createtable(L, (int)count - 2, 0);
            for (i = 2; i < count; i++) {
                push_plain(L, PyTuple_GET_ITEM(answer, i));
                lua_rawseti(L, -2, (int)i - 1);
            }
            return 1;
        }
        for (i = 0; i < count; i++) push_plain(L, PyTuple_GET_ITEM(answer, i));
        return (int)count;
    }

    /* The C function behind redis.call. */
    static int host_call(lua_State *L) {
        Crossing *crossing = lua_touserdata(L, LUA_UPVALUE_1);
        take_request(crossing, L);
        if (!lua_checkstack(L, 8)) return luaL_error(L, "stack overflow");
        if (PyTuple_CheckExact(crossing->answer)) return push_tuple(L, crossing->answer);
        push_plain(L, crossing->answer);
        return 1;
    }

    /* A run, inside lua_pcall. */
    static int enter_run(lua_State *L) {
        Crossing *crossing = lua_touserdata(L, 1);
        Py_ssize_t count = PyList_GET_SIZE(crossing->words), i;
        if (!lua_checkstack(L, (int)count + 8)) return luaL_error(L, "too many arguments");
        lua_settop(L, 0);
        lua_rawgeti(L, LUA_REGISTRY, crossing->run);
        lua_pushnumber(L, (double)crossing->number);
        lua_pushnumber(L, crossing->protocol);
        lua_pushnumber(L, (double)crossing->key_count);
        for (i = 0; i < count; i++) push_plain(L, PyList_GET_ITEM(crossing->words, i));
        lua_call(L, (int)count + 3, LUA_ALL_RESULTS);
        take_results(crossing, L);
        return 0;
    }

    /* (value) -> whether a table is a list of strings and integers alone: a run returns it as it is. */
    static int is_plain_list(lua_State *L) {
        size_t count = lua_objlen(L, 1), i;
        int plain = 1;
        lua_settop(L, 1);
        if (count) lua_pushnumber(L, (double)count);
        else lua_pushnil(L);
        if (lua_next(L, 1)) plain = 0;  /* a key behind the last of the list */
        for (i = 1; plain && i <= count; i++) {
            lua_settop(L, 1);
            lua_rawgeti(L, 1, (int)i);
            int type = lua_type(L, 2);
            if (type == 3) {
                double number = lua_tonumber(L, 2);
                plain = number > -9e15 && number < 9e15;
            } else plain = type == 4;
        }
        lua_pushboolean(L, plain);
        return 1;
    }

    /* What package.loadlib finds. (address) -> redis.call's function and `is_plain_list`;
       (address, run) keeps the function that runs. */
    __attribute__((visibility("default"))) int cache_server_bridge(lua_State *L) {
        Crossing *crossing = (Crossing *)(size_t)lua_tonumber(L, 1);
        if (lua_gettop(L) == 1) {
            lua_pushlightuserdata(L, crossing);
            lua_pushcclosure(L, host_call, 1);
            lua_pushcclosure(L, is_plain_list, 0);
            return 2;
        }
        crossing->state = L;
        lua_settop(L, 2);
        crossing->run = luaL_ref(L, LUA_REGISTRY);
        lua_pushcclosure(L, enter_run, 0);
        crossing->enter = luaL_ref(L, LUA_REGISTRY);
        return 0;
    }
    """
    ctypedef struct lua_State:
        pass
    ctypedef struct Crossing:
        lua_State *state
        PyObject *host
        PyObject *answer
        PyObject *words
        long long number
        long long key_count
        int protocol
        int run
        int enter
    int LUA_REGISTRY
    ctypedef void (*Taker)(Crossing *, lua_State *) noexcept
    Taker take_request, take_results
    const char *lua_find(const char *)
    int lua_gettop(lua_State *)
    void lua_settop(lua_State *, int)
    int lua_type(lua_State *, int)
    double lua_tonumber(lua_State *, int)
    int lua_toboolean(lua_State *, int)
    const char *lua_tolstring(lua_State *, int, size_t *)
    size_t lua_objlen(lua_State *, int)
    void lua_rawgeti(lua_State *, int, int)
    void lua_pushlightuserdata(lua_State *, void *)
    int lua_pcall(lua_State *, int, int, int)

cdef const char *_missing = lua_find(lua51.__file__.encode())
if _missing != NULL:
    raise ImportError(f"lupa's Lua 5.1 has no {_missing.decode()}")

log = logging.getLogger("cache_server")

DEF BOOLEAN = 1
DEF NUMBER = 3
DEF STRING = 4
DEF TABLE = 5


cdef object value_at(lua_State *L, int index):
    """A plain value on Lua's stack; None for anything else."""
    cdef int kind = lua_type(L, index)
    cdef size_t size
    cdef const char *text
    cdef double number
    if kind == STRING:
        text = lua_tolstring(L, index, &size)
        return PyBytes_FromStringAndSize(text, size)
    if kind == NUMBER:
        number = lua_tonumber(L, index)
        if -9e18 < number < 9e18 and number == <double><long long>number:
            return <long long>number
        return number
    if kind == BOOLEAN:
        return bool(lua_toboolean(L, index))
    return None


cdef object word_at(lua_State *L, int index):
    """A string or number on Lua's stack as a command's argument (as host._word has it)."""
    cdef char text[32]
    cdef double number
    if lua_type(L, index) != NUMBER:
        return value_at(L, index)
    number = lua_tonumber(L, index)
    if -1e17 < number < 1e17 and number == <double><long long>number:
        return PyBytes_FromStringAndSize(text, snprintf(text, 32, "%lld", <long long>number))
    return PyBytes_FromStringAndSize(text, snprintf(text, 32, "%.17g", number))


cdef list list_at(lua_State *L, int index):
    """A plain list on Lua's stack."""
    cdef list result = []
    cdef int position
    for position in range(1, <int>lua_objlen(L, index) + 1):
        lua_rawgeti(L, index, position)
        result.append(
            <long long>lua_tonumber(L, -1) if lua_type(L, -1) == NUMBER else value_at(L, -1)
        )
        lua_settop(L, -2)
    return result


cdef void keep(Crossing *crossing, object answer) noexcept:
    """The answer is held until the next one."""
    cdef PyObject *before = crossing.answer
    Py_INCREF(answer)
    crossing.answer = <PyObject *>answer
    Py_XDECREF(before)


cdef void request_taken(Crossing *crossing, lua_State *L) noexcept with gil:
    """Hands the host a call's arguments, and keeps what it answers."""
    cdef list request = []
    cdef int index
    try:
        for index in range(1, lua_gettop(L) + 1):
            request.append(word_at(L, index))
        keep(crossing, (<Host>crossing.host).answer(request))
    except Exception as error:
        log.exception("a script's call failed")
        keep(crossing, (b"ERR internal error: " + repr(error).encode(), replies.MISUSE))


cdef void results_taken(Crossing *crossing, lua_State *L) noexcept:
    """Keeps what a run returned: a value, a plain list, or a tuple of several."""
    cdef int count = lua_gettop(L)
    cdef int index
    try:
        if count == 1 and lua_type(L, 1) == TABLE:
            keep(crossing, list_at(L, 1))
        elif count == 1:
            keep(crossing, value_at(L, 1))
        else:
            keep(crossing, tuple([value_at(L, index) for index in range(1, count + 1)]))
    except MemoryError:
        # Else the answer of the run's last call would pass for what the run returned.
        keep(crossing, (False, b"ERR not enough memory for the script's reply", None, False))


take_request = request_taken
take_results = results_taken


cdef class Bridge:
    """The two crossings of one interpreter."""

    cdef Crossing crossing
    cdef Host host
    cdef object opener

    def __cinit__(self, runtime, Host host):
        self.host = host
        self.crossing.host = <PyObject *>host
        self.opener = runtime.eval(b"package.loadlib")(__file__.encode(), b"cache_server_bridge")

    def __dealloc__(self):
        Py_XDECREF(self.crossing.answer)

    @property
    def functions(self):
        """Functions of Lua: redis.call's, and the one that tells whether a value is a plain list."""
        return self.opener(<size_t>&self.crossing)

    def keep_run(self, run):
        """Says which function of Lua runs a script."""
        self.opener(<size_t>&self.crossing, run)

    cpdef run(self, long long number, int protocol, long long key_count, list words):
        """One run; what the function returned. Raises LuaError for what it did not catch."""
        cdef Crossing *crossing = &self.crossing
        cdef object problem, result
        crossing.words = <PyObject *>words
        crossing.number = number
        crossing.protocol = protocol
        crossing.key_count = key_count
        lua_rawgeti(crossing.state, LUA_REGISTRY, crossing.enter)
        lua_pushlightuserdata(crossing.state, crossing)
        if lua_pcall(crossing.state, 1, 0, 0):
            problem = value_at(crossing.state, -1)
            lua_settop(crossing.state, -2)
            raise lua51.LuaError(problem)
        result = <object>crossing.answer
        keep(crossing, None)
        return result
