"""The short way between the server and Lua: the C interface of the Lua that lupa carries.

Problem. Through lupa a call of the host costs half a microsecond and a run a whole one: the
interpreter's lock is given up and taken again, and each value is wrapped.

Idea. lupa's module exports Lua's own C functions. They are looked up in it when this module is
imported, and what every script does takes them: `redis.call` and `redis.pcall` are C functions of
Lua (`script_call`), a run is one protected call (`Bridge.run`) that makes KEYS and ARGV at their
size and reads a plain result where it lies, `tonumber` knows a short integer when it sees one. All
else still goes through lupa. Where this module is not built, so does the rest (engine.py).

    Bridge.run -> enter_run -> core.lua: run -> the script -> script_call -> Host.answer
                      `-> the result, by core.lua's `finish` where it is not plain

What crosses is what crosses through lupa: see host.py and replies.py.

Safety. A Lua error is a longjmp, and any function that allocates in Lua may raise one. So nothing
that Lua may leave by a jump holds a reference of Python's: `take_request` asks Lua for nothing that
allocates and leaves the answer in the `Crossing`, `script_call` pushes it from there as a borrowed
reference; a run is inside `lua_pcall`, and its results are read by functions that do not allocate.
What a script can get hold of has the emptied table of real globals as its environment.

Source: the Lua 5.1 reference manual, https://www.lua.org/manual/5.1/manual.html#3.
"""

import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.math cimport signbit
from libc.stdio cimport snprintf
from libc.string cimport memcmp
from lupa import lua51

from cache_server.client cimport Client
from cache_server.constants import SCRIPT_GARBAGE_BYTES_MAX
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
    #define LUA_UPVALUE_2 (-10004)
    #define LUA_GLOBALS (-10002)
    #define LUA_ALL_RESULTS (-1)
    enum { NIL = 0, BOOLEAN = 1, NUMBER = 3, STRING = 4, TABLE = 5 };
    enum { STATUS = 1, LIST = 2 };  /* replies.py */
    #define FIRST_WORD 3            /* EVAL script numkeys word ... */
    #define NAMES 64
    enum { COLLECT = 2, COUNT_KIB = 3 };  /* what lua_gc is asked for */

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
        X(void, lua_pushvalue, (lua_State *, int)) \\
        X(int, lua_setfenv, (lua_State *, int)) \\
        X(lua_CFunction, lua_tocfunction, (lua_State *, int)) \\
        X(void, lua_pushcclosure, (lua_State *, lua_CFunction, int)) \\
        X(void, lua_createtable, (lua_State *, int, int)) \\
        X(void, lua_rawseti, (lua_State *, int, int)) \\
        X(void, lua_rawgeti, (lua_State *, int, int)) \\
        X(void, lua_setfield, (lua_State *, int, const char *)) \\
        X(void, lua_call, (lua_State *, int, int)) \\
        X(int, lua_pcall, (lua_State *, int, int, int)) \\
        X(int, lua_gc, (lua_State *, int, int)) \\
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
        PyObject *caller;   /* borrowed, of a run; NULL outside */
        PyObject *words;    /* borrowed: the request that is a run */
        PyObject *names[NAMES];  /* owned: names of commands that scripts called */
        long long number;
        long long key_count;
        int run;            /* references in Lua's registry */
        int finish;
        int enter;
    } Crossing;

    static void (*take_request)(Crossing *, lua_State *);
    static void (*take_request_unlocked)(Crossing *, lua_State *);
    static void (*take_results)(Crossing *, lua_State *, int);
    static int (*take_protocol)(Crossing *);

    static void push_plain(lua_State *L, PyObject *value) {
        if (PyBytes_CheckExact(value)) lua_pushlstring(L, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
        else if (PyLong_CheckExact(value)) lua_pushnumber(L, PyLong_AsDouble(value));
        else if (PyFloat_CheckExact(value)) lua_pushnumber(L, PyFloat_AS_DOUBLE(value));
        else if (value == Py_None) lua_pushnil(L);
        else lua_pushboolean(L, value == Py_True);
    }

    /* What lies behind redis.call and redis.pcall: its second upvalue is the function of core.lua
       that makes of an answer what the script gets. */
    static int script_call(lua_State *L) {
        Crossing *crossing = lua_touserdata(L, LUA_UPVALUE_1);
        PyObject *answer;
        Py_ssize_t count, i;
        long kind;
        if (crossing->caller) take_request(crossing, L);
        else take_request_unlocked(crossing, L);
        lua_settop(L, 0);
        answer = crossing->answer;
        if (!PyTuple_CheckExact(answer)) {
            push_plain(L, answer);
            return 1;
        }
        count = PyTuple_GET_SIZE(answer);
        kind = PyLong_AsLong(PyTuple_GET_ITEM(answer, 1));
        if (kind == STATUS) {
            lua_createtable(L, 0, 1);
            push_plain(L, PyTuple_GET_ITEM(answer, 0));
            lua_setfield(L, -2, "ok");
        } else if (kind == LIST) {
            lua_createtable(L, (int)count - 2, 0);
            for (i = 2; i < count; i++) {
                push_plain(L, PyTuple_GET_ITEM(answer, i));
                lua_rawseti(L, -2, (int)i - 1);
            }
        } else {
            lua_pushvalue(L, LUA_UPVALUE_2);
            push_plain(L, PyTuple_GET_ITEM(answer, 0));
            lua_pushnumber(L, kind);
            lua_call(L, 2, 1);
        }
        return 1;
    }

    /* tonumber: a decimal integer that a double holds is read here, all else by the real one. */
    static int to_number(lua_State *L) {
        if (lua_gettop(L) == 1 && lua_type(L, 1) == STRING) {
            size_t size, i = 0;
            const char *text = lua_tolstring(L, 1, &size);
            int negative = size > 1 && text[0] == '-';
            if (size - negative >= 1 && size - negative <= 15) {
                long long number = 0;
                for (i = negative; i < size && text[i] >= '0' && text[i] <= '9'; i++)
                    number = number * 10 + (text[i] - '0');
                if (i == size) {
                    lua_pushnumber(L, negative ? -(double)number : (double)number);
                    return 1;
                }
            }
        }
        return lua_tocfunction(L, LUA_UPVALUE_1)(L);
    }

    /* Whether a table is a list of strings and integers alone: a run returns it as it is. */
    static int is_plain_list(lua_State *L, int index) {
        size_t count = lua_objlen(L, index), i;
        int plain = 1, top = lua_gettop(L);
        for (i = 1; plain && i <= count; i++) {
            lua_rawgeti(L, index, (int)i);
            int type = lua_type(L, -1);
            if (type == NUMBER) {
                double number = lua_tonumber(L, -1);
                plain = number > -9e15 && number < 9e15;
            } else plain = type == STRING;
            lua_settop(L, top);
        }
        if (!plain) return 0;
        if (count) lua_pushnumber(L, (double)count);
        else lua_pushnil(L);
        if (!lua_next(L, index)) return 1;
        lua_settop(L, top);  /* a key behind the last of the list */
        return 0;
    }

    static void push_words(lua_State *L, PyObject *words, Py_ssize_t from, Py_ssize_t to) {
        Py_ssize_t i;
        lua_createtable(L, (int)(to - from), 0);
        for (i = from; i < to; i++) {
            push_plain(L, PyList_GET_ITEM(words, i));
            lua_rawseti(L, -2, (int)(i - from) + 1);
        }
    }

    /* A run, inside lua_pcall. */
    static int enter_run(lua_State *L) {
        Crossing *crossing = lua_touserdata(L, 1);
        PyObject *words = crossing->words;
        Py_ssize_t first_arg = FIRST_WORD + (Py_ssize_t)crossing->key_count;
        int type;
        lua_settop(L, 0);
        lua_rawgeti(L, LUA_REGISTRY, crossing->run);
        lua_pushnumber(L, (double)crossing->number);
        push_words(L, words, FIRST_WORD, first_arg);
        push_words(L, words, first_arg, PyList_GET_SIZE(words));
        lua_call(L, 3, 2);
        type = lua_type(L, 2);
        if (lua_toboolean(L, 1) && (type == STRING || type == NUMBER || type == NIL
                                    || (type == TABLE && is_plain_list(L, 2)))) {
            take_results(crossing, L, 2);
            return 0;
        }
        lua_rawgeti(L, LUA_REGISTRY, crossing->finish);
        lua_pushvalue(L, 1);
        lua_pushvalue(L, 2);
        lua_pushnumber(L, take_protocol(crossing));
        lua_call(L, 3, LUA_ALL_RESULTS);
        take_results(crossing, L, 3);
        return 0;
    }

    /* A C function with the emptied globals as its environment, not the table of `package`. */
    static void push_function(lua_State *L, lua_CFunction function, int upvalues) {
        lua_pushcclosure(L, function, upvalues);
        lua_pushvalue(L, LUA_GLOBALS);
        lua_setfenv(L, -2);
    }

    /* (call_result, pcall_result, tonumber) -> redis.call, redis.pcall, tonumber */
    static int make_functions(lua_State *L) {
        int i;
        lua_settop(L, 3);
        for (i = 1; i <= 2; i++) {
            lua_pushvalue(L, LUA_UPVALUE_1);
            lua_pushvalue(L, i);
            push_function(L, script_call, 2);
        }
        lua_pushvalue(L, 3);
        push_function(L, to_number, 1);
        return 3;
    }

    /* What package.loadlib finds. (address) -> `make_functions`; (address, run, finish) keeps the
       functions that run and that tell what a run came to. */
    __attribute__((visibility("default"))) int cache_server_bridge(lua_State *L) {
        Crossing *crossing = (Crossing *)(size_t)lua_tonumber(L, 1);
        if (lua_gettop(L) == 1) {
            lua_pushlightuserdata(L, crossing);
            push_function(L, make_functions, 1);
            return 1;
        }
        crossing->state = L;
        lua_settop(L, 3);
        crossing->finish = luaL_ref(L, LUA_REGISTRY);
        crossing->run = luaL_ref(L, LUA_REGISTRY);
        push_function(L, enter_run, 0);
        crossing->enter = luaL_ref(L, LUA_REGISTRY);
        return 0;
    }

    /* A decimal integer; the number of characters. */
    static int write_integer(char *out, long long number) {
        char digits[24];
        int count = 0, size = 0;
        unsigned long long rest = number < 0 ? 0ULL - (unsigned long long)number : (unsigned long long)number;
        do { digits[count++] = '0' + rest % 10; rest /= 10; } while (rest);
        if (number < 0) out[size++] = '-';
        while (count) out[size++] = digits[--count];
        return size;
    }
    """
    ctypedef struct lua_State:
        pass
    ctypedef struct Crossing:
        lua_State *state
        PyObject *host
        PyObject *answer
        PyObject *caller
        PyObject *words
        PyObject **names
        long long number
        long long key_count
        int enter
    int LUA_REGISTRY
    int NAMES, BOOLEAN, NUMBER, STRING, TABLE, COLLECT, COUNT_KIB
    void (*take_request)(Crossing *, lua_State *) noexcept
    void (*take_request_unlocked)(Crossing *, lua_State *) noexcept
    void (*take_results)(Crossing *, lua_State *, int) noexcept
    int (*take_protocol)(Crossing *) noexcept
    const char *lua_find(const char *)
    int write_integer(char *, long long)
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
    int lua_gc(lua_State *, int, int)

cdef const char *_missing = lua_find(lua51.__file__.encode())
if _missing != NULL:
    raise ImportError(f"lupa's Lua 5.1 has no {_missing.decode()}")

log = logging.getLogger("cache_server")

DEF NAME_BYTES_MAX = 32
cdef int GARBAGE_KIB_MAX = SCRIPT_GARBAGE_BYTES_MAX // 1024


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
    cdef bint whole
    if lua_type(L, index) != NUMBER:
        return value_at(L, index)
    number = lua_tonumber(L, index)
    whole = -1e17 < number < 1e17 and number == <double><long long>number
    if whole and not (number == 0 and signbit(number)):
        return PyBytes_FromStringAndSize(text, write_integer(text, <long long>number))
    return PyBytes_FromStringAndSize(text, snprintf(text, 32, "%.17g", number))


cdef object name_at(Crossing *crossing, lua_State *L, int index):
    """The name of a command: the same object again for the same string of Lua, so that its hash is
    known already."""
    cdef size_t size
    cdef const char *text
    cdef PyObject *known
    cdef PyObject **place
    cdef bytes name
    if lua_type(L, index) != STRING:
        return word_at(L, index)
    text = lua_tolstring(L, index, &size)
    if size > NAME_BYTES_MAX:
        return PyBytes_FromStringAndSize(text, size)
    place = &crossing.names[(<size_t>text >> 4) % <size_t>NAMES]
    known = place[0]
    if known != NULL and <size_t>PyBytes_GET_SIZE(<object>known) == size:
        if memcmp(PyBytes_AS_STRING(<object>known), text, size) == 0:
            return <object>known
    name = PyBytes_FromStringAndSize(text, size)
    Py_INCREF(name)
    place[0] = <PyObject *>name
    Py_XDECREF(known)
    return name


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


cdef void request_taken(Crossing *crossing, lua_State *L) noexcept:
    """Hands the host a call's arguments, and keeps what it answers."""
    cdef int count = lua_gettop(L)
    cdef int index
    cdef list request
    cdef object word
    try:
        request = PyList_New(count)
        for index in range(count):
            word = word_at(L, index + 1) if index else name_at(crossing, L, 1)
            Py_INCREF(word)
            PyList_SET_ITEM(request, index, word)
        keep(crossing, (<Host>crossing.host).answer(request))
    except Exception as error:
        log.exception("a script's call failed")
        keep(crossing, (b"ERR internal error: " + repr(error).encode(), replies.MISUSE))


cdef void request_taken_unlocked(Crossing *crossing, lua_State *L) noexcept with gil:
    """`request_taken` outside of a run: lupa gave up the interpreter's lock (FUNCTION LOAD)."""
    request_taken(crossing, L)


cdef void results_taken(Crossing *crossing, lua_State *L, int first) noexcept:
    """Keeps what a run returned, from `first` on the stack: a value, a plain list, or a tuple of
    several."""
    cdef int count = lua_gettop(L)
    cdef int index
    try:
        if count == first and lua_type(L, first) == TABLE:
            keep(crossing, list_at(L, first))
        elif count == first:
            keep(crossing, value_at(L, first))
        else:
            keep(crossing, tuple([value_at(L, index) for index in range(first, count + 1)]))
    except MemoryError:
        # Else the answer of the run's last call would pass for what the run returned.
        keep(crossing, (False, b"ERR not enough memory for the script's reply", None, False))


cdef int protocol_taken(Crossing *crossing) noexcept:
    """The protocol version of who runs the script."""
    return (<Client>crossing.caller).protocol


take_request = request_taken
take_request_unlocked = request_taken_unlocked
take_results = results_taken
take_protocol = protocol_taken


cdef class Bridge:
    """The crossings of one interpreter."""

    cdef Crossing crossing
    cdef Host host
    cdef object opener
    cdef int collect_at_kib

    def __cinit__(self, runtime, Host host):
        self.host = host
        self.collect_at_kib = GARBAGE_KIB_MAX
        self.crossing.host = <PyObject *>host
        self.opener = runtime.eval(b"package.loadlib")(__file__.encode(), b"cache_server_bridge")

    def __dealloc__(self):
        cdef int index
        Py_XDECREF(self.crossing.answer)
        for index in range(NAMES):
            Py_XDECREF(self.crossing.names[index])

    @property
    def functions(self):
        """A function of Lua: (call_result, pcall_result, tonumber) -> redis.call, redis.pcall,
        tonumber."""
        return self.opener(<size_t>&self.crossing)

    def keep_functions(self, run, finish):
        """Says which functions of Lua run a script, and tell what it came to."""
        self.opener(<size_t>&self.crossing, run, finish)

    cdef void collect(self):
        """A full collection of garbage: Lua's own would come when as much again has been taken."""
        lua_gc(self.crossing.state, COLLECT, 0)
        self.collect_at_kib = GARBAGE_KIB_MAX + 2 * lua_gc(self.crossing.state, COUNT_KIB, 0)

    cpdef run(self, long long number, Client caller, long long key_count, list words):
        """One run for the request `words`; what the function returned. Raises LuaError for what it
        did not catch."""
        cdef Crossing *crossing = &self.crossing
        cdef object problem, result
        cdef int failed
        crossing.words = <PyObject *>words
        crossing.number = number
        crossing.key_count = key_count
        crossing.caller = <PyObject *>caller
        lua_rawgeti(crossing.state, LUA_REGISTRY, crossing.enter)
        lua_pushlightuserdata(crossing.state, crossing)
        failed = lua_pcall(crossing.state, 1, 0, 0)
        crossing.caller = NULL
        if lua_gc(crossing.state, COUNT_KIB, 0) > self.collect_at_kib:
            self.collect()
        if failed:
            problem = value_at(crossing.state, -1)
            lua_settop(crossing.state, -2)
            raise lua51.LuaError(problem)
        result = <object>crossing.answer
        keep(crossing, None)
        return result
