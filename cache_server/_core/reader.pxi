# RequestReader: bytes to requests. The pure twin says the same in Python and is the specification.

cdef Py_ssize_t INLINE_MAX = _INLINE
cdef long long COUNT_MAX = _COUNT
cdef long long COUNT_UNAUTHENTICATED_MAX = _COUNT_UNAUTH
cdef long long BULK_UNAUTHENTICATED_MAX = _BULK_UNAUTH


cdef bint parse_length(const char *text, Py_ssize_t length, long long *result) noexcept:
    """A length as the protocol writes it; False for anything else."""
    cdef bint negative = False
    cdef long long value = 0
    cdef Py_ssize_t i = 0
    if length > 0 and text[0] == c'-':
        negative = True
        i = 1
    if i == length or length - i > 18 or (text[i] == c'0' and length > 1):
        return False
    while i < length:
        if text[i] < c'0' or text[i] > c'9':
            return False
        value = value * 10 + (text[i] - c'0')
        i += 1
    result[0] = -value if negative else value
    return True


cdef class RequestReader:
    """Feed bytes, take requests. `bulk_length_max` in bytes follows proto-max-bulk-len."""

    cdef Buffer buffer
    cdef list args
    cdef Py_ssize_t filled          # arguments of `args` that are there
    cdef Py_ssize_t wanted          # arguments still to come
    cdef long long bulk             # length of the argument being read, -1 before its length line
    cdef Py_ssize_t args_bytes
    cdef bytes last_name            # the previous command's name: pipelines repeat it
    cdef public long long bulk_length_max
    cdef public bint authenticated

    def __init__(self, bulk_length_max=512 * 1024 * 1024):
        self.buffer = Buffer()
        self.args = None
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
        """Bytes allocated for reading."""
        return self.buffer.capacity

    def next_request(self):
        """The next whole request, or None when more bytes are needed.

        Raises ProtocolError with Redis's wording; the reader is not to be used afterwards."""
        return self.take()

    cdef list take(self):
        cdef list args
        if self.wanted == 0:
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

    cdef list read_start(self):
        """Reads a request's first line; an inline request is returned at once."""
        cdef Buffer b = self.buffer
        cdef const char *line
        cdef const char *end
        cdef long long count = 0
        cdef list args
        while b.start < b.end:
            line = b.data + b.start
            if line[0] != c'*':
                args = self.read_inline()
                if args is None or PyList_GET_SIZE(args) > 0:
                    return args
                continue
            end = <const char *>memchr(line, c'\r', b.end - b.start)
            if end == NULL or end + 1 >= b.data + b.end:
                if b.end - b.start > INLINE_MAX:
                    raise ProtocolError("too big mbulk count string")
                return None
            if not parse_length(line + 1, end - line - 1, &count) or count > COUNT_MAX:
                raise ProtocolError("invalid multibulk length")
            if count > COUNT_UNAUTHENTICATED_MAX and not self.authenticated:
                raise ProtocolError("unauthenticated multibulk length")
            b.drop(end - line + 2)
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

    cdef bint read_arguments(self) except -1:
        cdef Buffer b = self.buffer
        cdef bytes arg
        cdef Py_ssize_t length
        while self.wanted > 0:
            if self.bulk < 0 and not self.read_bulk_length():
                return False
            length = <Py_ssize_t>self.bulk
            if b.end - b.start < length + 2:
                if length > 32 * 1024:
                    b.reserve(length + 2 - (b.end - b.start))
                return False
            arg = self.argument(b.data + b.start, length)
            if self.filled < PyList_GET_SIZE(self.args):
                self.args[self.filled] = arg
            else:
                self.args.append(arg)
            self.filled += 1
            self.args_bytes += length
            b.drop(length + 2)
            self.bulk = -1
            self.wanted -= 1
        return True

    cdef inline bytes argument(self, const char *text, Py_ssize_t length):
        cdef bytes name
        if self.filled == 0:
            name = self.last_name
            if PyBytes_GET_SIZE(name) == length and memcmp(PyBytes_AS_STRING(name), text, length) == 0:
                return name
            name = PyBytes_FromStringAndSize(text, length)
            if length < 64:
                self.last_name = name
            return name
        return PyBytes_FromStringAndSize(text, length)

    cdef bint read_bulk_length(self) except -1:
        cdef Buffer b = self.buffer
        cdef const char *line = b.data + b.start
        cdef Py_ssize_t held = b.end - b.start
        cdef const char *end
        cdef long long length = 0
        if held == 0:
            return False
        end = <const char *>memchr(line, c'\r', held)
        if end == NULL or end + 1 >= b.data + b.end:
            if held > INLINE_MAX:
                raise ProtocolError("too big bulk count string")
            return False
        if line[0] != c'$':
            raise ProtocolError(f"expected '$', got '{chr(<unsigned char>line[0])}'")
        if (not parse_length(line + 1, end - line - 1, &length) or length < 0
                or length > self.bulk_length_max):
            raise ProtocolError("invalid bulk length")
        if length > BULK_UNAUTHENTICATED_MAX and not self.authenticated:
            raise ProtocolError("unauthenticated bulk length")
        b.drop(end - line + 2)
        self.bulk = length
        return True
