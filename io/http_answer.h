/* http_answer.h -- what the files that answer requests share. */
#ifndef NOSI_HTTP_ANSWER_H
#define NOSI_HTTP_ANSWER_H

#include "io/http_values.h"

enum { HTTP_HIGH_WATER = 256 * 1024 }; // backlog above which a writer waits

/* Sends `head` (taken) and *out on x's connection. Called on x's own loop, that happens at once. */
void nosi_http_send_anywhere(Exchange *x, StrBuf *head, HttpOut *out);
void nosi_http_head_start(StrBuf *b, int status);
/* Content-Length (>= 0), Date, Connection and the empty line. */
void nosi_http_head_end_lines(StrBuf *b, const Exchange *x, int64_t length, bool close);
Value nosi_http_client_gone(Proc *p); // raises
bool nosi_http_must_close(const Exchange *x, const HeaderNotes *notes);

#endif
