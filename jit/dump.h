/* dump.h -- what becomes of one function on its way to machine code, as text (--jit-dump). */
#ifndef NOSI_JIT_DUMP_H
#define NOSI_JIT_DUMP_H

#include "jit/code.h"

/* The functions called NAME or MODULE.NAME; NULL: what the variable NOS_JIT_DUMP says, or none. */
void nosi_dump_begin(const char *name);
bool nosi_dump_wanted(const Func *f);

/* The text of one compilation is put together by these, in this order, and printed at once. */
void nosi_dump_bytecode(StrBuf *out, const Func *f, const Signature *sig, uint32_t osr_pc);
void nosi_dump_ir(StrBuf *out, const char *title, const char *text); // IR or MIR
void nosi_dump_code(StrBuf *out, const JitCode *code);               // disassembled
void nosi_dump_print(StrBuf *out);

#endif
