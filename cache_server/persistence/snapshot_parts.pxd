from cache_server.persistence.lzf cimport Compressor

cpdef int append_number(bytearray out, unsigned long long value) except -1
cpdef int append_ms(bytearray out, long long value) except -1
cpdef int append_score(bytearray out, double score) except -1
cpdef int append_integer(bytearray out, value) except -1
cpdef int append_string(bytearray out, bytes data, Compressor compressor) except -1
cpdef int append_words(bytearray out, list words, Compressor compressor) except -1
cpdef int append_members(bytearray out, list members, list scores, Compressor compressor) except -1
cpdef bint append_elements(bytearray out, value, Compressor compressor) except -1
