/* http_client.c -- the HTTP client: libcurl's multi interface on the worker's loop.
 *
 * Each loop has one multi handle, so connections are used again by whatever process runs there.
 * curl tells which sockets to watch (on_socket) and when to come back (on_timeout). The sockets are
 * in an epoll set of the client's own, which the loop watches: libuv would need seven system calls
 * for what takes three here, and a connection is often a single request's. Everything curl
 * does happens inside curl_multi_socket_action and curl_multi_add_handle. From its callbacks no
 * transfer may be added or removed: what they find out is dealt with afterwards, in settle().
 *
 * Names are resolved by curl, by one thread for each look-up that is going on. So that a thousand
 * requests to one host are no thousand threads, the first one goes ahead (Lookup) and the others
 * wait until it has got the address, which curl keeps for a minute. */
#include "io/http_client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "io/http_proto.h"
#include "io/http_values.h"
#include "io/io.h"
#include "io/late.h"
#include "vm/data/bytes.h"
#include "vm/data/json.h"
#include "vm/data/list.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

enum {
    MAX_SPARE = 64,        // easy handles kept for the next requests
    EVENTS = 256,          // sockets looked at in one go
    MAX_IDLE_CONNS = 1024, // connections kept open
    IDLE_STEP_MS = 50,
    KNOWN_MS = 50000, // less than curl keeps an address
    MAX_HEADERS_BYTES = 1024 * 1024,
};

typedef struct Client Client;
typedef struct Lookup Lookup;

typedef enum ClientError { CLIENT_OK, CLIENT_CURL, CLIENT_TOO_LARGE, CLIENT_IDLE } ClientError;

typedef struct ClientOp {
    IoOp op;
    Client *client;
    char *method, *url, *ca_file; // owned
    struct curl_slist *headers;   // owned
    char *body;                   // owned
    size_t body_n;
    int64_t connect_ms, idle_ms, max_body, redirects;
    uint64_t heard; // ms when the last bytes came, or it started
    bool bytes;     // the answer's body is wanted as Bytes
    /* while it runs */
    CURL *easy;
    Lookup *lookup; // it waits for, or leads
    struct ClientOp *next_waiting;
    bool running, resolved;
    struct ClientOp *next, **prev; // operations of the client
    char why[CURL_ERROR_SIZE];
    /* the answer */
    ClientError error;
    CURLcode code;
    long status;
    StrBuf header_text, answer;
} ClientOp;

struct Lookup { // a host whose address is being looked for, or was found a moment ago
    Lookup *next;
    char *host; // owned; with port
    ClientOp *leader;
    ClientOp *waiting;
    uint64_t known_until; // ms
};

struct Client {
    IoLoop *io;
    CURLM *multi;
    int epoll; // of the sockets curl wants to know about
    uv_poll_t ready;
    uv_timer_t timer, idle_timer;
    LoopTask at_close;
    int n_handles;
    uint32_t n_idle; // operations with a limit on silence
    Lookup *lookups;
    ClientOp *ops;
    CURL *spare[MAX_SPARE];
    int n_spare;
};

/* ---- starting transfers --------------------------------------------------------------------- */

static void settle(Client *c);
static void end_transfer(ClientOp *o);

static size_t on_body(char *s, size_t size, size_t n, void *data)
{
    ClientOp *o = data;
    n *= size;
    o->heard = nosi_loop_ms();
    if ((int64_t)(o->answer.n + n) > o->max_body) {
        o->error = CLIENT_TOO_LARGE;
        return 0;
    }
    nosi_strbuf_add(&o->answer, s, n);
    return n;
}

static size_t on_header(char *s, size_t size, size_t n, void *data)
{
    ClientOp *o = data;
    n *= size;
    o->heard = nosi_loop_ms();
    if (n >= 5 && !memcmp(s, "HTTP/", 5)) { // of the last answer only: not 1xx, not redirects
        o->header_text.n = 0;
        o->answer.n = 0;
        return n;
    }
    if (o->header_text.n + n > MAX_HEADERS_BYTES) {
        o->error = CLIENT_TOO_LARGE;
        return 0;
    }
    nosi_strbuf_add(&o->header_text, s, n);
    return n;
}

static curl_socket_t on_open(void *data, curlsocktype purpose, struct curl_sockaddr *a)
{
    ClientOp *o = data;
    (void)purpose;
    o->resolved = true;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static void set_up(ClientOp *o)
{
    CURL *e = o->easy;
    const char *ca = *o->ca_file ? o->ca_file : getenv("SSL_CERT_FILE");
    bool head = !strcmp(o->method, "HEAD"), get = !strcmp(o->method, "GET");

    curl_easy_setopt(e, CURLOPT_PRIVATE, o);
    curl_easy_setopt(e, CURLOPT_URL, o->url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, o->why);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    // A request that ends while its name is being looked up does not wait for the resolver.
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "nostos/" NOS_VERSION);
    curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, o->redirects > 0 ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)o->redirects);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(o->connect_ms < 0 ? 0 : o->connect_ms));
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, o);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, o);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, o);
    if (ca && *ca)
        curl_easy_setopt(e, CURLOPT_CAINFO, ca);
    if (head) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else if (o->body_n || !strcmp(o->method, "POST")) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, o->body);
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->body_n);
        if (strcmp(o->method, "POST") != 0)
            curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, o->method);
    } else if (!get) {
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, o->method);
    }
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, o->headers);
}

static void begin_transfer(ClientOp *o)
{
    Client *c = o->client;
    o->easy = c->n_spare ? c->spare[--c->n_spare] : curl_easy_init();
    if (!o->easy)
        nosi_fatal("out of memory");
    set_up(o);
    o->running = true;
    CURLMcode err = curl_multi_add_handle(c->multi, o->easy);
    if (err != CURLM_OK) {
        o->error = CLIENT_CURL;
        o->code = CURLE_FAILED_INIT;
        end_transfer(o);
    }
}

/* ---- hosts ---------------------------------------------------------------------------------- */

/* "host:port" of a URL that is a name; NULL: an address, or nothing curl understands. Owned. */
static char *name_in(const char *url)
{
    if (strncmp(url, "http://", 7) == 0) { // the usual address needs no parser
        size_t n = strspn(url + 7, "0123456789.");
        if (n && strchr(":/", url[7 + n])) // or the end
            return NULL;
    }
    CURLU *u = curl_url();
    char *host = NULL, *port = NULL, *name = NULL;
    if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK) {
        bool address = *host == '[' || strspn(host, "0123456789.") == strlen(host);
        if (!address && strcasecmp(host, "localhost") != 0) {
            StrBuf b = {0};
            nosi_strbuf_printf(&b, "%s:%s", host, port);
            name = b.s;
        }
    }
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return name;
}

/* True: o may start now. */
static bool lead_or_wait(ClientOp *o)
{
    Client *c = o->client;
    uint64_t now = nosi_loop_ms();
    char *name = name_in(o->url);
    if (!name)
        return true;
    Lookup *found = NULL;
    for (Lookup **at = &c->lookups, *l; (l = *at);) {
        if (!strcmp(l->host, name)) {
            found = l;
        } else if (!l->leader && l->known_until <= now) {
            *at = l->next;
            nosi_free(l->host);
            nosi_free(l);
            continue;
        }
        at = &l->next;
    }
    if (!found) {
        found = nosi_calloc(1, sizeof *found);
        found->host = name;
        found->next = c->lookups;
        c->lookups = found;
    } else {
        nosi_free(name);
    }
    if (!found->leader && found->known_until > now)
        return true;
    o->lookup = found;
    if (!found->leader) {
        found->leader = o;
        return true;
    }
    o->next_waiting = found->waiting;
    found->waiting = o;
    return false;
}

/* The leader has got an address. */
static void looked_up(Lookup *l)
{
    ClientOp *o, *next = l->waiting;
    l->leader->lookup = NULL;
    l->leader = NULL;
    l->known_until = nosi_loop_ms() + KNOWN_MS;
    l->waiting = NULL;
    while ((o = next)) {
        next = o->next_waiting;
        o->lookup = NULL;
        begin_transfer(o);
    }
}

/* The leader has ended without: there is no such host, which holds for all of them, or something
 * else happened to it, and the next one tries. */
static void not_looked_up(Lookup *l, const ClientOp *leader)
{
    ClientOp *o, *next = l->waiting;
    l->leader = NULL;
    l->known_until = 0;
    if (next && leader->code != CURLE_COULDNT_RESOLVE_HOST) {
        l->waiting = next->next_waiting;
        l->leader = next;
        begin_transfer(next);
        return;
    }
    l->waiting = NULL;
    while ((o = next)) {
        next = o->next_waiting;
        o->lookup = NULL;
        o->error = CLIENT_CURL;
        o->code = leader->code;
        memcpy(o->why, leader->why, sizeof o->why);
        end_transfer(o);
    }
}

static void stop_waiting(ClientOp *o)
{
    for (ClientOp **at = &o->lookup->waiting; *at; at = &(*at)->next_waiting)
        if (*at == o) {
            *at = o->next_waiting;
            break;
        }
    o->lookup = NULL;
}

/* ---- the end of transfers ------------------------------------------------------------------- */

static void end_transfer(ClientOp *o)
{
    Client *c = o->client;
    Lookup *led = o->lookup && o->lookup->leader == o ? o->lookup : NULL;

    if (o->running) {
        o->running = false;
        curl_easy_getinfo(o->easy, CURLINFO_RESPONSE_CODE, &o->status);
        curl_multi_remove_handle(c->multi, o->easy);
        curl_easy_reset(o->easy);
        if (c->n_spare < MAX_SPARE)
            c->spare[c->n_spare++] = o->easy;
        else
            curl_easy_cleanup(o->easy);
        o->easy = NULL;
    } else if (o->lookup) {
        stop_waiting(o);
    }
    if (led) {
        o->lookup = NULL;
        not_looked_up(led, o); // settle() has looked at those with an address
    }
    *o->prev = o->next;
    if (o->next)
        o->next->prev = o->prev;
    o->client = NULL;
    if (o->idle_ms >= 0 && --c->n_idle == 0)
        uv_timer_stop(&c->idle_timer);
    nosi_op_done(&o->op);
}

/* After curl has worked. */
static void settle(Client *c)
{
    int left;
    CURLMsg *m;
    for (Lookup *l = c->lookups; l; l = l->next)
        if (l->leader && l->leader->resolved)
            looked_up(l);
    while ((m = curl_multi_info_read(c->multi, &left))) {
        ClientOp *o = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result; // m is gone when the handle is removed
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&o);
        if (code != CURLE_OK && o->error == CLIENT_OK)
            o->error = CLIENT_CURL;
        o->code = code;
        end_transfer(o);
    }
}

static void act(Client *c, curl_socket_t fd, int events)
{
    int running;
    curl_multi_socket_action(c->multi, fd, events, &running);
    settle(c);
}

/* ---- what curl asks for --------------------------------------------------------------------- */

/* Some of the sockets are ready. One that an event before it has closed is none of curl's any more,
 * or has nothing to say: neither does harm. */
static void on_ready(uv_poll_t *h, int status, int events)
{
    Client *c = h->data;
    struct epoll_event ready[EVENTS];
    int running;
    (void)status;
    (void)events;
    int n = epoll_wait(c->epoll, ready, EVENTS, 0);
    for (int i = 0; i < n; i++) {
        uint32_t e = ready[i].events;
        int what = (e & EPOLLIN ? CURL_CSELECT_IN : 0) | (e & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (e & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(c->multi, ready[i].data.fd, what, &running);
    }
    settle(c);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *client, void *known)
{
    Client *c = client;
    struct epoll_event e = {.data.fd = fd};
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(c->epoll, EPOLL_CTL_DEL, fd, &e);
        curl_multi_assign(c->multi, fd, NULL);
        return 0;
    }
    e.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (epoll_ctl(c->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e) != 0)
        return -1;
    if (!known)
        curl_multi_assign(c->multi, fd, c);
    return 0;
}

static void on_timer(uv_timer_t *t)
{
    act(t->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timeout(CURLM *multi, long ms, void *client)
{
    Client *c = client;
    (void)multi;
    if (ms < 0) {
        uv_timer_stop(&c->timer);
    } else {
        uv_update_time(nosi_loop_uv(c->io));
        uv_timer_start(&c->timer, on_timer, (uint64_t)ms, 0);
    }
    return 0;
}

/* curl measures silence by an average over several seconds; this is exact to IDLE_STEP_MS. */
static void look_for_silence(uv_timer_t *t)
{
    Client *c = t->data;
    uint64_t now = nosi_loop_ms();
    for (ClientOp *o = c->ops; o;) {
        if (o->idle_ms < 0 || now <= o->heard || now - o->heard <= (uint64_t)o->idle_ms) {
            o = o->next;
            continue;
        }
        o->error = CLIENT_IDLE;
        end_transfer(o);
        o = c->ops; // others may have started, or ended, with it
    }
}

/* ---- the client of a loop ------------------------------------------------------------------- */

static void client_closed(uv_handle_t *h)
{
    Client *c = h->data;
    if (--c->n_handles > 0)
        return;
    close(c->epoll);
    nosi_free(c);
}

/* The loop ends: what is still going on stops; the loop cancels the operations after this. */
static void end_client(LoopTask *t)
{
    Client *c = NOS_CONTAINER_OF(t, Client, at_close);
    for (ClientOp *o = c->ops; o; o = o->next) {
        if (o->running) {
            curl_multi_remove_handle(c->multi, o->easy);
            curl_easy_cleanup(o->easy);
        }
        o->running = false;
        o->client = NULL;
    }
    while (c->n_spare)
        curl_easy_cleanup(c->spare[--c->n_spare]);
    curl_multi_cleanup(c->multi);
    for (Lookup *l = c->lookups, *next; l; l = next) {
        next = l->next;
        nosi_free(l->host);
        nosi_free(l);
    }
    *nosi_loop_data(c->io, LOOP_HTTP_CLIENT) = NULL;
    uv_close((uv_handle_t *)&c->ready, client_closed);
    uv_close((uv_handle_t *)&c->timer, client_closed);
    uv_close((uv_handle_t *)&c->idle_timer, client_closed);
}

static void init_curl(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        nosi_fatal("cannot set up libcurl");
}

/* libcurl is loaded: it is set up once for the whole process. */
static void set_up_curl(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
}

bool nosi_http_client_async_dns(void)
{
    char *why = nosi_late_load(LATE_CURL);
    if (why) {
        nosi_free(why);
        return false;
    }
    return curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS;
}

static Client *client_of(IoLoop *l)
{
    void **data = nosi_loop_data(l, LOOP_HTTP_CLIENT);
    if (!*data) {
        set_up_curl();
        Client *c = nosi_calloc(1, sizeof *c);
        c->io = l;
        if (!(c->multi = curl_multi_init()))
            nosi_fatal("out of memory");
        c->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (c->epoll < 0 || uv_poll_init(nosi_loop_uv(l), &c->ready, c->epoll) != 0 ||
            uv_poll_start(&c->ready, UV_READABLE, on_ready) != 0)
            nosi_fatal("cannot watch sockets");
        uv_timer_init(nosi_loop_uv(l), &c->timer);
        uv_timer_init(nosi_loop_uv(l), &c->idle_timer);
        c->ready.data = c->timer.data = c->idle_timer.data = c;
        c->n_handles = 3;
        curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
        curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
        curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
        curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)MAX_IDLE_CONNS);
        c->at_close.run = end_client;
        nosi_loop_at_close(l, &c->at_close);
        *data = c;
    }
    return *data;
}

/* ---- the operation -------------------------------------------------------------------------- */

static void start_request(IoOp *op)
{
    ClientOp *o = (ClientOp *)op;
    Client *c = o->client = client_of(op->loop);
    o->next = c->ops;
    o->prev = &c->ops;
    if (c->ops)
        c->ops->prev = &o->next;
    c->ops = o;
    o->heard = nosi_loop_ms();
    if (o->idle_ms >= 0 && c->n_idle++ == 0)
        uv_timer_start(&c->idle_timer, look_for_silence, IDLE_STEP_MS, IDLE_STEP_MS);
    if (lead_or_wait(o))
        begin_transfer(o);
}

static void cancel_request(IoOp *op)
{
    ClientOp *o = (ClientOp *)op;
    if (o->client)
        end_transfer(o);
    else
        nosi_op_done(op);
}

static bool push_header(Heap *h, Value *list, char *line, size_t n)
{
    char *colon = memchr(line, ':', n);
    if (!colon)
        return true;
    Value pair[2] = {VALUE_UNIT, VALUE_UNIT};
    char *value = colon + 1, *end = line + n;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    for (char *c = line; c < colon; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c |= 0x20;
    ROOT_ARRAY(h, pair, 2);
    bool ok = nosi_string_lossy(h, line, (size_t)(colon - line), &pair[0]) &&
              nosi_string_lossy(h, value, (size_t)(end - value), &pair[1]) &&
              nosi_heap_reserve(h, 3 + CONS_WORDS);
    if (ok)
        *list = nosi_cons_nogc(h, nosi_tuple_nogc(h, pair, 2), *list);
    UNROOT(h);
    return ok;
}

static bool header_values(Heap *h, StrBuf *text, Value *list)
{
    char *s = text->s, *end = s + text->n;
    bool ok = true;
    while (ok && s < end) {
        char *lf = memchr(s, '\n', (size_t)(end - s));
        char *line_end = lf ? lf : end;
        if (line_end > s && line_end[-1] == '\r')
            ok = push_header(h, list, s, (size_t)(line_end - 1 - s));
        else
            ok = push_header(h, list, s, (size_t)(line_end - s));
        s = line_end + 1;
    }
    return ok && nosi_list_reverse(h, *list, list);
}

static Value failed(Proc *p, const ClientOp *o)
{
    StrBuf b = {0};
    Value v;
    if (o->op.reason == OP_TIMEOUT || o->error == CLIENT_IDLE ||
        (o->error == CLIENT_CURL && o->code == CURLE_OPERATION_TIMEDOUT))
        return nosi_io_throw(p, IO_ERR_TIMEOUT, NULL);
    if (o->error == CLIENT_TOO_LARGE) {
        nosi_strbuf_printf(&b, "the answer is longer than %lld bytes", (long long)o->max_body);
        v = nosi_io_throw(p, IO_ERR_HTTP, b.s);
        nosi_strbuf_free(&b);
        return v;
    }
    // curl has one code for unknown schemes and for answers that are no HTTP.
    if (o->code == CURLE_URL_MALFORMAT ||
        (o->code == CURLE_UNSUPPORTED_PROTOCOL && !strstr(o->why, "HTTP/0.9")))
        return nosi_io_throw(p, IO_ERR_INVALID_URL, o->url);
    return nosi_io_throw(p, IO_ERR_HTTP, *o->why ? o->why : curl_easy_strerror(o->code));
}

static Value finish_request(Proc *p, IoOp *op)
{
    ClientOp *o = (ClientOp *)op;
    Heap *h = &p->heap;
    enum { STATUS, HEADERS, BODY, FIELDS };
    Value v[FIELDS], result = VALUE_UNIT;

    if (op->reason != OP_NONE || o->error != CLIENT_OK)
        return failed(p, o);
    v[STATUS] = value_small(o->status);
    v[HEADERS] = v[BODY] = VALUE_NIL;
    ROOT_ARRAY(h, v, FIELDS);
    const char *body = o->answer.n ? o->answer.s : "";
    bool ok = header_values(h, &o->header_text, &v[HEADERS]);
    if (o->bytes)
        ok = ok && nosi_bytes_new(h, body, o->answer.n, &v[BODY]);
    else
        ok = ok && nosi_string_lossy(h, body, o->answer.n, &v[BODY]);
    ok = ok && nosi_tuple_new(h, v, FIELDS, &result);
    UNROOT(h);
    return ok ? result : nosi_out_of_memory(p);
}

static void destroy_request(IoOp *op)
{
    ClientOp *o = (ClientOp *)op;
    nosi_free(o->method);
    nosi_free(o->url);
    nosi_free(o->ca_file);
    nosi_free(o->body);
    curl_slist_free_all(o->headers);
    nosi_strbuf_free(&o->header_text);
    nosi_strbuf_free(&o->answer);
    nosi_free(o);
}

/* ---- the natives ---------------------------------------------------------------------------- */

Value nosi_http_ready(Proc *p, Value *args)
{
    (void)args;
    return nosi_io_prepare(p, LATE_CURL, set_up_curl);
}

static char *text_of(Value v)
{
    StrBuf b = {0};
    if (!nosi_string_copy_cstr(v, &b)) { // a NUL: nothing that is valid
        nosi_strbuf_free(&b);
        return NULL;
    }
    nosi_strbuf_add(&b, "", 0);
    return b.s;
}

static void add_header(ClientOp *o, const char *line)
{
    struct curl_slist *more = curl_slist_append(o->headers, line);
    if (!more)
        nosi_fatal("out of memory");
    o->headers = more;
}

/* Header lines for curl; what curl would add by itself is switched off. */
static bool take_headers(Proc *p, ClientOp *o, Value list, bool json)
{
    StrBuf line = {0};
    bool type = false, ok = true;
    add_header(o, "Expect:");
    for (; ok && value_is_cons(list); list = value_tail(list)) {
        Value pair = value_head(list);
        const char *name, *value;
        size_t n, vn;
        if (!value_is_tuple(pair) || nosi_tuple_size(pair) != 2 ||
            !value_is_string(nosi_tuple_get(pair, 0)) ||
            !value_is_string(nosi_tuple_get(pair, 1))) {
            nosi_type_error(p, "(String, String)", pair);
            ok = false;
            break;
        }
        Value k = nosi_tuple_get(pair, 0), v = nosi_tuple_get(pair, 1);
        nosi_string_view(k, &name, &n);
        nosi_string_view(v, &value, &vn);
        if (!nosi_http_token(name, n) || !nosi_http_field_value(value, vn)) {
            nosi_panic(p, "invalid header: %.*s", (int)NOS_MIN(n, (size_t)100), name);
            ok = false;
            break;
        }
        if (nosi_http_ieq(name, n, "content-length") || nosi_http_ieq(name, n, "transfer-encoding"))
            continue; // curl knows them better
        type |= nosi_http_ieq(name, n, "content-type");
        line.n = 0;
        nosi_strbuf_add(&line, name, n);
        nosi_strbuf_puts(&line, vn ? ": " : ";"); // curl's way to send an empty value
        nosi_strbuf_add(&line, value, vn);
        add_header(o, line.s);
    }
    nosi_strbuf_free(&line);
    if (ok && !type)
        add_header(o, json ? "Content-Type: application/json" : "Content-Type:");
    return ok;
}

static bool known_method(const char *s)
{
    static const char *const methods[] = {"GET",   "POST", "PUT",    "DELETE",
                                          "PATCH", "HEAD", "OPTIONS"};
    for (size_t i = 0; i < NOS_COUNT(methods); i++)
        if (!strcmp(s, methods[i]))
            return true;
    return false;
}

/* A body that is sent as JSON: neither text, nor bytes, nor nothing. */
static bool is_data(Value v)
{
    return !value_is_string(v) && !value_is_bytes(v) && !value_is_unit(v);
}

/* Fills o from the arguments; false: raised. */
static bool take_arguments(Proc *p, ClientOp *o, Value *args)
{
    enum { TOTAL, CONNECT, IDLE, MAX_BODY, REDIRECTS, BYTES, LIMITS };
    int64_t limit[LIMITS];
    BodyView body;
    Value list = args[4];

    for (int i = 0; i < LIMITS; i++) {
        if (!value_is_cons(list) || !value_is_int(value_head(list))) {
            nosi_type_error(p, "List", args[4]);
            return false;
        }
        limit[i] = value_int(value_head(list));
        list = value_tail(list);
    }
    bool json = is_data(args[3]);
    StrBuf text = {0};
    if (json) {
        nosi_json_text(&text, args[3]);
        body = (BodyView){.bytes = text.s, .n = text.n};
    } else if (!nosi_http_body_view(p, &args[3], &body)) {
        return false;
    }
    o->body_n = body.n;
    o->body = nosi_alloc(body.n + 1);
    memcpy(o->body, body.bytes, body.n);
    nosi_strbuf_free(&text);
    for (int i = 0; i < 2; i++)
        if (!value_is_string(args[i])) {
            nosi_type_error(p, "String", args[i]);
            return false;
        }
    o->method = text_of(args[0]);
    o->url = text_of(args[1]);
    o->ca_file = value_is_string(args[5]) ? text_of(args[5]) : nosi_strdup("");
    if (!o->method || !known_method(o->method)) {
        nosi_panic(p, "Unknown HTTP method: %s", o->method ? o->method : "?");
        return false;
    }
    if (!o->url || !o->ca_file) {
        nosi_io_throw(p, IO_ERR_INVALID_URL, "?");
        return false;
    }
    o->connect_ms = limit[CONNECT];
    o->idle_ms = limit[IDLE];
    o->max_body = NOS_MAX(limit[MAX_BODY], 0);
    o->redirects = NOS_MIN(NOS_MAX(limit[REDIRECTS], 0), 1000);
    o->bytes = limit[BYTES] != 0;
    if (!take_headers(p, o, args[2], json))
        return false;
    nosi_op_timeout(&o->op, limit[TOTAL]);
    return true;
}

Value nosi_http_request(Proc *p, Value *args)
{
    if (!nosi_io_load(p, LATE_CURL, IO_ERR_HTTP))
        return VALUE_THROWN;
    ClientOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = finish_request;
    o->op.cancel = cancel_request;
    o->op.destroy = destroy_request;
    if (!take_arguments(p, o, args)) {
        destroy_request(&o->op);
        return VALUE_THROWN;
    }
    return nosi_op_start(p, &o->op, nosi_loop_here(), start_request);
}
