# ReplyWriter: values to bytes. The table of what may be written is in cache_server/wire/replies.py.

cdef object STATUS = Status
cdef object OK_STATUS = _OK
cdef object PONG_STATUS = _PONG
cdef object RAW = Raw
cdef object NO_REPLY = _NO_REPLY
cdef object NULL_ARRAY = _NULL_ARRAY


cdef inline Py_ssize_t format_integer(char *out, long long value) noexcept:
    """Writes the decimal digits; returns how many. `out` has room for 20."""
    cdef char digits[24]
    cdef int i = 24
    cdef unsigned long long rest = <unsigned long long>value
    cdef Py_ssize_t length
    if value < 0:
        rest = 0 - rest
    while True:
        i -= 1
        digits[i] = c'0' + <char>(rest % 10)
        rest //= 10
        if rest == 0:
            break
    if value < 0:
        i -= 1
        digits[i] = c'-'
    length = 24 - i
    memcpy(out, digits + i, length)
    return length


cdef inline Py_ssize_t format_length(char *out, Py_ssize_t length) noexcept:
    """As `format_integer`, for what is mostly one digit or two."""
    if 0 <= length < 10:
        out[0] = c'0' + <char>length
        return 1
    if 10 <= length < 100:
        out[0] = c'0' + <char>(length // 10)
        out[1] = c'0' + <char>(length % 10)
        return 2
    return format_integer(out, length)


cdef class ReplyWriter:
    """Encodes replies into one growing buffer. `protocol` is 2 or 3."""

    def __init__(self):
        self.buffer = Buffer()
        self.protocol = 2

    def __len__(self):
        return self.buffer.end - self.buffer.start

    cpdef bytes take(self):
        """All that was written since the last call."""
        cdef bytes data = PyBytes_FromStringAndSize(
            self.buffer.data + self.buffer.start, self.buffer.end - self.buffer.start)
        self.buffer.clear()
        return data

    cpdef trim(self):
        """Gives the memory back, where nothing is held."""
        cdef Buffer b = self.buffer
        if b.start == b.end and b.capacity > b.capacity_min:
            b.free()

    cpdef write_raw(self, bytes data):
        self.buffer.append(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cpdef write_error(self, bytes text):
        """One error line; line ends inside the text would split it, so they become spaces."""
        self.write_raw(b"-" + text.replace(b"\r", b" ").replace(b"\n", b" ") + b"\r\n")

    cpdef write_command(self, list args):
        """A request, as it goes into the replication stream."""
        self.head(c'*', PyList_GET_SIZE(args))
        for arg in args:
            self.bulk(PyBytes_AS_STRING(<bytes?>arg), PyBytes_GET_SIZE(arg))

    cpdef write(self, value):
        """Encodes one reply. Raises TypeError for a value that is not in the table of replies."""
        cdef object kind = type(value)
        if kind is bytes:
            self.bulk(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        elif kind is int:
            self.head(c':', value)
        elif value is None:
            if self.protocol == 3:
                self.buffer.append("_\r\n", 3)
            else:
                self.buffer.append("$-1\r\n", 5)
        elif value is OK_STATUS:
            self.buffer.append("+OK\r\n", 5)
        elif value is PONG_STATUS:
            self.buffer.append("+PONG\r\n", 7)
        elif kind is STATUS or kind is RAW:
            self.write_raw(value.encoded)
        elif kind is list:
            self.write_list(c'*', <list>value, PyList_GET_SIZE(value))
        else:
            self.write_rare(kind, value)

    cdef write_rare(self, object kind, value):
        cdef bint resp3 = self.protocol == 3
        if kind is tuple:
            self.write_list(c'*', list(value), len(value))
        elif kind is bytearray:
            self.bulk(PyByteArray_AS_STRING(value), PyByteArray_GET_SIZE(value))
        elif kind is bool:
            if resp3:
                self.buffer.append("#t\r\n" if value else "#f\r\n", 4)
            else:
                self.head(c':', 1 if value else 0)
        elif kind is float:
            self.write_double(value)
        elif kind is Map:
            self.write_list(c'%' if resp3 else c'*', <list>value, len(value) // (2 if resp3 else 1))
        elif kind is SetReply:
            self.write_list(c'~' if resp3 else c'*', <list>value, len(value))
        elif kind is Push:
            self.write_list(c'>' if resp3 else c'*', <list>value, len(value))
        elif value is NULL_ARRAY:
            self.write_raw(b"_\r\n" if resp3 else b"*-1\r\n")
        elif kind is Verbatim:
            if resp3:
                self.write_raw(b"=%d\r\n%b:%b\r\n" % (len(value.text) + 4, value.form, value.text))
            else:
                self.bulk(PyBytes_AS_STRING(value.text), PyBytes_GET_SIZE(value.text))
        elif isinstance(value, CommandError):
            self.write_error(value.text)
        elif value is not NO_REPLY:
            raise TypeError(f"not a reply: {value!r}")

    cdef int write_double(self, double value) except -1:
        """A double as `format_double` prints it; whole numbers, which most scores are, at once."""
        cdef char digits[32]
        cdef Py_ssize_t length
        if fabs(value) < 1e15 and value == <double><long long>value and (value != 0 or not signbit(value)):
            length = format_integer(digits, <long long>value)
            text = digits[:length]
        else:
            text = format_double(value)
        if self.protocol == 3:
            self.write_raw(b"," + text + b"\r\n")
            return 0
        return self.bulk(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))

    cdef int head(self, char mark, long long count) except -1:
        cdef Buffer b = self.buffer
        cdef char *out
        if b.capacity - b.end < 32:
            b.reserve(32)
        out = b.data + b.end
        out[0] = mark
        out += 1
        out += format_length(out, count)
        memcpy(out, "\r\n", 2)
        b.end = out + 2 - b.data
        return 0

    cdef int bulk(self, const char *data, Py_ssize_t length) except -1:
        cdef Buffer b = self.buffer
        cdef char *out
        if b.capacity - b.end < length + 32:
            b.reserve(length + 32)
        out = b.data + b.end
        out[0] = c'$'
        out += 1
        out += format_length(out, length)
        memcpy(out, "\r\n", 2)
        out += 2
        memcpy(out, data, length)
        out += length
        memcpy(out, "\r\n", 2)
        b.end = out + 2 - b.data
        return 0

    cdef write_list(self, char mark, list values, Py_ssize_t count):
        cdef object value
        self.head(mark, count)
        for value in values:
            if type(value) is bytes:
                self.bulk(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
            else:
                self.write(value)
