# Channel: one pass over what a connection read: parse, execute, encode, send.
#
# It sends with send(2) itself while the transport has nothing queued: at one request a packet the
# transport's own write path costs as much as the request. What the kernel does not take goes to
# the shell's `write_rest`, the transport's write, and so does everything after it until the queue
# is empty.

cdef Py_ssize_t FLUSH_BYTES = _FLUSH
cdef long long TURN_NS_MAX = _TURN_NS
cdef int TURN_REQUESTS = _TURN_REQUESTS


cdef class Executor:
    """What a channel runs requests through: the base of a compiled dispatcher, which is reached
    without a Python call. `Handed` stands before one that is not compiled."""

    cpdef begin_requests(self, client):
        """Requests of `client` follow that arrived together."""
        raise NotImplementedError

    cpdef execute(self, client, list args):
        """Runs a request; returns its reply."""
        raise NotImplementedError


@cython.final
cdef class Handed(Executor):
    cdef object dispatcher

    def __cinit__(self, dispatcher):
        self.dispatcher = dispatcher

    cpdef begin_requests(self, client):
        self.dispatcher.begin_requests(client)

    cpdef execute(self, client, list args):
        return self.dispatcher.execute(client, args)


@cython.final
cdef class Channel:
    """Joins a reader, a writer, an executor and the shell of one connection.

    The shell (the connection) gives `write_rest(data)`, `queue_empty()`, `pass_needs_care()` and
    `protocol_error(error)` and `turn_over()`, which may set a reason to stop until others have had
    their turn. `data_received` is what the event loop calls.

    `stop`: non-zero while requests must wait (blocked, paused, closing, too much unread output).
    `fd`: the socket to send to directly, or -1 to always use `write_rest`.
    `queued`: the transport may hold output of ours. `flush_due`: the shell is about to flush.
    `gate`: None, or asked before each flush; False holds the output back until `flush` is called
    again (replies that may not leave before a condition is met).
    `output_bytes_max`: with more than that to send, the shell's `output_allowed()` is asked first.
    """

    def __init__(self, client, executor, shell):
        self.reader = RequestReader()
        self.writer = ReplyWriter()
        self.client = client
        self.executor = executor if isinstance(executor, Executor) else Handed(executor)
        self.shell = shell
        self.gate = None
        self.stop = 0
        self.fd = -1
        self.queued = self.flush_due = False
        self.received_bytes = 0
        self.sent_bytes = 0
        self.query_bytes_max = 1 << 62
        self.output_bytes_max = 1 << 62

    cpdef data_received(self, bytes data):
        """Takes what was read and runs all whole requests."""
        self.received_bytes += PyBytes_GET_SIZE(data)
        self.reader.buffer.append(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        self.run()

    cpdef run(self):
        """Runs the requests already read until one must wait, then sends."""
        cdef list args
        cdef object value
        cdef RequestReader reader = self.reader
        cdef ReplyWriter writer = self.writer
        cdef object client = self.client
        cdef Executor executor = self.executor
        cdef int left = TURN_REQUESTS
        cdef long long turn_ends_ns = 0
        executor.begin_requests(client)
        try:
            while self.stop == 0:
                args = None  # so that its list can be used again
                args = reader.take()
                if args is None:
                    break
                value = executor.execute(client, args)
                if value is not NO_REPLY:
                    writer.write(value)
                    if writer.buffer.end - writer.buffer.start > FLUSH_BYTES:
                        self.flush()
                left -= 1
                if left == 0:
                    left = TURN_REQUESTS
                    turn_ends_ns = self.turn(turn_ends_ns)
        except ProtocolError as error:
            self.shell.protocol_error(error)
        reader.spare = None  # an idle client holds no arguments
        self.flush()
        if (self.stop != 0 or self.queued
                or reader.buffer.end - reader.buffer.start + reader.args_bytes > self.query_bytes_max):
            self.shell.pass_needs_care()

    cdef long long turn(self, long long ends_ns) except -1:
        """When this pass is to make room for others, in the clock's nanoseconds; `ends_ns` is 0
        before that is known. They are let in when it has come."""
        cdef long long now_ns = clock_ns()
        if ends_ns == 0:
            return now_ns + TURN_NS_MAX
        if now_ns > ends_ns:
            self.shell.turn_over()
        return ends_ns

    cpdef add(self, bytes data):
        """Adds output outside of a pass, encoded already."""
        self.writer.buffer.append(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        self.output_added()

    cpdef output_added(self):
        """The writer has output that no pass will send: the shell's `flush_soon()` is asked to,
        once."""
        if not self.flush_due and self.shell is not None:
            self.flush_due = True
            self.shell.flush_soon()

    cpdef release(self):
        """Lets go of client and shell: the connection has ended and nothing runs any more."""
        self.client = self.shell = self.gate = None

    cpdef flush(self):
        """Sends what was written, unless the gate holds it back."""
        cdef Buffer b = self.writer.buffer
        cdef Py_ssize_t length = b.end - b.start
        cdef Py_ssize_t sent = 0
        if length == 0 or (self.gate is not None and not self.gate(self)):
            return
        if length > self.output_bytes_max and not self.shell.output_allowed():
            return
        if self.queued and self.shell.queue_empty():
            self.queued = False
        if not self.queued and self.fd >= 0:
            sent = c_send(self.fd, b.data + b.start, length, MSG_NOSIGNAL | MSG_DONTWAIT)
            if sent < 0:
                # EAGAIN: the transport waits for room. A real error comes up there as well, and
                # its handling closes the connection.
                sent = 0
        self.sent_bytes += length
        if sent == length:
            b.clear()
            return
        b.start += sent
        self.queued = True
        self.shell.write_rest(self.writer.take())
