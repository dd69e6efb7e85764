/* libhiredis: formatted commands, binary values, a pipeline of thousands, errors, null, nesting. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAME(condition)                                                  \
    do {                                                                 \
        if (!(condition)) {                                              \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);      \
            exit(1);                                                     \
        }                                                                \
    } while (0)

int main(int argc, char **argv) {
    struct timeval timeout = {20, 0};
    redisContext *c = redisConnectWithTimeout("127.0.0.1", atoi(argv[argc - 1]), timeout);
    SAME(c != NULL && !c->err && redisSetTimeout(c, timeout) == REDIS_OK);
    redisReply *r;
    freeReplyObject(redisCommand(c, "SELECT 10"));
    freeReplyObject(redisCommand(c, "FLUSHDB"));
    r = redisCommand(c, "SET %b %b", "k\0y", (size_t)3, "\r\n\0", (size_t)3);
    SAME(r->type == REDIS_REPLY_STATUS && !strcmp(r->str, "OK"));
    freeReplyObject(r);
    r = redisCommand(c, "GET %b", "k\0y", (size_t)3);
    SAME(r->type == REDIS_REPLY_STRING && r->len == 3 && !memcmp(r->str, "\r\n\0", 3));
    freeReplyObject(r);
    for (int n = 0; n < 10000; n++) redisAppendCommand(c, "RPUSH list %d", n);
    for (int n = 0; n < 10000; n++) {
        SAME(redisGetReply(c, (void **)&r) == REDIS_OK);
        SAME(r->type == REDIS_REPLY_INTEGER && r->integer == n + 1);
        freeReplyObject(r);
    }
    r = redisCommand(c, "LRANGE list 0 -1");
    SAME(r->type == REDIS_REPLY_ARRAY && r->elements == 10000 && !strcmp(r->element[9999]->str, "9999"));
    freeReplyObject(r);
    r = redisCommand(c, "GET missing");
    SAME(r->type == REDIS_REPLY_NIL);
    freeReplyObject(r);
    r = redisCommand(c, "GET list");
    SAME(r->type == REDIS_REPLY_ERROR && !strncmp(r->str, "WRONGTYPE ", 10));
    freeReplyObject(r);
    r = redisCommand(c, "EVAL %s 1 k 5", "return {1, {KEYS[1], {ARGV[1]}}, false}");
    SAME(r->type == REDIS_REPLY_ARRAY && r->elements == 3 && r->element[0]->integer == 1);
    SAME(!strcmp(r->element[1]->element[1]->element[0]->str, "5"));
    SAME(r->element[2]->type == REDIS_REPLY_NIL);
    freeReplyObject(r);
    freeReplyObject(redisCommand(c, "MULTI"));
    freeReplyObject(redisCommand(c, "INCR n"));
    r = redisCommand(c, "EXEC");
    SAME(r->type == REDIS_REPLY_ARRAY && r->elements == 1 && r->element[0]->integer == 1);
    freeReplyObject(r);
    redisFree(c);
    return 0;
}
