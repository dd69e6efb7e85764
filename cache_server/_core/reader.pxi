# RequestReader: bytes to requests. The pure twin says the same in Python and is the specification.

cdef Py_ssize_t INLINE_MAX = _INLINE
cdef long long COUNT_MAX = _COUNT
cdef long long COUNT_UNAUTHENTICATED_MAX = _COUNT_UNAUTH
cdef long long BULK_UNAUTHENTICATED_MAX = _BULK_UNAUTH
cdef Py_ssize_t RESERVED_AHEAD_MAX = 1024 * 1024


cdef Py_ssize_t parse_length(const char *text, const char *end, long long *result) noexcept:
    """Reads a length and its CRLF from `text`: how many bytes that took, 0 when the line is not
    whole yet, -1 when it is no length as the protocol writes it."""
    cdef const char *p = text
    cdef const char *digits
    cdef bint negative = False
    cdef unsigned long long value = 0
    if p < end and p[0] == c'-':
        negative = True
        p += 1
    digits = p
    while p < end and c'0' <= p[0] <= c'9':
        value = value * 10 + <unsigned long long>(p[0] - c'0')
        p += 1
    if end - p < 2:
        # Not whole, unless what is there is wrong already: then more bytes cannot mend it.
        return 0 if p == end or p[0] == c'\r' else -1
    if p[0] != c'\r' or p == digits or p - digits > 19 or (digits[0] == c'0' and p - text > 1):
        return -1
    if value > (<unsigned long long>1 << 63) - (not negative):
        return -1
    result[0] = <long long>(0 - value) if negative else <long long>value
    return p + 2 - text


cdef inline const char *read_number(const char *p, const char *end, Py_ssize_t *value) noexcept:
    """Reads a length and its CRLF as nearly all are written: up to nine digits, the line whole.
    What follows them; NULL for any other line, on which `parse_length` decides."""
    cdef const char *digits = p
    cdef unsigned long long number = 0
    cdef unsigned int digit
    while p < end:
        digit = <unsigned int><unsigned char>p[0] - c'0'
        if digit > 9:
            break
        number = number * 10 + digit
        p += 1
    if end - p < 2 or p[0] != c'\r' or p == digits or p - digits > 9:
        return NULL
    if digits[0] == c'0' and p - digits > 1:
        return NULL
    value[0] = <Py_ssize_t>number
    return p + 2


@cython.final
cdef class RequestReader:
    """Feed bytes, take requests. `bulk_length_max` in bytes follows proto-max-bulk-len.

    A request that is there as a whole is read in one go (`take_whole`); one that is not, or that is
    written in any unusual way, in steps that each say what they wait for.

    `spare` is the list of the last request read whole: where nobody else holds it any more, the
    next request is read into it. Who holds a list of arguments keeps it.
    """

    def __init__(self, bulk_length_max=512 * 1024 * 1024):
        self.buffer = Buffer()
        self.buffer.capacity_min = KEPT_CAPACITY
        self.buffer.capacity_kept = PY_SSIZE_T_MAX  # `trim` decides
        self.args = self.spare = None
        self.filled = self.wanted = self.args_bytes = 0
        self.bulk = -1
        self.last_name = b"PING"
        self.bulk_length_max = bulk_length_max
        self.authenticated = True

    cpdef feed(self, bytes data):
        self.buffer.append(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    @property
    def buffered_bytes(self):
        """Bytes held: not yet parsed, and the arguments of the request that is half read."""
        return self.buffer.end - self.buffer.start + self.args_bytes

    @property
    def capacity_bytes(self):
        """Bytes allocated for reading: the buffer, and the arguments of the request half read."""
        return self.buffer.capacity + self.args_bytes

    def trim(self, idle):
        """Gives memory back while nothing is held: all where `idle`, else what is beyond the usual."""
        cdef Buffer b = self.buffer
        if b.start == b.end and (idle or b.capacity > 2 * KEPT_CAPACITY):
            b.free()
            if not idle:
                b.reserve(KEPT_CAPACITY)

    def next_request(self):
        """The next whole request, or None when more bytes are needed.

        Raises ProtocolError with Redis's wording; the reader is not to be used afterwards."""
        return self.take()

    cdef list take(self):
        cdef list args
        if self.wanted == 0:
            args = self.take_whole()
            if args is not None:
                return args
            args = self.read_start()
            if args is not None or self.wanted == 0:
                return args
        if not self.read_arguments():
            return None
        args = self.args
        self.args = None
        self.args_bytes = 0
        if self.filled < PyList_GET_SIZE(args):
            del args[self.filled:]
        return args

    cdef list take_whole(self):
        """A request that is held whole, in its usual form; None for anything else, which is left
        as it is."""
        cdef Buffer b = self.buffer
        cdef const char *p = b.data + b.start
        cdef const char *end = b.data + b.end
        cdef Py_ssize_t count = 0
        cdef Py_ssize_t length = 0
        cdef Py_ssize_t i
        cdef PyObject *held
        cdef bytes name
        cdef list args
        if end - p < 4 or p[0] != c'*' or not self.authenticated:
            return None
        p = read_number(p + 1, end, &count)
        if p == NULL or count == 0 or count > 1024:
            return None
        args = self.spare
        if args is None or PyList_GET_SIZE(args) != count or Py_REFCNT(args) != 2:
            args = self.spare = PyList_New(count)
        for i in range(count):
            if end - p < 4 or p[0] != c'$':
                return None
            p = read_number(p + 1, end, &length)
            if p == NULL or end - p < length + 2 or length > self.bulk_length_max:
                return None
            held = PyList_GET_ITEM_or_NULL(args, i)
            if i == 0:
                name = self.name_of(p, length)
                if held != <PyObject *>name:
                    Py_INCREF(name)
                    PyList_SET_ITEM(args, 0, name)
                    Py_XDECREF(held)
            else:
                set_new_bytes(args, i, p, length)
                Py_XDECREF(held)
            p += length + 2
        b.start = p - b.data
        if b.start == b.end:
            b.clear()
        return args

    cdef list read_start(self):
        """Reads a request's first line; an inline request is returned at once."""
        cdef Buffer b = self.buffer
        cdef const char *line
        cdef const char *line_end
        cdef Py_ssize_t taken
        cdef long long count = 0
        cdef list args
        while b.start < b.end:
            line = b.data + b.start
            if line[0] != c'*':
                args = self.read_inline()
                if args is None or PyList_GET_SIZE(args) > 0:
                    return args
                continue
            taken = parse_length(line + 1, b.data + b.end, &count)
            if taken == 0:
                if b.end - b.start > INLINE_MAX:
                    raise ProtocolError("too big mbulk count string")
                return None
            if taken < 0 or count > COUNT_MAX:
                line_end = <const char *>memchr(line, c'\r', b.end - b.start)
                if line_end == NULL or line_end + 1 >= b.data + b.end:
                    return self.wait_for_line("too big mbulk count string")
                raise ProtocolError("invalid multibulk length")
            if count > COUNT_UNAUTHENTICATED_MAX and not self.authenticated:
                raise ProtocolError("unauthenticated multibulk length")
            b.drop(taken + 1)
            if count > 0:
                self.wanted = count
                # The list is made as large as announced only up to a bound: an announcement is
                # cheap, memory is not.
                self.args = PyList_New(0) if count > 1024 else [None] * count
                self.filled = 0
                return None
        return None

    cdef list read_inline(self):
        cdef Buffer b = self.buffer
        cdef const char *line = b.data + b.start
        cdef const char *end = <const char *>memchr(line, c'\n', b.end - b.start)
        cdef Py_ssize_t length
        if end == NULL:
            if b.end - b.start > INLINE_MAX:
                raise ProtocolError("too big inline request")
            return None
        length = end - line
        text = PyBytes_FromStringAndSize(line, length - 1 if length > 0 and end[-1] == c'\r' else length)
        b.drop(length + 1)
        return split_inline(text)

    cdef list wait_for_line(self, text):
        """A wrong length whose line has no end yet: refused when the end is there, or too far."""
        if self.buffer.end - self.buffer.start > INLINE_MAX:
            raise ProtocolError(text)
        return None

    cdef bint read_arguments(self) except -1:
        cdef Buffer b = self.buffer
        cdef bytes arg
        cdef list args = self.args
        cdef Py_ssize_t length
        while self.wanted > 0:
            if self.bulk < 0 and not self.read_bulk_length():
                return False
            length = <Py_ssize_t>self.bulk
            if b.end - b.start < length + 2:
                if length > 32 * 1024:
                    self.reserve_ahead(length + 2 - (b.end - b.start))
                return False
            arg = self.argument(b.data + b.start, length)
            if self.filled < PyList_GET_SIZE(args):
                Py_INCREF(arg)
                Py_DECREF(None)
                PyList_SET_ITEM(args, self.filled, arg)
            else:
                args.append(arg)
            self.filled += 1
            self.args_bytes += length
            b.start += length + 2
            self.bulk = -1
            self.wanted -= 1
        if b.start == b.end:
            b.clear()
        return True

    cdef int reserve_ahead(self, Py_ssize_t missing) except -1:
        """Room for what is still missing of an argument, a little at a time: a length that is only
        announced takes no memory."""
        return self.buffer.reserve(min(missing, RESERVED_AHEAD_MAX))

    cdef inline bytes argument(self, const char *text, Py_ssize_t length):
        if self.filled == 0:
            return self.name_of(text, length)
        return PyBytes_FromStringAndSize(text, length)

    cdef inline bytes name_of(self, const char *text, Py_ssize_t length):
        """A command's name: the very object of the last request's where it is the same."""
        cdef bytes name = self.last_name
        if PyBytes_GET_SIZE(name) == length and memcmp(PyBytes_AS_STRING(name), text, length) == 0:
            return name
        name = PyBytes_FromStringAndSize(text, length)
        if length < 64:
            self.last_name = name
        return name

    cdef bint read_bulk_length(self) except -1:
        cdef Buffer b = self.buffer
        cdef const char *line = b.data + b.start
        cdef long long length = 0
        cdef Py_ssize_t taken
        if b.start == b.end:
            return False
        taken = -1 if line[0] != c'$' else parse_length(line + 1, b.data + b.end, &length)
        if taken <= 0 or length < 0 or length > self.bulk_length_max:
            return self.refuse_bulk_length(taken)
        if length > BULK_UNAUTHENTICATED_MAX and not self.authenticated:
            raise ProtocolError("unauthenticated bulk length")
        b.start += taken + 1
        self.bulk = length
        return True

    cdef bint refuse_bulk_length(self, Py_ssize_t taken) except -1:
        """Not a length that can be taken: False while its line has no end, an error after it."""
        cdef Buffer b = self.buffer
        cdef const char *line = b.data + b.start
        cdef const char *end = <const char *>memchr(line, c'\r', b.end - b.start)
        if end == NULL or end + 1 >= b.data + b.end:
            if b.end - b.start > INLINE_MAX:
                raise ProtocolError("too big bulk count string")
            return False
        if line[0] != c'$':
            raise ProtocolError(f"expected '$', got '{chr(<unsigned char>line[0])}'")
        raise ProtocolError("invalid bulk length")
