/* tls.c -- see tls.h. */
#include "io/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <string.h>

#include "io/late.h"
#include "vm/util/alloc.h"

struct TlsContext {
    SSL_CTX *ctx;
};

struct Tls {
    SSL *ssl;
    BIO *in, *out; // owned by ssl
};

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *n,
                           const unsigned char *offered, unsigned int offered_n, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl;
    (void)arg;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, n, ours, sizeof ours - 1, offered, offered_n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static char *last_error(const char *what, const char *file)
{
    StrBuf b = {0};
    char text[256];
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
    ERR_clear_error();
    nosi_strbuf_printf(&b, "%s %s: %s", what, file, text);
    return b.s;
}

TlsContext *nosi_tls_server(const char *certificate, const char *key, char **why)
{
    if ((*why = nosi_late_load(LATE_TLS)))
        return NULL;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        *why = last_error("cannot set up", "TLS");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    // Idle connections keep no buffers.
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
        *why = last_error("cannot use the certificate", certificate);
    else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
             SSL_CTX_check_private_key(ctx) != 1)
        *why = last_error("cannot use the key", key);
    if (*why) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    TlsContext *c = nosi_alloc(sizeof *c);
    c->ctx = ctx;
    return c;
}

void nosi_tls_context_free(TlsContext *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ctx);
    nosi_free(c);
}

TlsContext *nosi_tls_client(const char *ca_file, char **why)
{
    static const unsigned char protocols[] = "\x08http/1.1";
    if ((*why = nosi_late_load(LATE_TLS)))
        return NULL;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx) {
        *why = last_error("cannot set up", "TLS");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_alpn_protos(ctx, protocols, sizeof protocols - 1);
    int ok =
        *ca_file ? SSL_CTX_load_verify_file(ctx, ca_file) : SSL_CTX_set_default_verify_paths(ctx);
    if (ok != 1) {
        *why = last_error("cannot use the certificates of", *ca_file ? ca_file : "the system");
        SSL_CTX_free(ctx);
        return NULL;
    }
    TlsContext *c = nosi_alloc(sizeof *c);
    c->ctx = ctx;
    return c;
}

static Tls *new_tls(TlsContext *c)
{
    Tls *t = nosi_alloc(sizeof *t);
    t->ssl = SSL_new(c->ctx);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (!t->ssl || !t->in || !t->out)
        nosi_fatal("out of memory");
    BIO_set_mem_eof_return(t->in, -1);
    SSL_set_bio(t->ssl, t->in, t->out);
    return t;
}

Tls *nosi_tls_accept(TlsContext *c)
{
    Tls *t = new_tls(c);
    SSL_set_accept_state(t->ssl);
    return t;
}

Tls *nosi_tls_connect(TlsContext *c, const char *host)
{
    Tls *t = new_tls(c);
    SSL_set_connect_state(t->ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), host) != 1) { // a name
        SSL_set1_host(t->ssl, host);
        SSL_set_tlsext_host_name(t->ssl, host);
    }
    ERR_clear_error();
    SSL_do_handshake(t->ssl); // wants to read, after its first message
    ERR_clear_error();
    return t;
}

bool nosi_tls_ready(Tls *t)
{
    return SSL_is_init_finished(t->ssl);
}

const char *nosi_tls_why(Tls *t)
{
    long result = SSL_get_verify_result(t->ssl);
    return result == X509_V_OK ? "the TLS handshake failed" : X509_verify_cert_error_string(result);
}

void nosi_tls_free(Tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    nosi_free(t);
}

TlsStatus nosi_tls_feed(Tls *t, const char *s, size_t n, StrBuf *plain)
{
    enum { RECORD = 16 * 1024 };
    ERR_clear_error();
    while (n) {
        int k = BIO_write(t->in, s, (int)NOS_MIN(n, (size_t)1 << 30));
        if (k <= 0)
            return TLS_FAILED;
        s += k;
        n -= (size_t)k;
    }
    for (;;) {
        if (BIO_ctrl_pending(t->in) == 0 && SSL_pending(t->ssl) == 0)
            return TLS_OK;
        nosi_strbuf_reserve(plain, RECORD);
        int k = SSL_read(t->ssl, plain->s + plain->n, RECORD);
        if (k > 0) {
            plain->n += (size_t)k;
            plain->s[plain->n] = 0;
            continue;
        }
        switch (SSL_get_error(t->ssl, k)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
            return TLS_OK;
        case SSL_ERROR_ZERO_RETURN:
            return TLS_END;
        default:
            ERR_clear_error();
            return TLS_FAILED;
        }
    }
}

bool nosi_tls_write(Tls *t, const char *s, size_t n)
{
    ERR_clear_error();
    while (n) {
        int k = SSL_write(t->ssl, s, (int)NOS_MIN(n, (size_t)1 << 30));
        if (k <= 0) {
            ERR_clear_error();
            return false;
        }
        s += k;
        n -= (size_t)k;
    }
    return true;
}

void nosi_tls_close(Tls *t)
{
    if (SSL_is_init_finished(t->ssl))
        SSL_shutdown(t->ssl);
    ERR_clear_error();
}

void nosi_tls_take(Tls *t, StrBuf *out)
{
    size_t n = BIO_ctrl_pending(t->out);
    if (!n)
        return;
    nosi_strbuf_reserve(out, n);
    int k = BIO_read(t->out, out->s + out->n, (int)n);
    if (k > 0)
        out->n += (size_t)k;
    out->s[out->n] = 0;
}
