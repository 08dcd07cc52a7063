/* exec.c -- see exec.h. A thread of the pool starts a child, because that takes as long as the
 * program's file needs; then it belongs to the loop of the worker where its process goes on, which
 * also learns of its end: a pidfd tells, and the child is collected at once: there are no zombies.
 * Its pipes are streams (tcp.h). Closing a child that still runs kills it; what remains of it goes
 * when it has ended. */
#define _GNU_SOURCE // pipe2
#include "io/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/payload.h"
#include "io/tcp.h"
#include "vm/data/list.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"
#include "vm/util/env.h"
#include "vm/util/vec.h"

enum { STREAMS = 3, RESULT_WORDS = 4, CHUNK = 16 << 10, START_WAIT_S = 1 };

typedef struct WaitOp WaitOp;
typedef struct RunOp RunOp;

typedef struct Child {
    IoResource res;
    Stream *stream[STREAMS]; // our ends of stdin, stdout, stderr; retained
    int pid;                 // fixed
    /* loop's thread */
    uv_poll_t ended; // becomes readable when it has ended
    int pidfd;
    bool exited;
    int status; // exit status; -1: ended by a signal
    WaitOp *waiting;
    RunOp *run; // collects the output, or NULL
} Child;

static const StreamErrors errors = {IO_ERR_TIMEOUT, IO_ERR_INVALID_HANDLE, IO_ERR_OTHER,
                                    IO_ERR_OTHER};

static pthread_mutex_t living_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t started = PTHREAD_COND_INITIALIZER; // n_starting became smaller
static VEC(int) living;     // children that have not ended, as far as we know; under living_mutex
static uint32_t n_starting; // children that are being started; under living_mutex
static bool no_more;        // the program ends; under living_mutex

static void run_progress(RunOp *o);

/* ---- waiting ----------------------------------------------------------------------------------
 */

struct WaitOp {
    IoOp op;
    Child *child; // retained
    WaitOp *next;
    bool closed; // meanwhile
    int signal;  // instead of waiting: send it
    int status;
};

static void wait_destroy(IoOp *op)
{
    WaitOp *o = (WaitOp *)op;
    nosi_resource_drop(&o->child->res);
    nosi_free(o);
}

static void wait_cancel(IoOp *op)
{
    WaitOp *o = (WaitOp *)op;
    for (WaitOp **at = &o->child->waiting; *at; at = &(*at)->next)
        if (*at == o) {
            *at = o->next;
            break;
        }
    nosi_op_done(op);
}

static void wake_waiting(Child *c, bool closed)
{
    WaitOp *o = c->waiting;
    c->waiting = NULL;
    for (WaitOp *next; o; o = next) {
        next = o->next;
        o->closed = closed;
        o->status = c->status;
        nosi_op_done(&o->op);
    }
}

static void wait_start(IoOp *op)
{
    WaitOp *o = (WaitOp *)op;
    o->status = o->child->status;
    if (o->child->exited) {
        nosi_op_done(op);
        return;
    }
    o->next = o->child->waiting;
    o->child->waiting = o;
}

static Value wait_finish(Proc *p, IoOp *op)
{
    WaitOp *o = (WaitOp *)op;
    if (op->reason == OP_TIMEOUT)
        return nosi_io_throw(p, IO_ERR_TIMEOUT, "");
    if (o->closed)
        return nosi_io_throw(p, IO_ERR_INVALID_HANDLE, "");
    nosi_resource_end(&o->child->res); // the number is free with that
    return value_small(o->status);
}

/* ---- the end of the program
 * ---------------------------------------------------------------------- */

/* A child is about to be started; false: too late. */
static bool begin_starting(void)
{
    pthread_mutex_lock(&living_mutex);
    bool ok = !no_more;
    n_starting += ok;
    pthread_mutex_unlock(&living_mutex);
    return ok;
}

/* It was, or (pid 0) could not be. */
static void end_starting(int pid)
{
    pthread_mutex_lock(&living_mutex);
    n_starting--;
    if (pid && no_more) // nobody has waited for it
        kill(pid, SIGKILL);
    if (pid)
        vec_push(&living, pid);
    pthread_cond_signal(&started);
    pthread_mutex_unlock(&living_mutex);
}

static void remove_living(int pid)
{
    pthread_mutex_lock(&living_mutex);
    for (uint32_t i = 0; i < living.n; i++)
        if (living.at[i] == pid) {
            living.at[i] = vec_pop(&living);
            break;
        }
    pthread_mutex_unlock(&living_mutex);
}

void nosi_exec_kill_all(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += START_WAIT_S;
    pthread_mutex_lock(&living_mutex);
    no_more = true;
    // A child between vfork and exec outlives us when we go now. One whose file does not come is
    // not waited for for ever.
    while (n_starting && pthread_cond_timedwait(&started, &living_mutex, &until) == 0)
        ;
    VEC_EACH (int, pid, &living)
        kill(*pid, SIGKILL);
    pthread_mutex_unlock(&living_mutex);
}

/* ---- children ---------------------------------------------------------------------------------
 */

static void destroy_child(IoResource *r)
{
    Child *c = (Child *)r;
    for (int i = 0; i < STREAMS; i++)
        if (c->stream[i])
            nosi_resource_drop(&c->stream[i]->fd.res);
    nosi_free(c);
}

static void process_closed(uv_handle_t *h)
{
    Child *c = h->data;
    close(c->pidfd);
    nosi_resource_drop(&c->res);
}

static void on_exit_of(uv_poll_t *uv, int error, int events)
{
    (void)error;
    (void)events;
    Child *c = uv->data;
    siginfo_t info = {0};
    if (waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0)
        return; // not yet
    c->exited = true;
    c->status = info.si_code == CLD_EXITED ? info.si_status : -1;
    remove_living(c->pid);
    nosi_resource_retain(&c->res);
    wake_waiting(c, false);
    if (c->run)
        run_progress(c->run);
    uv_close((uv_handle_t *)&c->ended, process_closed);
    nosi_resource_drop(&c->res);
}

static void close_child(IoResource *r)
{
    Child *c = (Child *)r;
    wake_waiting(c, true);
    for (int i = 0; i < STREAMS; i++)
        if (c->stream[i]) // before the child can, so that readers see no end of its output
            nosi_resource_end_now(&c->stream[i]->fd.res);
    if (!c->exited && c->pid)
        kill(c->pid, SIGKILL); // and on_exit_of comes
    nosi_resource_drop(r);
}

/* Pipes for the three streams: ours do not block. False with errno. */
static bool open_pipes(int ours[STREAMS], int theirs[STREAMS])
{
    for (int i = 0; i < STREAMS; i++)
        ours[i] = theirs[i] = -1;
    for (int i = 0; i < STREAMS; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0)
            return false;
        ours[i] = ends[i == 0];                                    // we write what it reads
        theirs[i] = fcntl(ends[i != 0], F_DUPFD_CLOEXEC, STREAMS); // 0 to 2 are set one by one
        close(ends[i != 0]);
        if (theirs[i] < 0)
            return false;
        if (fcntl(ours[i], F_SETFL, O_NONBLOCK) != 0)
            return false;
    }
    return true;
}

static void close_all(const int fd[STREAMS])
{
    for (int i = 0; i < STREAMS; i++)
        if (fd[i] >= 0)
            close(fd[i]);
}

typedef struct Command {
    VEC(char *) argv;
    VEC(char *) env;
    char *dir; // or NULL
} Command;

static void free_command(Command *c)
{
    VEC_EACH (char *, s, &c->argv)
        nosi_free(*s);
    VEC_EACH (char *, s, &c->env)
        nosi_free(*s);
    vec_free(&c->argv);
    vec_free(&c->env);
    nosi_free(c->dir);
}

/* As execvp in the child would: also a script without #!. 0 or an error. */
static int spawn_file(const char *file, Command *cmd, const posix_spawn_file_actions_t *fa,
                      const posix_spawnattr_t *attr, int *pid)
{
    int err = posix_spawn(pid, file, fa, attr, cmd->argv.at, cmd->env.at);
    if (err != ENOEXEC)
        return err;
    VEC(char *) argv = {0};
    vec_push(&argv, (char *)"/bin/sh");
    vec_push(&argv, (char *)file);
    for (uint32_t i = 1; i < cmd->argv.n; i++) // with the NULL
        vec_push(&argv, cmd->argv.at[i]);
    err = posix_spawn(pid, "/bin/sh", fa, attr, argv.at, cmd->env.at);
    vec_free(&argv);
    return err;
}

/* Looks for it in the child's PATH, as seen from its directory. 0 or an error. */
static int search_path(Command *cmd, const posix_spawn_file_actions_t *fa,
                       const posix_spawnattr_t *attr, int *pid)
{
    const char *name = cmd->argv.at[0], *path = "/bin:/usr/bin";
    if (!*name)
        return ENOENT;
    if (strchr(name, '/'))
        return spawn_file(name, cmd, fa, attr, pid);
    for (uint32_t i = 0; cmd->env.at[i]; i++)
        if (strncmp(cmd->env.at[i], "PATH=", 5) == 0) {
            path = cmd->env.at[i] + 5;
            break;
        }
    char *file = nosi_calloc(1, strlen(path) + strlen(name) + 2);
    bool denied = false;
    int err = ENOENT;
    for (const char *at = path;; at++) {
        size_t n = strcspn(at, ":");
        sprintf(file, "%.*s%s%s", (int)n, at, n ? "/" : "", name);
        err = file[0] == '/' && access(file, F_OK) != 0 ? errno // saves a child
                                                        : spawn_file(file, cmd, fa, attr, pid);
        denied |= err == EACCES;
        at += n;
        if ((err != ENOENT && err != ENOTDIR && err != EACCES) || !*at)
            break;
    }
    nosi_free(file);
    return err == ENOENT && denied ? EACCES : err;
}

/* posix_spawn shares our memory until exec; uv_spawn forks, which copies page tables: 13 ms at a
 * heap of some hundred megabytes. 0 or an error. */
static int start_program(Command *cmd, const int theirs[STREAMS], int *pid)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    struct sigaction chld;
    if (sigaction(SIGCHLD, NULL, &chld) == 0 && chld.sa_handler == SIG_IGN)
        signal(SIGCHLD, SIG_DFL); // inherited; exit statuses would be lost
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    for (int i = 0; i < STREAMS; i++)
        posix_spawn_file_actions_adddup2(&fa, theirs[i], i);
    if (cmd->dir)
        posix_spawn_file_actions_addchdir_np(&fa, cmd->dir);
    int err = search_path(cmd, &fa, &attr, pid);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    return err;
}

typedef struct StartReq {
    IoReq req;
    Command cmd;
    int ours[STREAMS]; // of the pipes
    int pid, pidfd;    // 0: there is no child, or somebody else has it
    bool piped;        // err is not about the pipes
    int err;
    /* of run */
    Payload in;
    bool runs;
    uint64_t until; // its deadline; 0: none
} StartReq;

static IoStep start_work(IoReq *r)
{
    StartReq *o = (StartReq *)r;
    int theirs[STREAMS], pid = 0;
    o->piped = open_pipes(o->ours, theirs);
    if (!o->piped) {
        o->err = errno;
    } else if (!begin_starting()) {
        o->err = ECANCELED;
    } else {
        o->err = start_program(&o->cmd, theirs, &pid);
        pid = o->err ? 0 : pid;
        if (pid && (o->pidfd = pidfd_open(pid, PIDFD_NONBLOCK)) < 0) {
            o->err = errno;
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            pid = 0;
        }
        o->pid = pid;
        end_starting(pid);
    }
    close_all(theirs);
    return IO_DONE;
}

/* What was started becomes a child of this worker's loop, not open yet. Gives a reference besides
 * that of the table. */
static Child *take_child(StartReq *o)
{
    IoLoop *l = nosi_loop_here();
    Child *c = nosi_calloc(1, sizeof *c);
    c->res.kind = HANDLE_PROCESS;
    c->res.close = close_child;
    c->res.destroy = destroy_child;
    nosi_resource_init(&c->res, l);
    nosi_resource_retain(&c->res); // the caller's
    c->pid = o->pid;
    c->pidfd = o->pidfd;
    o->pid = 0;
    nosi_resource_retain(&c->res); // libuv's
    uv_poll_init(nosi_loop_uv(l), &c->ended, c->pidfd);
    c->ended.data = c;
    uv_poll_start(&c->ended, UV_READABLE, on_exit_of);
    for (int i = 0; i < STREAMS; i++) {
        c->stream[i] = nosi_stream_new(HANDLE_PROCESS, l, o->ours[i]);
        o->ours[i] = -1;
        nosi_resource_retain(&c->stream[i]->fd.res);
    }
    return c;
}

/* Whoever wanted it is gone. */
static void drop_child(StartReq *o)
{
    if (nosi_loop_here()) {
        Child *c = take_child(o);
        nosi_resource_end(&c->res);
        nosi_resource_drop(&c->res);
        return;
    }
    kill(o->pid, SIGKILL); // the scheduler has ended: there is no loop to learn of its end
    waitpid(o->pid, NULL, 0);
    remove_living(o->pid);
    close(o->pidfd);
}

static void start_destroy(IoReq *r)
{
    StartReq *o = (StartReq *)r;
    if (o->pid)
        drop_child(o);
    close_all(o->ours);
    free_command(&o->cmd);
    nosi_payload_free(&o->in);
    nosi_free(o);
}

static Value run_child(Proc *p, Child *c, StartReq *r);

static Value start_finish(Proc *p, IoReq *r)
{
    StartReq *o = (StartReq *)r;
    if (r->op.reason == OP_TIMEOUT)
        return nosi_io_throw(p, IO_ERR_TIMEOUT, "");
    if (!o->pid)
        return nosi_io_throw_os(p, o->err, o->piped ? o->cmd.argv.at[0] : NULL);
    Child *c = take_child(o);
    if (o->runs)
        return run_child(p, c, o);
    int64_t handle = nosi_resource_open(p, &c->res);
    nosi_resource_drop(&c->res);
    return value_small(handle);
}

static StartReq *new_start(void)
{
    StartReq *o = nosi_calloc(1, sizeof *o);
    o->req.work = start_work;
    o->req.finish = start_finish;
    o->req.destroy = start_destroy;
    for (int i = 0; i < STREAMS; i++)
        o->ours[i] = -1;
    return o;
}

/* Takes o, whose command is complete (ok) or raised. */
static Value submit_start(Proc *p, StartReq *o, bool ok)
{
    if (!ok) {
        start_destroy(&o->req);
        return VALUE_THROWN;
    }
    vec_push(&o->cmd.env, NULL);
    return nosi_io_submit(p, &o->req);
}

/* ---- arguments --------------------------------------------------------------------------------
 */

/* A copy of our environment: another worker may change that one at any time. */
static void copy_environment(Command *c)
{
    extern char **environ;
    pthread_mutex_lock(&nosi_env_mutex);
    for (char **e = environ; e && *e; e++)
        vec_push(&c->env, nosi_strdup(*e));
    pthread_mutex_unlock(&nosi_env_mutex);
}

static bool add_arg(Proc *p, Command *c, Value v)
{
    char *s = nosi_cstr_arg(p, v, "argument");
    if (s)
        vec_push(&c->argv, s);
    return s != NULL;
}

/* Into *c, which is empty. False after raising. */
static bool command_args(Proc *p, Command *c, Value program, Value args)
{
    bool ok = add_arg(p, c, program);
    for (; ok && value_is_cons(args); args = value_tail(args))
        ok = add_arg(p, c, value_head(args));
    vec_push(&c->argv, NULL);
    copy_environment(c);
    return ok;
}

/* Takes "NAME=value". */
static void set_variable(Command *c, char *entry)
{
    size_t n = strcspn(entry, "=") + 1;
    for (uint32_t i = 0; i < c->env.n; i++)
        if (strncmp(c->env.at[i], entry, n) == 0) {
            nosi_free(c->env.at[i]);
            c->env.at[i] = entry;
            return;
        }
    vec_push(&c->env, entry);
}

/* False after raising. */
static bool set_variables(Proc *p, Command *c, Value pairs)
{
    for (; value_is_cons(pairs); pairs = value_tail(pairs)) {
        Value pair = value_head(pairs);
        char *name = nosi_cstr_arg(p, nosi_tuple_get(pair, 0), "name");
        char *value = name ? nosi_cstr_arg(p, nosi_tuple_get(pair, 1), "value") : NULL;
        if (value) {
            StrBuf s = {0};
            nosi_strbuf_printf(&s, "%s=%s", name, value);
            nosi_strbuf_cstr(&s);
            set_variable(c, s.s);
        }
        nosi_free(name);
        nosi_free(value);
        if (!value)
            return false;
    }
    return true;
}

static Child *child_arg(Proc *p, Value v)
{
    return (Child *)nosi_resource_arg(p, v, HANDLE_PROCESS, IO_ERR_INVALID_HANDLE);
}

/* ---- run: everything at once -------------------------------------------------------------------
 */

struct RunOp {
    IoOp op;
    Child *child; // retained
    Payload in;
    size_t written;
    struct Output {
        char *s; // owned
        size_t n, cap;
        bool at_end;
    } out[2]; // stdout, stderr
};

static void run_end(RunOp *o)
{
    Child *c = o->child;
    c->run = NULL;
    for (int i = 0; i < STREAMS; i++)
        c->stream[i]->fd.on_event = NULL;
    nosi_resource_end(&c->res);
    nosi_op_done(&o->op);
}

static void run_progress(RunOp *o)
{
    if (o->child->exited && o->out[0].at_end && o->out[1].at_end)
        run_end(o);
}

static RunOp *run_of(IoFd *f)
{
    return f->event_data;
}

static void run_read(IoFd *f)
{
    RunOp *o = run_of(f);
    struct Output *out = &o->out[f == &o->child->stream[2]->fd];
    ssize_t n;
    for (;;) {
        if (out->n + CHUNK > out->cap) {
            out->cap = NOS_MAX(out->cap * 2, 2 * CHUNK);
            out->s = nosi_realloc(out->s, out->cap);
        }
        n = read(f->fd, out->s + out->n, out->cap - out->n);
        if (n <= 0 && (n == 0 || errno != EINTR))
            break;
        out->n += n > 0 ? (size_t)n : 0;
    }
    if (n == 0 || errno != EAGAIN) {
        out->at_end = true;
        f->on_event = NULL;
        nosi_resource_end(&f->res);
        run_progress(o);
    } else if (!nosi_fd_watch(f, UV_READABLE)) {
        out->at_end = true;
        run_progress(o);
    }
}

static void run_write(IoFd *f)
{
    RunOp *o = run_of(f);
    while (o->written < o->in.n) {
        ssize_t n = write(f->fd, o->in.data + o->written, o->in.n - o->written);
        if (n >= 0)
            o->written += (size_t)n;
        else if (errno == EAGAIN && nosi_fd_watch(f, UV_WRITABLE))
            return;
        else if (errno != EINTR)
            break; // it does not want the rest
    }
    f->on_event = NULL;
    nosi_resource_end(&f->res);
}

static void run_start(IoOp *op)
{
    RunOp *o = (RunOp *)op;
    Child *c = o->child;
    c->run = o;
    for (int i = 0; i < STREAMS; i++) {
        IoFd *f = &c->stream[i]->fd;
        f->event_data = o;
        f->on_event = i == 0 ? run_write : run_read;
    }
    nosi_resource_retain(&c->res);
    run_write(&c->stream[0]->fd);
    for (int i = 1; i < STREAMS; i++)
        if (c->run == o)
            run_read(&c->stream[i]->fd);
    nosi_resource_drop(&c->res);
}

static void run_cancel(IoOp *op)
{
    run_end((RunOp *)op); // and with it the child
}

static Value run_finish(Proc *p, IoOp *op)
{
    RunOp *o = (RunOp *)op;
    Heap *h = &p->heap;
    Value out = VALUE_NIL, err = VALUE_NIL;
    if (op->reason == OP_TIMEOUT)
        return nosi_io_throw(p, IO_ERR_TIMEOUT, "");
    ROOT(h, out);
    ROOT(h, err);
    bool ok = nosi_string_lossy(h, o->out[0].s, o->out[0].n, &out) &&
              nosi_string_lossy(h, o->out[1].s, o->out[1].n, &err) &&
              nosi_heap_reserve(h, RESULT_WORDS);
    UNROOT(h);
    UNROOT(h);
    return ok ? nosi_tuple_nogc(h, (Value[]){value_small(o->child->status), out, err}, 3)
              : nosi_out_of_memory(p);
}

static void run_destroy(IoOp *op)
{
    RunOp *o = (RunOp *)op;
    nosi_resource_drop(&o->child->res);
    nosi_payload_free(&o->in);
    nosi_free(o->out[0].s);
    nosi_free(o->out[1].s);
    nosi_free(o);
}

/* Takes the reference, and what r has for it. */
static Value run_child(Proc *p, Child *c, StartReq *r)
{
    RunOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = run_finish;
    o->op.cancel = run_cancel;
    o->op.destroy = run_destroy;
    o->child = c;
    o->in = r->in;
    r->in = (Payload){0};
    if (r->until) {
        uint64_t now = nosi_loop_ms();
        nosi_op_timeout(&o->op, r->until > now ? (int64_t)(r->until - now) : 0);
    }
    return nosi_op_start(p, &o->op, c->res.loop, run_start);
}

Value nosi_exec_run(Proc *p, Value *args)
{
    StartReq *o = new_start();
    bool ok = command_args(p, &o->cmd, args[0], args[1]) && nosi_payload_take(p, &o->in, args[2]);
    o->runs = true;
    if (value_is_int(args[3])) {
        nosi_op_timeout(&o->req.op, value_int(args[3]));
        o->until = o->req.op.deadline;
    }
    return submit_start(p, o, ok);
}

/* ---- a child with a number ---------------------------------------------------------------------
 */

Value nosi_exec_start(Proc *p, Value *args)
{
    StartReq *o = new_start();
    return submit_start(p, o, command_args(p, &o->cmd, args[0], args[1]));
}

Value nosi_exec_start_in(Proc *p, Value *args)
{
    StartReq *o = new_start();
    Command *cmd = &o->cmd;
    bool ok = command_args(p, cmd, args[0], args[1]);
    if (ok) {
        cmd->dir = nosi_cstr_arg(p, args[2], "path");
        ok = cmd->dir && set_variables(p, cmd, args[3]);
    }
    if (ok && !*cmd->dir) {
        nosi_free(cmd->dir);
        cmd->dir = NULL;
    }
    return submit_start(p, o, ok);
}

static Value from_child(Proc *p, Value handle, int stream, int64_t n, int64_t timeout_ms, int how)
{
    Child *c = child_arg(p, handle);
    if (!c)
        return VALUE_THROWN;
    Stream *s = c->stream[stream];
    Value v = how == READ_LINE   ? nosi_stream_read(p, s, READ_LINE, 0, false, timeout_ms, &errors)
              : how == READ_SOME ? nosi_stream_read(p, s, READ_SOME, n, false, timeout_ms, &errors)
                                 : nosi_stream_read_line(p, s, timeout_ms, &errors);
    nosi_resource_drop(&c->res);
    return v;
}

enum { WITH_LINE_END = READ_EXACTLY + 1 };

Value nosi_exec_read(Proc *p, Value *args)
{
    if (!value_is_int(args[1]))
        return nosi_type_error(p, "Int", args[1]);
    return from_child(p, args[0], 1, value_int(args[1]), -1, READ_SOME);
}
Value nosi_exec_read_line(Proc *p, Value *args)
{
    return from_child(p, args[0], 1, 0, -1, WITH_LINE_END);
}
Value nosi_exec_read_error_line(Proc *p, Value *args)
{
    return from_child(p, args[0], 2, 0, -1, WITH_LINE_END);
}
Value nosi_exec_next_line(Proc *p, Value *args)
{
    return from_child(p, args[0], 1, 0, -1, READ_LINE);
}
Value nosi_exec_next_line_until(Proc *p, Value *args)
{
    int64_t ms = nosi_timeout_arg(p, args[1]);
    return ms < 0 ? VALUE_THROWN : from_child(p, args[0], 1, 0, ms, READ_LINE);
}
Value nosi_exec_next_error_line(Proc *p, Value *args)
{
    return from_child(p, args[0], 2, 0, -1, READ_LINE);
}

Value nosi_exec_write(Proc *p, Value *args)
{
    Child *c = child_arg(p, args[0]);
    if (!c)
        return VALUE_THROWN;
    Value v = nosi_stream_write(p, c->stream[0], args[1], false, -1, &errors);
    nosi_resource_drop(&c->res);
    return v;
}

Value nosi_exec_close_stdin(Proc *p, Value *args)
{
    Child *c = child_arg(p, args[0]);
    if (!c)
        return VALUE_THROWN;
    nosi_resource_end(&c->stream[0]->fd.res); // again is fine
    nosi_resource_drop(&c->res);
    return VALUE_UNIT;
}

static WaitOp *new_wait(Child *c, Value (*finish)(Proc *, IoOp *)) // takes the reference
{
    WaitOp *o = nosi_calloc(1, sizeof *o);
    o->child = c;
    o->op.finish = finish;
    o->op.cancel = wait_cancel;
    o->op.destroy = wait_destroy;
    return o;
}

static Value wait_for_child(Proc *p, Value handle, int64_t timeout_ms)
{
    Child *c = child_arg(p, handle);
    if (!c)
        return VALUE_THROWN;
    WaitOp *o = new_wait(c, wait_finish);
    nosi_op_timeout(&o->op, timeout_ms);
    return nosi_op_start(p, &o->op, c->res.loop, wait_start);
}

Value nosi_exec_wait(Proc *p, Value *args)
{
    return wait_for_child(p, args[0], -1);
}

Value nosi_exec_wait_until(Proc *p, Value *args)
{
    int64_t ms = nosi_timeout_arg(p, args[1]);
    return ms < 0 ? VALUE_THROWN : wait_for_child(p, args[0], ms);
}

Value nosi_exec_kill(Proc *p, Value *args)
{
    Value v;
    if (!value_is_int(args[0]))
        return nosi_type_error(p, "Int", args[0]);
    if (nosi_resource_close_wait(p, value_int(args[0]), HANDLE_PROCESS, &v))
        return v;
    return nosi_io_throw(p, IO_ERR_INVALID_HANDLE, "");
}

/* On the loop, where it is known whether the number still is that child's. */
static void signal_start(IoOp *op)
{
    WaitOp *o = (WaitOp *)op;
    if (!o->child->exited)
        kill(o->child->pid, o->signal);
    nosi_op_done(op);
}

static Value signal_finish(Proc *p, IoOp *op)
{
    (void)p;
    (void)op;
    return VALUE_UNIT;
}

Value nosi_exec_signal(Proc *p, Value *args)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {{"TERM", SIGTERM}, {"INT", SIGINT},   {"HUP", SIGHUP},
                   {"KILL", SIGKILL}, {"QUIT", SIGQUIT}, {"USR1", SIGUSR1},
                   {"USR2", SIGUSR2}, {"STOP", SIGSTOP}, {"CONT", SIGCONT}};
    Child *c = child_arg(p, args[0]);
    if (!c)
        return VALUE_THROWN;
    for (size_t i = 0; value_is_string(args[1]) && i < NOS_COUNT(signals); i++)
        if (nosi_string_equal_bytes(args[1], signals[i].name, strlen(signals[i].name))) {
            WaitOp *o = new_wait(c, signal_finish);
            o->signal = signals[i].number;
            return nosi_op_start(p, &o->op, c->res.loop, signal_start);
        }
    nosi_resource_drop(&c->res);
    char *name = nosi_cstr_arg(p, args[1], "name");
    if (name)
        nosi_throw_kind(p, "io_error", "Invalid signal: %s", name);
    nosi_free(name);
    return VALUE_THROWN;
}

Value nosi_exec_pid(Proc *p, Value *args)
{
    Child *c = child_arg(p, args[0]);
    if (!c)
        return VALUE_THROWN;
    int pid = c->pid;
    nosi_resource_drop(&c->res);
    return value_small(pid);
}
