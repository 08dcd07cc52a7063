/* ast_print.h -- the syntax tree as s-expressions, for tests and `--dump-ast`.
 *
 * Shows what the parser found, nothing that later passes add. Recurses natively: depth is bounded
 * by the parser. */
#ifndef NOSI_AST_PRINT_H
#define NOSI_AST_PRINT_H

#include "vm/front/ast.h"
#include "vm/util/strbuf.h"

void nosi_ast_print_expr(const Expr *e, StrBuf *out); // `_` for NULL
void nosi_ast_print_pat(const Pat *p, StrBuf *out);
void nosi_ast_print_type(const TypeExpr *t, StrBuf *out);
void nosi_ast_print_item(const Item *item, StrBuf *out);
void nosi_ast_print_unit(const SourceUnit *u, StrBuf *out); // one item per line

#endif
