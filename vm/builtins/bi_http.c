/* bi_http.c -- Server and Http: io/ does the work. */
#include "vm/builtins/bi.h"

#include "io/http_client.h"
#include "io/http_fields.h"
#include "io/http_server.h"

#define IO_NATIVE(name)                        \
    Value nosi_bi_##name(Proc *p, Value *args) \
    {                                          \
        return nosi_##name(p, args);           \
    }
IO_NATIVE(server_bind)
IO_NATIVE(server_port)
IO_NATIVE(server_close)
IO_NATIVE(server_accept)
IO_NATIVE(server_serve)
IO_NATIVE(server_given)
IO_NATIVE(server_respond)
IO_NATIVE(server_stream)
IO_NATIVE(server_write)
IO_NATIVE(server_end)
IO_NATIVE(server_file)
IO_NATIVE(server_body_bytes)
IO_NATIVE(server_read_body)
IO_NATIVE(server_read_body_until)
IO_NATIVE(server_target)
IO_NATIVE(server_remote)
IO_NATIVE(server_match_path)
IO_NATIVE(server_log_to)
IO_NATIVE(http_ready)
IO_NATIVE(http_request)

Value nosi_bi_url_decode_path(Proc *p, Value *args)
{
    const char *s;
    size_t n;
    StrBuf text = {0};
    Value v = VALUE_UNIT;
    WANT_STRING(0);
    nosi_string_view(args[0], &s, &n);
    nosi_http_decode(s, n, false, &text);
    bool ok = nosi_string_lossy(&p->heap, text.n ? text.s : "", text.n, &v);
    nosi_strbuf_free(&text);
    return OK_OR_NOMEM(ok, v);
}
