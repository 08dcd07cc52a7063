/* stream.c -- reading from and writing to connections and pipes. See tcp.h and fd.h.
 *
 * Reading goes through a buffer only where it must: a line, a number of bytes, half a character.
 * What READ_SOME gets from the kernel passes through a scratch area of the thread. */
#define _GNU_SOURCE // strerror_r
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/payload.h"
#include "io/tcp.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

enum { SCRATCH = 64 << 10, FIRST_BUFFER = 4 << 10, MAX_LINE = 16 << 20 };

typedef struct StreamOp {
    FdOp io;
    const StreamErrors *errors;
    /* reading */
    ReadMode mode;
    bool want_bytes, keep_end;
    bool no_result; // end of the stream, for READ_LINE
    size_t want;
    size_t seen; // READ_LINE: bytes of the buffer known to have no line feed
    const char *got;
    size_t n_got;
    char *owned; // what got points to, or NULL
    /* writing */
    Payload out;
    size_t done;
    bool count;
} StreamOp;

static _Thread_local char scratch[SCRATCH];

/* ---- streams ----------------------------------------------------------------------------------
 */

static void drop_stream(IoFd *f)
{
    nosi_free(((Stream *)f)->buf);
}

Stream *nosi_stream_new(HandleKind kind, IoLoop *l, int fd)
{
    Stream *s = nosi_calloc(1, sizeof *s);
    s->fd.drop = drop_stream;
    s->fd.is_socket = kind == HANDLE_SOCKET;
    nosi_fd_init(&s->fd, kind, l, fd);
    return s;
}

static void destroy_op(IoOp *op)
{
    StreamOp *o = (StreamOp *)op;
    nosi_free(o->owned);
    nosi_payload_free(&o->out);
    nosi_fd_op_end(&o->io);
}

static Value throw_failure(Proc *p, const StreamOp *o)
{
    char text[128];
    if (o->io.op.reason == OP_TIMEOUT)
        return nosi_io_throw(p, o->errors->timeout, "");
    if (o->io.err == ECANCELED)
        return nosi_io_throw(p, o->errors->closed, "");
    if (o->io.err == ENODATA)
        return nosi_io_throw(p, o->errors->ended, "");
    return nosi_io_throw(p, o->errors->other,
                         strerror_r(o->io.err, text, sizeof text)); // the GNU one
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* The first n bytes of the buffer, of which `drop` are gone afterwards. */
static void take(Stream *s, StreamOp *o, size_t n, size_t drop)
{
    o->owned = nosi_alloc(n + 1);
    if (n) // else there may be no buffer
        memcpy(o->owned, s->buf + s->start, n);
    o->got = o->owned;
    o->n_got = n;
    s->start += drop;
    if (s->start == s->end) { // a connection that is idle keeps nothing
        nosi_free(s->buf);
        s->buf = NULL;
        s->start = s->end = s->cap = 0;
    }
}

static void take_line(Stream *s, StreamOp *o, size_t n)
{
    const char *line = s->buf + s->start;
    size_t drop = n;
    if (!o->keep_end && n && line[n - 1] == '\n') {
        n--;
        if (n && line[n - 1] == '\r')
            n--;
    }
    take(s, o, n, drop);
}

/* Is what the operation wants in the buffer? Then takes it. */
static bool take_from_buffer(Stream *s, StreamOp *o)
{
    size_t n = s->end - s->start;
    const char *at = s->buf + s->start;
    if (o->mode == READ_LINE) {
        const char *feed = n > o->seen ? memchr(at + o->seen, '\n', n - o->seen) : NULL;
        o->seen = n;
        if (feed)
            take_line(s, o, (size_t)(feed + 1 - at));
        return feed != NULL;
    }
    if (o->mode == READ_EXACTLY) {
        if (n < o->want)
            return false;
        take(s, o, o->want, o->want);
        return true;
    }
    if (n == 0)
        return false;
    size_t k = NOS_MIN(n, o->want);
    if (!o->want_bytes) {
        size_t whole = nosi_whole_chars(at, k);
        for (; !whole && k < n && k < 4; k++) // fewer bytes wanted than the character has
            whole = nosi_whole_chars(at, k + 1);
        if (!whole)
            return false;
        k = whole;
    }
    take(s, o, k, k);
    return true;
}

static bool take_at_end(Stream *s, StreamOp *o)
{
    size_t n = s->end - s->start;
    if (o->mode == READ_EXACTLY && n < o->want)
        o->io.err = ENODATA;
    else if (o->mode == READ_LINE && n == 0)
        o->no_result = true;
    else if (o->mode == READ_LINE)
        take_line(s, o, n);
    else
        take(s, o, NOS_MIN(n, o->want), NOS_MIN(n, o->want));
    return true;
}

/* Room for more in the buffer; false with err when it may not grow. */
static bool make_room(Stream *s, StreamOp *o)
{
    size_t n = s->end - s->start;
    if (o->mode == READ_LINE && n >= MAX_LINE)
        return o->io.err = EMSGSIZE, false;
    if (s->start) {
        memmove(s->buf, s->buf + s->start, n);
        s->start = 0;
        s->end = n;
    }
    if (s->end == s->cap) {
        s->cap = s->cap ? s->cap * 2 : FIRST_BUFFER;
        s->buf = nosi_realloc(s->buf, s->cap);
    }
    return true;
}

static ssize_t receive(IoFd *f, void *to, size_t n)
{
    ssize_t got;
    do
        got = f->is_socket ? recv(f->fd, to, n, 0) : read(f->fd, to, n);
    while (got < 0 && errno == EINTR);
    // Fewer bytes than there was room for: that was all. The loop says when there is more.
    f->dry = got > 0 && (size_t)got < n;
    return got;
}

/* READ_SOME with nothing in the buffer: past it. What does not make a whole character goes there.
 */
static ssize_t read_past_buffer(Stream *s, StreamOp *o)
{
    ssize_t got = receive(&s->fd, scratch, NOS_MIN(o->want, SCRATCH));
    if (got <= 0)
        return got;
    size_t n = (size_t)got, whole = o->want_bytes ? n : nosi_whole_chars(scratch, n);
    if (whole < n) {
        s->cap = FIRST_BUFFER;
        s->buf = nosi_alloc(s->cap);
        s->start = 0;
        s->end = n - whole;
        memcpy(s->buf, scratch + whole, n - whole);
    }
    if (whole) {
        o->got = scratch;
        o->n_got = whole;
        if (!o->io.direct) { // finish comes later
            o->owned = nosi_alloc(whole);
            memcpy(o->owned, scratch, whole);
            o->got = o->owned;
        }
    }
    return got;
}

static bool attempt_read(FdOp *io)
{
    StreamOp *o = (StreamOp *)io;
    Stream *s = (Stream *)io->fd;
    for (;;) {
        ssize_t got;
        if (take_from_buffer(s, o))
            return true;
        if (s->at_end)
            return take_at_end(s, o);
        if (s->fd.dry)
            return false;
        if (o->mode == READ_SOME && s->start == s->end) {
            got = read_past_buffer(s, o);
            if (o->got)
                return true;
        } else {
            if (!make_room(s, o))
                return true;
            got = receive(&s->fd, s->buf + s->end, s->cap - s->end);
            if (got > 0)
                s->end += (size_t)got;
        }
        if (got == 0)
            s->at_end = true;
        if (got < 0) {
            if (errno == EAGAIN)
                return false;
            io->err = errno;
            return true;
        }
    }
}

static Value finish_read(Proc *p, IoOp *op)
{
    StreamOp *o = (StreamOp *)op;
    if (op->reason == OP_TIMEOUT || o->io.err)
        return throw_failure(p, o);
    if (o->mode == READ_LINE && !o->keep_end) {
        if (o->no_result)
            return nosi_none();
        Value v = nosi_payload_value(p, o->got, o->n_got, false);
        if (value_is_thrown(v))
            return v;
        return nosi_some(&p->heap, v, &v) ? v : nosi_out_of_memory(p);
    }
    if (o->no_result)
        return nosi_payload_value(p, "eof", 3, false);
    return nosi_payload_value(p, o->got ? o->got : "", o->n_got, o->want_bytes);
}

static StreamOp *new_op(bool (*attempt)(FdOp *), Value (*finish)(Proc *, IoOp *),
                        const StreamErrors *errors)
{
    StreamOp *o = nosi_calloc(1, sizeof *o);
    o->io.attempt = attempt;
    o->io.op.finish = finish;
    o->io.op.destroy = destroy_op;
    o->errors = errors;
    return o;
}

Value nosi_stream_read(Proc *p, Stream *s, ReadMode mode, int64_t n, bool want_bytes,
                       int64_t timeout_ms, const StreamErrors *errors)
{
    size_t limit = p->heap.max_words ? p->heap.max_words * sizeof(Value) : SIZE_MAX / 4;
    if (mode != READ_LINE && n <= 0)
        return nosi_payload_value(p, "", 0, want_bytes);
    if (mode == READ_EXACTLY && (uint64_t)n > limit)
        return nosi_out_of_memory(p);
    StreamOp *o = new_op(attempt_read, finish_read, errors);
    o->mode = mode;
    o->want = (size_t)n;
    o->want_bytes = want_bytes;
    return nosi_fd_run(p, &o->io, &s->fd, FD_IN, timeout_ms);
}

Value nosi_stream_read_line(Proc *p, Stream *s, int64_t timeout_ms, const StreamErrors *errors)
{
    StreamOp *o = new_op(attempt_read, finish_read, errors);
    o->mode = READ_LINE;
    o->keep_end = true;
    return nosi_fd_run(p, &o->io, &s->fd, FD_IN, timeout_ms);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static bool attempt_write(FdOp *io)
{
    StreamOp *o = (StreamOp *)io;
    IoFd *f = io->fd;
    while (o->done < o->out.n) {
        const char *from = o->out.data + o->done;
        size_t n = o->out.n - o->done;
        ssize_t put = f->is_socket ? send(f->fd, from, n, MSG_NOSIGNAL) : write(f->fd, from, n);
        if (put >= 0) {
            o->done += (size_t)put;
            io->partial = true;
        } else if (errno == EAGAIN) {
            return false;
        } else if (errno != EINTR) {
            io->err = errno;
            return true;
        }
    }
    return true;
}

static Value finish_write(Proc *p, IoOp *op)
{
    StreamOp *o = (StreamOp *)op;
    if (op->reason == OP_TIMEOUT || o->io.err)
        return throw_failure(p, o);
    nosi_charge(p, (int32_t)NOS_MIN(o->out.n / 1000, 1000));
    return o->count ? value_small((int64_t)o->out.n) : VALUE_UNIT;
}

Value nosi_stream_write(Proc *p, Stream *s, Value data, bool count, int64_t timeout_ms,
                        const StreamErrors *errors)
{
    StreamOp *o = new_op(attempt_write, finish_write, errors);
    if (!nosi_payload_take(p, &o->out, data)) {
        nosi_free(o);
        return VALUE_THROWN;
    }
    o->count = count;
    return nosi_fd_run(p, &o->io, &s->fd, FD_OUT, timeout_ms);
}
