/* parser.h -- text to syntax tree (part 1 of the specification, sections 1-4). */
#ifndef NOSI_PARSER_H
#define NOSI_PARSER_H

#include "vm/front/ast.h"
#include "vm/front/diag.h"

/* Parses a whole file: declarations. Reports every error it can recover from into `diags`; always
 * returns a unit (possibly with fewer items). Never recurses natively deeper than a fixed limit (a
 * clear error beyond it). */
SourceUnit *nosi_parse_file(Arena *arena, const SourceSet *sources, uint32_t file, DiagList *diags);

/* Parses REPL input: declarations, and statements or expressions as ITEM_EXPR. *incomplete is set
 * (and nothing is reported) when the text ends inside an open bracket, string, or after an
 * operator, `=` and the like. incomplete == NULL: no more input comes, that is an error too. */
SourceUnit *nosi_parse_repl(Arena *arena, const SourceSet *sources, uint32_t file, DiagList *diags,
                            bool *incomplete);

#endif
