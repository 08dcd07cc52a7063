/* dns.h -- names to addresses, without blocking a worker. */
#ifndef NOSI_DNS_H
#define NOSI_DNS_H

#include <netdb.h>

#include "io/loop.h"

typedef struct DnsReq DnsReq;
/* status: 0, or a libuv error. Takes list (uv_freeaddrinfo). */
typedef void DnsDone(void *ctx, int status, struct addrinfo *list);

/* The addresses of a numeric host, at once; NULL: it is a name. Gives the list. */
struct addrinfo *nosi_dns_numeric(const char *host, uint16_t port, int socktype);
/* Asks for those of a name; done(ctx, ...) is called later on l's thread, which is the caller's. */
DnsReq *nosi_dns_start(IoLoop *l, const char *host, uint16_t port, int socktype, DnsDone *done,
                       void *ctx);
/* The answer is not wanted any more: `done` will not be called. Takes d. */
void nosi_dns_forget(DnsReq *d);

/* Natives. */
Value nosi_dns_lookup(Proc *p, Value *args);       // host
Value nosi_dns_lookup_until(Proc *p, Value *args); // host, milliseconds

#endif
