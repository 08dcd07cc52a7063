/* file.c -- File, Dir and standard input.
 *
 * An operation is a FileReq: its work runs on a pool thread, its finish makes the result in the
 * process. Operations on one open file share its lane, so they happen in the order in which they
 * were asked for, and the fields of an OpenFile need no lock: they belong to whoever holds the
 * lane.
 *
 * Text is validated at this border; what a String holds is always UTF-8. */
#define _GNU_SOURCE // O_PATH, preadv2, nftw
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#include "io/io.h"
#include "io/payload.h"
#include "vm/data/bytes.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"
#include "vm/util/vec.h"

enum { CHUNK = 64 << 10, SMALL_FILE = 64 << 10, MAX_READ = 1 << 30 };

typedef struct OpenFile {
    IoLane lane;
    _Atomic(uint32_t) refs; // the handle, and every request on it
    int fd;
    bool closed;
    bool can_wait; // pipe, terminal, ...: reading may have to wait for somebody
    bool is_stdin;
    char *path; // for messages; owned
    char *buf;  // owned; bytes read ahead are [start, end)
    size_t start, end, cap;
    uint64_t pos; // file offset of the next byte a program reads (buf[start])
} OpenFile;

typedef struct FileReq {
    IoReq io;
    OpenFile *file;         // retained, or NULL
    char *path, *path2;     // owned
    int fd;                 // a file opened for this operation alone, or -1
    int flags;              // of open
    bool want_bytes;        // Bytes, not a String
    bool is_line, keep_end; // nextLine and readLine
    bool no_result;         // end of file for nextLine
    Payload out;            // to write
    size_t done;
    int64_t number; // count, offset; result
    int whence;
    size_t limit;  // most bytes the process may get
    StrBlob *blob; // result being read; owned until it becomes a value
    size_t len;
    uint64_t first;    // offset of blob->bytes[0] in the file, for messages
    int err;           // errno, or 0
    VEC(char *) names; // owned
} FileReq;

/* ---- open files ----------------------------------------------------------------------------- */

static void retain_file(void *object)
{
    OpenFile *f = object;
    // Relaxed: whoever calls this holds the handle table's lock or another reference.
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

static void release_file(OpenFile *f)
{
    // acq_rel: the last one sees what the others did with the file.
    if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (f->fd >= 0 && !f->is_stdin)
        close(f->fd);
    nosi_free(f->path);
    nosi_free(f->buf);
    nosi_free(f);
}

static OpenFile *new_file(int fd, const char *path)
{
    struct stat st;
    OpenFile *f = nosi_calloc(1, sizeof *f);
    atomic_init(&f->refs, 1);
    f->fd = fd;
    f->path = nosi_strdup(path);
    f->can_wait =
        fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISBLK(st.st_mode);
    return f;
}

static OpenFile *standard_input(void)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static OpenFile *file;
    pthread_mutex_lock(&mutex);
    if (!file) {
        file = new_file(0, "standard input");
        file->is_stdin = true;
    }
    pthread_mutex_unlock(&mutex);
    retain_file(file);
    return file;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void destroy(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    if (r->fd >= 0)
        close(r->fd);
    release_file(r->file);
    nosi_free(r->path);
    nosi_free(r->path2);
    nosi_payload_free(&r->out);
    if (r->blob)
        nosi_blob_unref(r->blob);
    for (uint32_t i = 0; i < r->names.n; i++)
        nosi_free(r->names.at[i]);
    vec_free(&r->names);
    nosi_free(r);
}

static FileReq *new_req(Proc *p, IoStep (*work)(IoReq *), Value (*finish)(Proc *, IoReq *))
{
    FileReq *r = nosi_calloc(1, sizeof *r);
    r->io.work = work;
    r->io.finish = finish;
    r->io.destroy = destroy;
    r->fd = -1;
    r->limit = p->heap.max_words ? p->heap.max_words * sizeof(Value) : SIZE_MAX / 4;
    return r;
}

static char *path_arg(Proc *p, Value v)
{
    return nosi_cstr_arg(p, v, "path");
}

/* A request about one path; NULL after raising. */
static FileReq *path_req(Proc *p, Value v, IoStep (*work)(IoReq *),
                         Value (*finish)(Proc *, IoReq *))
{
    char *path = path_arg(p, v);
    if (!path)
        return NULL;
    FileReq *r = new_req(p, work, finish);
    r->path = path;
    return r;
}

/* A request on an open file; NULL after raising. */
static FileReq *handle_req(Proc *p, Value v, IoStep (*work)(IoReq *),
                           Value (*finish)(Proc *, IoReq *))
{
    if (!value_is_int(v)) {
        nosi_type_error(p, "Int", v);
        return NULL;
    }
    OpenFile *f = nosi_handle_get(value_int(v), HANDLE_FILE, retain_file);
    if (!f) {
        nosi_io_throw(p, IO_ERR_INVALID_HANDLE, "");
        return NULL;
    }
    FileReq *r = new_req(p, work, finish);
    r->file = f;
    r->io.lane = &f->lane;
    return r;
}

static Value submit(Proc *p, FileReq *r)
{
    return nosi_io_submit(p, &r->io);
}

/* ---- results -------------------------------------------------------------------------------- */

static const char *subject(const FileReq *r)
{
    return r->path ? r->path : r->file && !r->file->is_stdin ? r->file->path : NULL;
}

/* Raises what went wrong; false when nothing did. */
static bool failed(Proc *p, const FileReq *r)
{
    if (r->err == ECANCELED && r->file && r->file->closed)
        nosi_io_throw(p, IO_ERR_INVALID_HANDLE, "");
    else if (r->err)
        nosi_io_throw_os(p, r->err, subject(r));
    return r->err != 0;
}

static Value finish_unit(Proc *p, IoReq *io)
{
    return failed(p, (FileReq *)io) ? VALUE_THROWN : VALUE_UNIT;
}

static Value finish_bool(Proc *p, IoReq *io)
{
    (void)p;
    return value_bool(((FileReq *)io)->number != 0);
}

static Value finish_int(Proc *p, IoReq *io)
{
    FileReq *r = (FileReq *)io;
    if (failed(p, r) || !nosi_reserve(p, INT64_WORDS))
        return VALUE_THROWN;
    return nosi_int_nogc(&p->heap, r->number);
}

/* The bytes read, as a String or Bytes. */
static Value finish_content(Proc *p, IoReq *io)
{
    FileReq *r = (FileReq *)io;
    Heap *h = &p->heap;
    StrBlob *blob = r->blob;
    size_t bad = 0;
    bool ok;
    Value v = VALUE_UNIT;

    if (failed(p, r))
        return VALUE_THROWN;
    r->blob = NULL;
    if (!blob) {
        ok = r->want_bytes ? nosi_bytes_new(h, "", 0, &v) : nosi_string_new(h, "", 0, &v);
    } else {
        // Nobody else has seen the blob yet.
        atomic_store_explicit(&blob->used, r->len, memory_order_relaxed);
        if (r->want_bytes) {
            ok = nosi_bytes_from_blob(h, blob, r->len, &v);
        } else {
            StrStatus status = nosi_string_from_blob(h, blob, r->len, &bad, &v);
            if (status == STR_INVALID)
                return nosi_throw_kind(p, "io_error", "IO error: invalid UTF-8 at byte %llu: %s",
                                       (unsigned long long)(r->first + bad),
                                       r->path ? r->path : r->file->path);
            ok = status == STR_OK;
        }
    }
    return ok ? v : nosi_out_of_memory(p);
}

static Value finish_next_line(Proc *p, IoReq *io)
{
    FileReq *r = (FileReq *)io;
    if (failed(p, r))
        return VALUE_THROWN;
    if (r->no_result)
        return nosi_none();
    Value v = finish_content(p, io);
    if (value_is_thrown(v))
        return v;
    return nosi_some(&p->heap, v, &v) ? v : nosi_out_of_memory(p);
}

static Value finish_names(Proc *p, IoReq *io)
{
    FileReq *r = (FileReq *)io;
    Heap *h = &p->heap;
    Value list = VALUE_NIL, name = VALUE_NIL;
    bool ok = true;
    if (failed(p, r))
        return VALUE_THROWN;
    ROOT(h, list);
    ROOT(h, name);
    for (uint32_t i = r->names.n; i-- > 0 && ok;) {
        ok = nosi_string_lossy(h, r->names.at[i], strlen(r->names.at[i]), &name) &&
             nosi_heap_reserve(h, CONS_WORDS);
        if (ok)
            list = nosi_cons_nogc(h, name, list);
    }
    UNROOT(h);
    UNROOT(h);
    return ok ? list : nosi_out_of_memory(p);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Makes room for `extra` more bytes in the result. */
static bool grow_blob(FileReq *r, size_t extra)
{
    size_t cap = r->blob ? r->blob->cap : 0, need = r->len + extra;
    if (cap >= need)
        return true;
    if (need > r->limit)
        return r->err = ENOMEM, false;
    cap = NOS_MAX(need, cap * 2);
    StrBlob *b = nosi_blob_new(cap);
    if (!b)
        return r->err = ENOMEM, false;
    if (r->blob) {
        memcpy(b->bytes, r->blob->bytes, r->len);
        nosi_blob_unref(r->blob);
    }
    r->blob = b;
    return true;
}

/* read() of a descriptor that may have to wait. Result: bytes, 0 at the end, -1 with *step or
 * r->err set. */
static ssize_t read_some(FileReq *r, int fd, bool can_wait, void *to, size_t n, IoStep *step)
{
    for (;;) {
        if (can_wait) {
            struct pollfd pf = {.fd = fd, .events = POLLIN};
            if (poll(&pf, 1, 0) == 0) {
                r->io.wait_fd = fd;
                *step = IO_WAIT_READ;
                return -1;
            }
        }
        ssize_t got = read(fd, to, NOS_MIN(n, MAX_READ));
        if (got >= 0)
            return got;
        if (errno == EAGAIN) {
            r->io.wait_fd = fd;
            *step = IO_WAIT_READ;
            return -1;
        }
        if (errno == EBADF && r->file && r->file->is_stdin)
            return 0;
        if (errno != EINTR) {
            r->err = errno;
            return -1;
        }
    }
}

/* Opens r->path. Never waits for the other end of a pipe. */
static bool open_path(FileReq *r, IoStep *step, bool *can_wait)
{
    struct stat st;
    int flags = r->flags | O_CLOEXEC;
    bool is_fifo = stat(r->path, &st) == 0 && S_ISFIFO(st.st_mode);
    if (is_fifo)
        flags |= O_NONBLOCK;
    do
        r->fd = open(r->path, flags, 0666);
    while (r->fd < 0 && errno == EINTR);
    if (r->fd < 0 && errno == ENXIO && is_fifo) { // nobody reads yet
        *step = IO_WAIT_RETRY;
        return false;
    }
    if (r->fd < 0) {
        r->err = errno;
        *step = IO_DONE;
        return false;
    }
    *can_wait = fstat(r->fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) &&
                !S_ISBLK(st.st_mode);
    return true;
}

static IoStep read_to_end(FileReq *r, int fd, bool can_wait)
{
    IoStep step = IO_DONE;
    for (;;) {
        if (r->blob && r->blob->cap == r->len && !grow_blob(r, CHUNK))
            return IO_DONE;
        ssize_t got =
            read_some(r, fd, can_wait, r->blob->bytes + r->len, r->blob->cap - r->len, &step);
        if (got < 0)
            return step;
        if (got == 0)
            return IO_DONE;
        r->len += (size_t)got;
    }
}

static IoStep work_read_all(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    struct stat st;
    IoStep step;
    bool can_wait;

    if (r->fd < 0) {
        if (!open_path(r, &step, &can_wait))
            return step;
        // One byte more than the file has, so that the end is seen without growing. /proc says 0.
        size_t size = fstat(r->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0
                          ? (size_t)st.st_size + 1
                          : CHUNK;
        if (!grow_blob(r, size))
            return IO_DONE;
        r->number = can_wait;
    }
    return read_to_end(r, r->fd, r->number != 0);
}

/* The content of a small regular file that is in the page cache: no other thread needed. Otherwise
 * false, nothing happened. */
static bool read_cached(FileReq *r)
{
#if defined(SYS_openat2) && defined(RESOLVE_CACHED)
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_CACHED};
    struct stat st;
    bool done = false;
    // First only look at it: opening a pipe or a device for reading may already have effects.
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, r->path, &how, sizeof how);
    if (fd < 0)
        return false;
    bool fit =
        fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size < SMALL_FILE;
    close(fd);
    if (!fit || (size_t)st.st_size > r->limit)
        return false;
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    fd = (int)syscall(SYS_openat2, AT_FDCWD, r->path, &how, sizeof how);
    if (fd < 0)
        return false;
    if (grow_blob(r, (size_t)st.st_size + 1)) {
        struct iovec to = {r->blob->bytes, r->blob->cap};
        ssize_t got = preadv2(fd, &to, 1, 0, RWF_NOWAIT);
        if (got == st.st_size) {
            r->len = (size_t)got;
            done = true;
        }
    }
    close(fd);
    r->err = 0;
    return done;
#else
    (void)r;
    return false;
#endif
}

static Value read_whole(Proc *p, Value path, bool want_bytes)
{
    FileReq *r = path_req(p, path, work_read_all, finish_content);
    if (!r)
        return VALUE_THROWN;
    r->want_bytes = want_bytes;
    r->flags = O_RDONLY;
    if (!read_cached(r))
        return submit(p, r);
    Value v = finish_content(p, &r->io);
    destroy(&r->io);
    return v;
}

Value nosi_file_read_all(Proc *p, Value *args)
{
    return read_whole(p, args[0], false);
}
Value nosi_file_read_bytes(Proc *p, Value *args)
{
    return read_whole(p, args[0], true);
}

/* ---- writing -------------------------------------------------------------------------------- */

static IoStep write_data(FileReq *r, int fd)
{
    while (r->done < r->out.n) {
        ssize_t n = write(fd, r->out.data + r->done, NOS_MIN(r->out.n - r->done, MAX_READ));
        if (n >= 0) {
            r->done += (size_t)n;
        } else if (errno == EAGAIN) {
            r->io.wait_fd = fd;
            return IO_WAIT_WRITE;
        } else if (errno != EINTR) {
            r->err = errno;
            return IO_DONE;
        }
    }
    return IO_DONE;
}

static IoStep work_write_all(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    IoStep step;
    bool can_wait;
    if (r->fd < 0 && !open_path(r, &step, &can_wait))
        return step;
    step = write_data(r, r->fd);
    if (step == IO_DONE) {
        if (close(r->fd) != 0 && !r->err && errno != EINTR)
            r->err = errno; // a full disk may show only here
        r->fd = -1;
    }
    return step;
}

static Value write_whole(Proc *p, Value *args, int flags)
{
    FileReq *r = path_req(p, args[0], work_write_all, finish_unit);
    if (!r)
        return VALUE_THROWN;
    r->flags = O_WRONLY | O_CREAT | flags;
    if (!nosi_payload_take(p, &r->out, args[1])) {
        destroy(&r->io);
        return VALUE_THROWN;
    }
    return submit(p, r);
}

Value nosi_file_write_all(Proc *p, Value *args)
{
    return write_whole(p, args, O_TRUNC);
}
Value nosi_file_append(Proc *p, Value *args)
{
    return write_whole(p, args, O_APPEND);
}

/* ---- replacing a file as a whole ------------------------------------------------------------- */

/* Opens a new file in the directory of r->path: r->path2, r->fd. */
static bool open_beside(FileReq *r)
{
    static _Atomic(unsigned) counter;
    const char *slash = strrchr(r->path, '/');
    int dir_n = slash ? (int)(slash + 1 - r->path) : 0;
    do {
        char name[64];
        StrBuf path = {0};
        // Relaxed: only uniqueness matters, and O_EXCL decides.
        snprintf(name, sizeof name, ".nostos-%ld-%u", (long)getpid(),
                 atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed));
        nosi_strbuf_printf(&path, "%.*s%s", dir_n, r->path, name);
        nosi_free(r->path2);
        r->path2 = nosi_strdup(nosi_strbuf_cstr(&path));
        nosi_strbuf_free(&path);
        r->fd = open(r->path2, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (r->fd < 0 && (errno == EEXIST || errno == EINTR));
    if (r->fd < 0)
        r->err = errno;
    return r->fd >= 0;
}

/* So that the new name survives a crash of the system, too. */
static void sync_directory_of(const char *path)
{
    char *dir = nosi_strdup(path);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = 0;
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd); // some file systems cannot: then there is nothing more to do
        close(fd);
    }
    nosi_free(dir);
}

static IoStep work_write_atomic(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    struct stat st;
    bool exists = stat(r->path, &st) == 0;
    if (exists && !S_ISREG(st.st_mode)) // a device or a pipe is not replaced by a file
        return r->err = S_ISDIR(st.st_mode) ? EISDIR : EINVAL, IO_DONE;
    char *real = exists ? realpath(r->path, NULL) : NULL; // what a link points to
    if (real) {
        nosi_free(r->path);
        r->path = nosi_strdup(real);
        free(real); // from realpath
    }
    if (!open_beside(r))
        return IO_DONE;
    if (exists && fchown(r->fd, st.st_uid, st.st_gid) != 0)
        st.st_mode &= 0777; // another owner's: no more rights than its permissions
    if (exists && fchmod(r->fd, st.st_mode & 07777) != 0)
        r->err = errno;
    if (!r->err)
        write_data(r, r->fd); // never waits: a regular file
    if (!r->err && fsync(r->fd) != 0)
        r->err = errno;
    if (close(r->fd) != 0 && !r->err && errno != EINTR)
        r->err = errno;
    r->fd = -1;
    if (!r->err && rename(r->path2, r->path) != 0)
        r->err = errno;
    if (r->err)
        unlink(r->path2);
    else
        sync_directory_of(r->path);
    return IO_DONE;
}

Value nosi_file_write_atomic(Proc *p, Value *args)
{
    FileReq *r = path_req(p, args[0], work_write_atomic, finish_unit);
    if (!r)
        return VALUE_THROWN;
    if (!nosi_payload_take(p, &r->out, args[1])) {
        destroy(&r->io);
        return VALUE_THROWN;
    }
    return submit(p, r);
}

/* ---- files and directories by path
 * --------------------------------------------------------------------------------- */

static IoStep work_exists(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    struct stat st;
    r->number = stat(r->path, &st) == 0 && (!r->flags || S_ISDIR(st.st_mode));
    return IO_DONE;
}

static Value exists(Proc *p, Value path, bool directory)
{
    FileReq *r = path_req(p, path, work_exists, finish_bool);
    if (!r)
        return VALUE_THROWN;
    r->flags = directory;
    return submit(p, r);
}

Value nosi_file_exists(Proc *p, Value *args)
{
    return exists(p, args[0], false);
}
Value nosi_dir_exists(Proc *p, Value *args)
{
    return exists(p, args[0], true);
}

static IoStep work_size(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    struct stat st;
    if (stat(r->path, &st) != 0)
        r->err = errno;
    else
        r->number = (int64_t)st.st_size;
    return IO_DONE;
}

static IoStep work_modified(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    struct stat st;
    if (stat(r->path, &st) != 0)
        r->err = errno;
    else
        r->number = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    return IO_DONE;
}

static IoStep work_remove(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    if (unlink(r->path) != 0)
        r->err = errno;
    return IO_DONE;
}

static IoStep work_mkdir(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    if (mkdir(r->path, 0777) != 0)
        r->err = errno;
    return IO_DONE;
}

static IoStep work_mkdir_all(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    struct stat st;
    for (char *end = r->path; *end; end++) {
        if (*end != '/' || end == r->path)
            continue;
        *end = 0;
        int result = mkdir(r->path, 0777);
        *end = '/';
        if (result != 0 && errno != EEXIST && errno != EACCES && errno != EROFS && errno != EPERM)
            return r->err = errno, IO_DONE; // a parent that exists but may not be created is fine:
                                            // the last mkdir tells
    }
    if (mkdir(r->path, 0777) != 0) {
        int err = errno;
        if (err != EEXIST || stat(r->path, &st) != 0 || !S_ISDIR(st.st_mode))
            r->err = err;
    }
    return IO_DONE;
}

static IoStep work_rmdir(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    if (rmdir(r->path) != 0)
        r->err = errno;
    return IO_DONE;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    int result = kind == FTW_DP || kind == FTW_DNR ? rmdir(path) : unlink(path);
    return result == 0 ? 0 : errno;
}

static IoStep work_remove_all(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    struct stat st;
    if (lstat(r->path, &st) != 0)
        return r->err = errno, IO_DONE;
    if (!S_ISDIR(st.st_mode))
        return r->err = ENOTDIR, IO_DONE;
    int result = nftw(r->path, remove_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    if (result != 0)
        r->err = result > 0 ? result : errno;
    return IO_DONE;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static IoStep work_list(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    DIR *d = opendir(r->path);
    struct dirent *e;
    if (!d)
        return r->err = errno, IO_DONE;
    while (errno = 0, e = readdir(d))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            vec_push(&r->names, nosi_strdup(e->d_name));
    r->err = errno;
    closedir(d);
    if (r->names.n)
        qsort(r->names.at, r->names.n, sizeof *r->names.at, by_name);
    return IO_DONE;
}

static Value by_path(Proc *p, Value path, IoStep (*work)(IoReq *), Value (*finish)(Proc *, IoReq *))
{
    FileReq *r = path_req(p, path, work, finish);
    return r ? submit(p, r) : VALUE_THROWN;
}

Value nosi_file_size(Proc *p, Value *args)
{
    return by_path(p, args[0], work_size, finish_int);
}
Value nosi_file_modified(Proc *p, Value *args)
{
    return by_path(p, args[0], work_modified, finish_int);
}
Value nosi_file_remove(Proc *p, Value *args)
{
    return by_path(p, args[0], work_remove, finish_unit);
}
Value nosi_dir_create(Proc *p, Value *args)
{
    return by_path(p, args[0], work_mkdir, finish_unit);
}
Value nosi_dir_create_all(Proc *p, Value *args)
{
    return by_path(p, args[0], work_mkdir_all, finish_unit);
}
Value nosi_dir_list(Proc *p, Value *args)
{
    return by_path(p, args[0], work_list, finish_names);
}
Value nosi_dir_remove(Proc *p, Value *args)
{
    return by_path(p, args[0], work_rmdir, finish_unit);
}
Value nosi_dir_remove_all(Proc *p, Value *args)
{
    return by_path(p, args[0], work_remove_all, finish_unit);
}

static IoStep work_rename(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    if (rename(r->path, r->path2) != 0)
        r->err = errno;
    return IO_DONE;
}

static IoStep work_copy(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    uv_fs_t req;
    struct stat from, to;
    if (stat(r->path, &from) != 0)
        return r->err = errno, IO_DONE;
    if (S_ISDIR(from.st_mode))
        return r->err = EISDIR, IO_DONE;
    if (stat(r->path2, &to) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino)
        return IO_DONE; // onto itself: nothing to do (and nothing to truncate)
    int result = uv_fs_copyfile(NULL, &req, r->path, r->path2, 0, NULL);
    uv_fs_req_cleanup(&req);
    r->err = result < 0 ? -result : 0;
    return IO_DONE;
}

static Value by_two_paths(Proc *p, Value *args, IoStep (*work)(IoReq *))
{
    FileReq *r = path_req(p, args[0], work, finish_unit);
    if (!r)
        return VALUE_THROWN;
    r->path2 = path_arg(p, args[1]);
    if (!r->path2) {
        destroy(&r->io);
        return VALUE_THROWN;
    }
    return submit(p, r);
}

Value nosi_file_rename(Proc *p, Value *args)
{
    return by_two_paths(p, args, work_rename);
}
Value nosi_file_copy(Proc *p, Value *args)
{
    return by_two_paths(p, args, work_copy);
}

/* ---- open files: open, close, seek, write
 * ---------------------------------------------------------------------------- */

static IoStep work_open(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    IoStep step;
    bool can_wait;
    struct stat st;
    if (!open_path(r, &step, &can_wait))
        return step;
    if (fstat(r->fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        r->err = EISDIR;
        return IO_DONE;
    }
    r->file = new_file(r->fd, r->path);
    r->fd = -1;
    return IO_DONE;
}

static Value finish_open(Proc *p, IoReq *io)
{
    FileReq *r = (FileReq *)io;
    if (failed(p, r))
        return VALUE_THROWN;
    int64_t handle = nosi_handle_add(HANDLE_FILE, r->file);
    r->file = NULL;
    return value_small(handle);
}

static Value throw_text(Proc *p, IoErrorId id, Value text)
{
    StrBuf s = {0};
    nosi_string_copy_cstr(text, &s);
    Value v = nosi_io_throw(p, id, nosi_strbuf_cstr(&s));
    nosi_strbuf_free(&s);
    return v;
}

Value nosi_file_open(Proc *p, Value *args)
{
    static const struct {
        const char *name;
        int flags;
    } modes[] = {
        {"r", O_RDONLY},
        {"read", O_RDONLY},
        {"w", O_WRONLY | O_CREAT | O_TRUNC},
        {"write", O_WRONLY | O_CREAT | O_TRUNC},
        {"a", O_WRONLY | O_CREAT | O_APPEND},
        {"append", O_WRONLY | O_CREAT | O_APPEND},
        {"rw", O_RDWR | O_CREAT},
        {"readwrite", O_RDWR | O_CREAT},
    };
    FileReq *r = path_req(p, args[0], work_open, finish_open);
    if (!r)
        return VALUE_THROWN;
    if (!value_is_string(args[1])) {
        destroy(&r->io);
        return nosi_type_error(p, "String", args[1]);
    }
    for (size_t i = 0; i < NOS_COUNT(modes); i++)
        if (nosi_string_equal_bytes(args[1], modes[i].name, strlen(modes[i].name))) {
            r->flags = modes[i].flags;
            return submit(p, r);
        }
    destroy(&r->io);
    return throw_text(p, IO_ERR_INVALID_MODE, args[1]);
}

/* Is the file still open? Marks the request when not. */
static bool still_open(FileReq *r)
{
    if (!r->file->closed)
        return true;
    r->err = ECANCELED;
    return false;
}

static IoStep work_close(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    OpenFile *f = r->file;
    if (!f->closed && close(f->fd) != 0 && errno != EINTR)
        r->err = errno;
    f->fd = -1;
    f->closed = true;
    return IO_DONE;
}

Value nosi_file_close(Proc *p, Value *args)
{
    FileReq *r = handle_req(p, args[0], work_close, finish_unit);
    if (!r)
        return VALUE_THROWN;
    // Gone from the table at once; operations already queued still see the file.
    release_file(nosi_handle_remove(value_int(args[0]), HANDLE_FILE));
    return submit(p, r);
}

/* Gives up what was read ahead, so that the descriptor stands where the program thinks it does. */
static void drop_read_ahead(OpenFile *f)
{
    if (f->start != f->end && !f->can_wait)
        lseek(f->fd, (off_t)f->pos, SEEK_SET);
    f->start = f->end = 0;
}

static IoStep work_seek(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    OpenFile *f = r->file;
    if (!still_open(r))
        return IO_DONE;
    drop_read_ahead(f);
    off_t pos = lseek(f->fd, (off_t)r->number, r->whence);
    if (pos < 0)
        return r->err = errno, IO_DONE;
    f->pos = (uint64_t)pos;
    r->number = (int64_t)pos;
    return IO_DONE;
}

Value nosi_file_seek(Proc *p, Value *args)
{
    static const char *const names[] = {"start", "current", "end"};
    static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    if (!value_is_int(args[1]))
        return nosi_type_error(p, "Int", args[1]);
    if (!value_is_string(args[2]))
        return nosi_type_error(p, "String", args[2]);
    FileReq *r = handle_req(p, args[0], work_seek, finish_int);
    if (!r)
        return VALUE_THROWN;
    r->number = value_int(args[1]);
    for (size_t i = 0; i < NOS_COUNT(names); i++)
        if (nosi_string_equal_bytes(args[2], names[i], strlen(names[i]))) {
            r->whence = whences[i];
            return submit(p, r);
        }
    destroy(&r->io);
    return throw_text(p, IO_ERR_INVALID_WHENCE, args[2]);
}

static IoStep work_same(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    struct stat open_one, named;
    if (!still_open(r))
        return IO_DONE;
    if (fstat(r->file->fd, &open_one) != 0)
        r->err = errno;
    else if (stat(r->path, &named) == 0)
        r->number = open_one.st_dev == named.st_dev && open_one.st_ino == named.st_ino;
    else if (errno != ENOENT && errno != ENOTDIR)
        r->err = errno;
    return IO_DONE;
}

static Value finish_same(Proc *p, IoReq *io)
{
    return failed(p, (FileReq *)io) ? VALUE_THROWN : finish_bool(p, io);
}

Value nosi_file_is_at(Proc *p, Value *args)
{
    FileReq *r = handle_req(p, args[0], work_same, finish_same);
    if (!r)
        return VALUE_THROWN;
    r->path = path_arg(p, args[1]);
    if (!r->path) {
        destroy(&r->io);
        return VALUE_THROWN;
    }
    return submit(p, r);
}

static IoStep work_write(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    OpenFile *f = r->file;
    if (!still_open(r))
        return IO_DONE;
    if (r->done == 0)
        drop_read_ahead(f);
    IoStep step = write_data(r, f->fd);
    if (step == IO_DONE) {
        off_t pos = lseek(f->fd, 0, SEEK_CUR);
        f->pos = pos >= 0 ? (uint64_t)pos : f->pos;
        r->number = (int64_t)r->done;
    }
    return step;
}

Value nosi_file_write(Proc *p, Value *args)
{
    FileReq *r = handle_req(p, args[0], work_write, finish_int);
    if (!r)
        return VALUE_THROWN;
    if (!nosi_payload_take(p, &r->out, args[1])) {
        destroy(&r->io);
        return VALUE_THROWN;
    }
    return submit(p, r);
}

static IoStep work_flush(IoReq *io)
{
    still_open((FileReq *)io); // writes are not buffered: being here means that they are done
    return IO_DONE;
}

Value nosi_file_flush(Proc *p, Value *args)
{
    FileReq *r = handle_req(p, args[0], work_flush, finish_unit);
    return r ? submit(p, r) : VALUE_THROWN;
}

/* ---- open files: reading
 * --------------------------------------------------------------------------------------------- */

/* Moves up to n read-ahead bytes into the result. */
static void take_read_ahead(FileReq *r, size_t n)
{
    OpenFile *f = r->file;
    n = NOS_MIN(n, f->end - f->start);
    if (n) // f->buf is NULL until something was read ahead
        memcpy(r->blob->bytes + r->len, f->buf + f->start, n);
    r->len += n;
    f->start += n;
    f->pos += n;
}

static IoStep work_read(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    OpenFile *f = r->file;
    IoStep step = IO_DONE;
    size_t want = (size_t)r->number;
    bool at_end = false;

    if (!still_open(r) || want == 0 ||
        !grow_blob(r,
                   want > CHUNK && !f->can_wait ? NOS_MIN(want, CHUNK * 16) : NOS_MIN(want, CHUNK)))
        return IO_DONE;
    if (!grow_blob(r, 4))
        return IO_DONE;
    r->first = f->pos - r->len;
    for (;;) {
        // What a text ends with may be half a character: read on until there is a whole one, give
        // the rest back later.
        size_t got_chars = r->want_bytes ? r->len : nosi_whole_chars(r->blob->bytes, r->len);
        if (at_end || r->len >= want ? got_chars > 0 || at_end : f->can_wait && got_chars > 0)
            break;
        size_t more = r->len < want ? want - r->len : 1;
        if (f->start != f->end) {
            if (!grow_blob(r, NOS_MIN(more, f->end - f->start)))
                return IO_DONE;
            take_read_ahead(r, more);
            continue;
        }
        if (!grow_blob(r, NOS_MIN(more, CHUNK)))
            return IO_DONE;
        ssize_t got = read_some(r, f->fd, f->can_wait, r->blob->bytes + r->len,
                                NOS_MIN(more, r->blob->cap - r->len), &step);
        if (got < 0)
            return step;
        at_end = got == 0;
        r->len += (size_t)got;
        f->pos += (size_t)got;
    }
    if (!r->want_bytes && !at_end) {
        size_t keep = nosi_whole_chars(r->blob->bytes, r->len), tail = r->len - keep;
        if (tail && f->start == f->end) { // comes from the descriptor: becomes read-ahead
            if (!f->buf) {
                f->cap = CHUNK;
                f->buf = nosi_alloc(f->cap);
            }
            memcpy(f->buf, r->blob->bytes + keep, tail);
            f->start = 0;
            f->end = tail;
        } else {
            f->start -= tail;
        }
        f->pos -= tail;
        r->len = keep;
    }
    return IO_DONE;
}

static Value read_handle(Proc *p, Value *args, bool want_bytes)
{
    if (!value_is_int(args[1]))
        return nosi_type_error(p, "Int", args[1]);
    FileReq *r = handle_req(p, args[0], work_read, finish_content);
    if (!r)
        return VALUE_THROWN;
    r->number = NOS_MAX(value_int(args[1]), 0);
    r->want_bytes = want_bytes;
    return submit(p, r);
}

Value nosi_file_read(Proc *p, Value *args)
{
    return read_handle(p, args, false);
}
Value nosi_file_read_bytes_handle(Proc *p, Value *args)
{
    return read_handle(p, args, true);
}

/* Takes the line that ends before buf[stop] out of the read-ahead. */
static void take_line(FileReq *r, size_t stop)
{
    OpenFile *f = r->file;
    r->first = f->pos;
    if (!grow_blob(r, NOS_MAX(stop - f->start, 1)))
        return;
    take_read_ahead(r, stop - f->start);
    if (!r->keep_end && r->len && r->blob->bytes[r->len - 1] == '\n') {
        r->len--;
        if (r->len && r->blob->bytes[r->len - 1] == '\r')
            r->len--;
    }
}

static IoStep work_line(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    OpenFile *f = r->file;
    IoStep step = IO_DONE;
    size_t seen = 0; // bytes of the read-ahead known to have no line feed

    if (!still_open(r))
        return IO_DONE;
    for (;;) {
        size_t n = f->end - f->start;
        const char *feed = n > seen ? memchr(f->buf + f->start + seen, '\n', n - seen) : NULL;
        if (feed) {
            take_line(r, (size_t)(feed + 1 - f->buf));
            return IO_DONE;
        }
        seen = n;
        if (f->start) {
            memmove(f->buf, f->buf + f->start, n);
            f->start = 0;
            f->end = n;
        }
        if (f->end == f->cap) {
            if (f->cap * 2 > r->limit)
                return r->err = ENOMEM, IO_DONE;
            f->cap = f->cap ? f->cap * 2 : CHUNK;
            f->buf = nosi_realloc(f->buf, f->cap);
        }
        ssize_t got = read_some(r, f->fd, f->can_wait, f->buf + f->end, f->cap - f->end, &step);
        if (got < 0)
            return step;
        if (got == 0) {
            if (f->start == f->end)
                r->no_result = true;
            else
                take_line(r, f->end);
            return IO_DONE;
        }
        f->end += (size_t)got;
    }
}

static Value finish_read_line(Proc *p, IoReq *io)
{
    FileReq *r = (FileReq *)io;
    Value v;
    if (!r->no_result)
        return finish_content(p, io);
    return nosi_string_new(&p->heap, "eof", 3, &v) ? v : nosi_out_of_memory(p);
}

/* The next line of r->file: at once when it has been read ahead. */
static Value read_line(Proc *p, FileReq *r)
{
    OpenFile *f = r->file;
    bool here = false;
    if (nosi_io_lane_try(&f->lane)) {
        size_t n = f->end - f->start;
        const char *feed = n && !f->closed ? memchr(f->buf + f->start, '\n', n) : NULL;
        if (feed) {
            take_line(r, (size_t)(feed + 1 - f->buf));
            here = true;
        }
        nosi_io_lane_release(&f->lane);
    }
    if (!here)
        return submit(p, r);
    Value v = r->io.finish(p, &r->io);
    destroy(&r->io);
    return v;
}

Value nosi_file_read_line(Proc *p, Value *args)
{
    FileReq *r = handle_req(p, args[0], work_line, finish_read_line);
    if (!r)
        return VALUE_THROWN;
    r->keep_end = true;
    return read_line(p, r);
}

Value nosi_file_next_line(Proc *p, Value *args)
{
    FileReq *r = handle_req(p, args[0], work_line, finish_next_line);
    return r ? read_line(p, r) : VALUE_THROWN;
}

/* ---- standard input ------------------------------------------------------------------------- */

static FileReq *stdin_req(Proc *p, IoStep (*work)(IoReq *), Value (*finish)(Proc *, IoReq *))
{
    fflush(stdout); // a prompt
    FileReq *r = new_req(p, work, finish);
    r->file = standard_input();
    r->io.lane = &r->file->lane;
    return r;
}

Value nosi_stdin_read_line(Proc *p, Value *args)
{
    (void)args;
    return read_line(p, stdin_req(p, work_line, finish_next_line));
}

static IoStep work_read_rest(IoReq *io)
{
    FileReq *r = (FileReq *)io;
    OpenFile *f = r->file;
    if (!r->blob) {
        r->first = f->pos;
        if (!grow_blob(r, f->end - f->start + CHUNK))
            return IO_DONE;
        take_read_ahead(r, f->end - f->start);
    }
    return read_to_end(r, f->fd, f->can_wait);
}

Value nosi_stdin_read_all(Proc *p, Value *args)
{
    (void)args;
    return submit(p, stdin_req(p, work_read_rest, finish_content));
}
