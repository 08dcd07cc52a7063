/* io.h -- operations that block a thread, done on another: requests; handles; errors.
 *
 * A native makes a request and hands it over with nosi_io_submit, which parks the process. `work`
 * runs on a thread of libuv's pool and may block for as long as a disk needs; when it would have to
 * wait for the other side (a pipe, a terminal) it returns IO_WAIT_* and is called again when there
 * is something to do, without holding a thread meanwhile. When it is done, `finish` runs in the
 * process and makes the result on its heap.
 *
 *      submit ──▶ [lane] ──▶ loop ──▶ pool: work ──IO_DONE──▶ loop ──wake──▶ process: finish
 *                             ▲──────── IO_WAIT_* ◀─┘
 *
 * The loop is that of the worker that runs the process. What waits for events only, not for a
 * thread, is an IoOp of loop.h, as is a request underneath. */
#ifndef NOSI_IO_H
#define NOSI_IO_H

#include "io/late.h"
#include "io/loop.h"

typedef struct IoReq IoReq;
typedef struct IoLane IoLane;

typedef enum IoStep {
    IO_DONE,
    IO_WAIT_READ,  // call again when wait_fd is readable (or its other end is gone)
    IO_WAIT_WRITE, // ... writable
    IO_WAIT_RETRY, // ... after a little while
} IoStep;

/* Requests that must not overlap, in order of submission: operations on one open file. Zero = idle.
 */
struct IoLane {
    bool busy;
    IoReq *first, *last;
};

/* Base of every request; the owner embeds it as first member. */
struct IoReq {
    IoOp op; // io.c sets its functions
    /* set by the submitter */
    IoStep (*work)(IoReq *r);           // pool thread
    Value (*finish)(Proc *p, IoReq *r); // in the process; like a native
    /* Any thread; after finish, or instead of it when the process is gone. */
    void (*destroy)(IoReq *r);
    IoLane *lane; // or NULL; must outlive the request
    int wait_fd;
    /* io.c */
    IoReq *next;   // in a lane
    LoopTask turn; // its lane is free
    IoStep step;
    bool in_lane;   // waits there; under the lane mutex
    void *waiting;  // loop's thread: uv handle that waits for it
    uv_work_t *job; // loop's thread: in the pool
};

/* Parks p until the request is done. Takes r. Returns VALUE_PARKED. */
Value nosi_io_submit(Proc *p, IoReq *r);

/* A lane taken without waiting, for operations that need no thread: true when it was idle. Then
 * release it. */
bool nosi_io_lane_try(IoLane *lane);
void nosi_io_lane_release(IoLane *lane);

/* ---- handles: small numbers programs use for open things, unique over the program's life and over
 * kinds ------------ */

typedef enum HandleKind {
    HANDLE_FILE,
    HANDLE_PROCESS,
    HANDLE_SOCKET,
    HANDLE_LISTENER,
    HANDLE_HTTP_SERVER,
    HANDLE_DATAGRAM,
    HANDLE_WATCH,
    HANDLE_DATABASE,
    HANDLE_PG_POOL,
    HANDLE_PG_GUARD,
    HANDLE_WEBSOCKET,
    HANDLE_SIGNAL
} HandleKind;

int64_t nosi_handle_add(HandleKind kind, void *object); // gives the new number
/* The object, or NULL. `retain` is called with it while nobody can remove it. */
void *nosi_handle_get(int64_t handle, HandleKind kind, void (*retain)(void *object));
void *nosi_handle_remove(int64_t handle, HandleKind kind); // gives the object back, or NULL

/* ---- errors --------------------------------------------------------------------------------- */

typedef enum IoErrorId {
#define IO_ERROR(id, kind, text) IO_ERR_##id,
#include "io/io_errors.def"
#undef IO_ERROR
    IO_ERR__COUNT
} IoErrorId;

/* Raises (kind, text with %s = detail). */
Value nosi_io_throw(Proc *p, IoErrorId id, const char *detail);
/* nosi_late_load for a native: false when it has raised id, whose detail says why. */
bool nosi_io_load(Proc *p, LateLibrary l, IoErrorId id);
/* For a native that programs call before one that needs the library: parks p until a thread of the
 * pool has loaded it and run set_up (or NULL); at once when it is loaded. Raises nothing: who needs
 * a library that cannot be had says so. */
Value nosi_io_prepare(Proc *p, LateLibrary l, void (*set_up)(void));
/* Raises what the OS error number `err` of an operation on `path` (NULL: none) is called. */
Value nosi_io_throw_os(Proc *p, int err, const char *path);

/* ---- file.c: natives of File, Dir and standard input. Same ABI as built-ins
 * ----------------------------------------- */

Value nosi_file_read_all(Proc *p, Value *args);
Value nosi_file_read_bytes(Proc *p, Value *args);
Value nosi_file_write_all(Proc *p, Value *args);
Value nosi_file_append(Proc *p, Value *args);
Value nosi_file_write_atomic(Proc *p, Value *args);
Value nosi_file_exists(Proc *p, Value *args);
Value nosi_file_remove(Proc *p, Value *args);
Value nosi_file_rename(Proc *p, Value *args);
Value nosi_file_copy(Proc *p, Value *args);
Value nosi_file_size(Proc *p, Value *args);
Value nosi_file_modified(Proc *p, Value *args);
Value nosi_file_is_at(Proc *p, Value *args);
Value nosi_file_open(Proc *p, Value *args);
Value nosi_file_read(Proc *p, Value *args);
Value nosi_file_read_bytes_handle(Proc *p, Value *args);
Value nosi_file_write(Proc *p, Value *args);
Value nosi_file_read_line(Proc *p, Value *args);
Value nosi_file_next_line(Proc *p, Value *args);
Value nosi_file_flush(Proc *p, Value *args);
Value nosi_file_close(Proc *p, Value *args);
Value nosi_file_seek(Proc *p, Value *args);
Value nosi_dir_create(Proc *p, Value *args);
Value nosi_dir_create_all(Proc *p, Value *args);
Value nosi_dir_list(Proc *p, Value *args);
Value nosi_dir_remove(Proc *p, Value *args);
Value nosi_dir_remove_all(Proc *p, Value *args);
Value nosi_dir_exists(Proc *p, Value *args);
Value nosi_stdin_read_line(Proc *p, Value *args);
Value nosi_stdin_read_all(Proc *p, Value *args);

#endif
