/* http_file.c -- Server.file: a file as the answer, with validators, ranges and nothing outside its
 * directory. Files are read by the pool, big ones in pieces as fast as the client takes them; or,
 * where nothing has to be done to the bytes, the pool has the system send them from its cache. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/http_answer.h"
#include "io/io.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

enum {
    PIECE = 256 * 1024,    // bytes read at once
    WITH_HEAD = 64 * 1024, // a body up to that long is sent together with its head
    STRETCH = 4096 * 1024  // bytes a thread of the pool sends before others have their turn
};

typedef struct File {  // a file on its way; owned by the request or operation that works on it
    Exchange *x;       // a reference
    char *root, *path; // owned
    StrBuf head;       // header lines of the program
    HeaderNotes notes;
    /* found by the pool */
    int fd;
    int status; // 0: there is no such file
    int64_t size, from, length, read;
    char etag[48], modified[HTTP_DATE + 1];
    const char *mime;
    char *piece; // PIECE bytes, or less for small files; owned
    size_t piece_n;
    bool failed;
    bool started;
    int socket; // descriptor of the connection: the system sends; or -1
    bool gone;  // the client is
} File;

static const char *text_of(const File *f, HttpSpan s)
{
    return f->x->text + s.at;
}

/* RFC 9110, 13.2.2, for GET and HEAD. */
static void look_at_conditions(File *f, time_t mtime)
{
    const HttpHead *h = &f->x->head;
    time_t since;

    f->status = 200;
    f->from = 0;
    f->length = f->size;
    if (h->if_none_match.n) {
        if (nosi_http_etag_matches(text_of(f, h->if_none_match), h->if_none_match.n, f->etag))
            f->status = 304;
    } else if (h->if_modified_since.n &&
               nosi_http_parse_date(text_of(f, h->if_modified_since), h->if_modified_since.n,
                                    &since) &&
               mtime <= since) {
        f->status = 304;
    }
    if (f->status == 304 || !h->range.n || h->is_head)
        return;
    if (h->if_range.n) { // strong comparison
        const char *v = text_of(f, h->if_range);
        bool same = (strlen(f->etag) == h->if_range.n && !memcmp(v, f->etag, h->if_range.n)) ||
                    (h->if_range.n == HTTP_DATE && !memcmp(v, f->modified, HTTP_DATE));
        if (!same)
            return;
    }
    switch (nosi_http_range(text_of(f, h->range), h->range.n, f->size, &f->from, &f->length)) {
    case HTTP_RANGE_PART:
        f->status = 206;
        break;
    case HTTP_RANGE_UNSATISFIABLE:
        f->status = 416;
        f->length = 0;
        break;
    case HTTP_RANGE_ALL:
        break;
    }
}

/* The file's real name when it is below root's, hidden files excepted; NULL. Owned. */
static char *real_name(const char *root, const char *path)
{
    StrBuf name = {0};
    char *real_root = realpath(root, NULL), *real = NULL;
    nosi_strbuf_printf(&name, "%s/%s", root, path);
    bool hidden = false;
    for (const char *c = path; *c; c++)
        hidden |= *c == '.' && (c == path || c[-1] == '/');
    if (real_root && !hidden && (real = realpath(name.s, NULL))) {
        size_t n = strlen(real_root);
        bool below = !strncmp(real, real_root, n) &&
                     (real[n] == '/' || real[n] == 0 || !strcmp(real_root, "/"));
        if (!below) {
            free(real); // from realpath
            real = NULL;
        }
    }
    free(real_root);
    nosi_strbuf_free(&name);
    return real;
}

static bool open_below(File *f, struct stat *st)
{
    char *real = real_name(f->root, f->path);
    if (!real)
        return false;
    f->fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    f->mime = nosi_http_mime(real, strlen(real));
    free(real);
    if (f->fd < 0 || fstat(f->fd, st) != 0 || !S_ISREG(st->st_mode))
        return false;
    return true;
}

static void read_piece(File *f)
{
    size_t want = (size_t)NOS_MIN(f->length - f->read, (int64_t)PIECE);
    if (!f->piece)
        f->piece = nosi_alloc(NOS_MAX(want, (size_t)1));
    f->piece_n = 0;
    while (f->piece_n < want) {
        ssize_t n = pread(f->fd, f->piece + f->piece_n, want - f->piece_n,
                          f->from + f->read + (int64_t)f->piece_n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) { // shorter than it was
            f->failed = true;
            break;
        }
        f->piece_n += (size_t)n;
    }
    f->read += (int64_t)f->piece_n;
}

/* As much as the socket takes. */
static IoStep send_rest(File *f, IoReq *r)
{
    int64_t stop = NOS_MIN(f->length, f->read + STRETCH);
    while (f->read < stop) {
        off_t at = f->from + f->read;
        ssize_t n = sendfile(f->socket, f->fd, &at, (size_t)(stop - f->read));
        if (n > 0) {
            f->read += n;
            // Relaxed: only looked at to see whether there is progress.
            atomic_store_explicit(&f->x->lent_sent, f->read, memory_order_relaxed);
        } else if (n < 0 && errno == EAGAIN) {
            break;
        } else if (n == 0 || (errno != EINTR && errno != EPIPE && errno != ECONNRESET)) {
            f->failed = true; // shorter than it was, or unreadable
            return IO_DONE;
        } else if (errno != EINTR) {
            f->gone = true;
            return IO_DONE;
        }
    }
    if (f->read == f->length)
        return IO_DONE;
    r->wait_fd = f->socket;
    return IO_WAIT_WRITE;
}

typedef struct FileReq { // the pool looks for the file, reads a piece, or sends
    IoReq req;
    File *file; // owned
} FileReq;

typedef struct FileOp { // a piece waits for the client, and is sent
    IoOp op;
    HttpWaiter waiter;
    File *file; // owned
    bool waiting, gone;
} FileOp;

static void file_free(File *f)
{
    if (!f)
        return;
    if (f->started)
        nosi_http_lose(f->x, 500); // unless all of it has been sent
    if (f->fd >= 0)
        close(f->fd);
    if (f->socket >= 0)
        close(f->socket);
    nosi_http_release(f->x);
    nosi_free(f->root);
    nosi_free(f->path);
    nosi_free(f->piece);
    nosi_strbuf_free(&f->head);
    nosi_free(f);
}

static File *move_out(File **from)
{
    File *f = *from;
    *from = NULL;
    return f;
}

/* ---- reading -------------------------------------------------------------------------------- */

static Value file_finish(Proc *p, IoReq *r);

static IoStep file_work(IoReq *r)
{
    File *f = ((FileReq *)r)->file;
    struct stat st;
    if (f->socket >= 0)
        return send_rest(f, r);
    if (f->started) {
        read_piece(f);
        return IO_DONE;
    }
    if (!open_below(f, &st))
        return IO_DONE;
    f->size = st.st_size;
    snprintf(f->etag, sizeof f->etag, "\"%llx-%llx-%lx\"", (unsigned long long)st.st_size,
             (unsigned long long)st.st_mtim.tv_sec, (unsigned long)st.st_mtim.tv_nsec);
    nosi_http_date(st.st_mtim.tv_sec, f->modified);
    look_at_conditions(f, st.st_mtim.tv_sec);
    bool body = (f->status == 200 || f->status == 206) && !f->x->head.is_head;
    if (body && f->length > 0 && (f->length <= WITH_HEAD || f->x->server->tls))
        read_piece(f);
    return IO_DONE;
}

static void file_destroy(IoReq *r)
{
    file_free(((FileReq *)r)->file);
    nosi_free(r);
}

static Value read_file(Proc *p, File *f)
{
    FileReq *r = nosi_calloc(1, sizeof *r);
    r->req.work = file_work;
    r->req.finish = file_finish;
    r->req.destroy = file_destroy;
    r->file = f;
    return nosi_io_submit(p, &r->req);
}

/* ---- sending -------------------------------------------------------------------------------- */

static void send_file_piece(HttpWaiter *w)
{
    FileOp *o = NOS_CONTAINER_OF(w, FileOp, waiter);
    File *f = o->file;
    bool last = f->read == f->length;
    nosi_http_return_socket(f->x);
    HttpOut out = {.body = f->piece, .body_n = f->piece_n, .last = last, .close = f->x->close};
    o->waiting = false;
    if (last)
        nosi_http_advance(f->x, X_STREAMING, X_ANSWERED);
    o->gone = f->gone || !nosi_http_send(f->x, &out);
    nosi_op_done(&o->op);
}

static void start_file_piece(IoOp *op)
{
    FileOp *o = (FileOp *)op;
    if (nosi_http_backlog(o->file->x) <= HTTP_HIGH_WATER) {
        send_file_piece(&o->waiter);
        return;
    }
    o->waiting = true;
    nosi_http_wait_drained(o->file->x, &o->waiter);
}

static void cancel_file_piece(IoOp *op)
{
    FileOp *o = (FileOp *)op;
    if (o->waiting)
        nosi_http_wait_cancel(&o->waiter);
    o->waiting = false;
    o->gone = true;
    nosi_op_done(op);
}

static Value finish_file_piece(Proc *p, IoOp *op)
{
    FileOp *o = (FileOp *)op;
    File *f = o->file;
    if (!o->gone && f->read < f->length)
        return read_file(p, move_out(&o->file));
    nosi_http_forget(f->x);
    nosi_http_answered(p, f->x);
    return VALUE_TRUE; // a client that goes away is no error of the program
}

static void destroy_file_piece(IoOp *op)
{
    file_free(((FileOp *)op)->file);
    nosi_free(op);
}

static Value send_file(Proc *p, File *f)
{
    FileOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = finish_file_piece;
    o->op.cancel = cancel_file_piece;
    o->op.destroy = destroy_file_piece;
    o->waiter.run = send_file_piece;
    o->file = f;
    return nosi_op_start(p, &o->op, f->x->loop, start_file_piece);
}

/* The head has been sent, the body not: by the system if that is possible. */

static void start_lending(IoOp *op)
{
    File *f = ((FileOp *)op)->file;
    f->socket = nosi_http_lend_socket(f->x);
    nosi_op_done(op);
}

static void cancel_lending(IoOp *op)
{
    (void)op; // done as soon as it is started
}

static Value finish_lending(Proc *p, IoOp *op)
{
    return read_file(p, move_out(&((FileOp *)op)->file));
}

static Value send_by_system(Proc *p, File *f)
{
    FileOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = finish_lending;
    o->op.cancel = cancel_lending;
    o->op.destroy = destroy_file_piece;
    o->file = f;
    return nosi_op_start(p, &o->op, f->x->loop, start_lending);
}

static void write_head(File *f, StrBuf *head)
{
    bool whole = f->status == 200 || f->status == 206;
    nosi_http_head_start(head, f->status);
    nosi_strbuf_add(head, f->head.s, f->head.n);
    if (!f->notes.etag)
        nosi_strbuf_printf(head, "ETag: %s\r\n", f->etag);
    if (!f->notes.last_modified)
        nosi_strbuf_printf(head, "Last-Modified: %s\r\n", f->modified);
    if (whole) {
        if (!f->notes.type_n)
            nosi_strbuf_printf(head, "Content-Type: %s\r\n", f->mime);
        nosi_strbuf_puts(head, "Accept-Ranges: bytes\r\n");
    }
    if (f->status == 206)
        nosi_strbuf_printf(head, "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)f->from,
                           (long long)(f->from + f->length - 1), (long long)f->size);
    else if (f->status == 416)
        nosi_strbuf_printf(head, "Content-Range: bytes */%lld\r\n", (long long)f->size);
    f->x->close = nosi_http_must_close(f->x, &f->notes) || nosi_http_wont_read(f->x);
    nosi_http_head_end_lines(head, f->x, f->status == 304 ? -1 : f->length, f->x->close);
}

static Value file_finish(Proc *p, IoReq *r)
{
    FileReq *req = (FileReq *)r;
    File *f = req->file;
    Exchange *x = f->x;

    if (f->failed)
        return nosi_io_throw(p, IO_ERR_OTHER, "the file cannot be read to its end");
    if (f->started)
        return send_file(p, move_out(&req->file));
    if (f->status == 0)
        return VALUE_FALSE;
    bool all = f->read == f->length || x->head.is_head || f->status == 304 || f->status == 416;
    if (!nosi_http_advance(x, X_UNANSWERED, all ? X_ANSWERED : X_STREAMING))
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    x->status = f->status;
    StrBuf head = {0};
    write_head(f, &head);
    HttpOut out = {
        .body = f->piece_n ? f->piece : "",
        .body_n = f->piece_n,
        .last = all,
        .close = x->close,
    };
    if (all) {
        nosi_http_forget(x);
        nosi_http_answered(p, x);
    }
    nosi_http_send_anywhere(x, &head, &out);
    if (all)
        return VALUE_TRUE;
    f->started = true;
    if (f->read == 0)
        return send_by_system(p, move_out(&req->file));
    return read_file(p, move_out(&req->file));
}

/* (id, root, path below it, headers): false when there is no such file; the request is unanswered
 * then. Returns when all has been handed to the system, or the client is gone. */
Value nosi_server_file(Proc *p, Value *args)
{
    StrBuf head = {0}, root = {0}, path = {0};
    HeaderNotes notes = {0};

    for (int i = 1; i <= 2; i++)
        if (!value_is_string(args[i]))
            return nosi_type_error(p, "String", args[i]);
    Exchange *x = nosi_http_find(value_is_int(args[0]) ? value_int(args[0]) : -1);
    if (!x)
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    bool headers = nosi_http_headers(p, args[3], &head, &notes);
    if (!headers || !nosi_string_copy_cstr(args[1], &root) ||
        !nosi_string_copy_cstr(args[2], &path)) {
        nosi_strbuf_free(&head);
        nosi_strbuf_free(&root);
        nosi_strbuf_free(&path);
        nosi_http_release(x);
        return headers ? VALUE_FALSE : VALUE_THROWN;
    }
    File *f = nosi_calloc(1, sizeof *f);
    nosi_strbuf_putc(&root, 0); // never NULL
    nosi_strbuf_putc(&path, 0);
    f->x = x;
    f->root = root.s;
    f->path = path.s;
    f->head = head;
    f->notes = notes;
    f->fd = f->socket = -1;
    return read_file(p, f);
}
