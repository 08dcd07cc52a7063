/* typeinfo.h -- the declared types of a program at run time: what reflection and typed decoding
 * need beyond shapes (shape.h), which know how values are stored but not what the fields' types
 * are.
 *
 * Built by the compiler, once, for programs that use reflection at all (Program.reflects), from the
 * checked types; never changed afterwards. A later input of the REPL adds its types. All of it
 * lives for ever. */
#ifndef NOSI_TYPEINFO_H
#define NOSI_TYPEINFO_H

#include "vm/util/arena.h"
#include "vm/util/strbuf.h"
#include "vm/value/shape.h"

typedef struct TypeInfo TypeInfo;
typedef struct TypeRef TypeRef;

typedef enum TypeRefKind {
    REF_ANY,   // a function, Dyn, ...: takes every value
    REF_BASIC, // a built-in type
    REF_NAMED, // a declared type
    REF_PARAM, // a type parameter of the declaration around it
} TypeRefKind;

/* A type as it is written: List[Item], (Int, T). */
struct TypeRef {
    TypeRefKind kind;
    TypeId id;            // BASIC: TYPE_LIST, TYPE_TUPLE, ... included
    uint32_t param;       // PARAM: its number
    const TypeInfo *info; // NAMED, never an alias
    uint32_t n;           // arguments; TUPLE: elements
    const TypeRef *const *args;
};

typedef enum TypeInfoKind { INFO_RECORD, INFO_VARIANT, INFO_ALIAS, INFO_EMPTY } TypeInfoKind;

struct TypeInfo {
    Name name, full_name; // last segment; with the module's path
    const char *file;     // of the declaration
    TypeInfoKind kind;
    bool is_reactive, is_library;
    uint32_t n_params;
    const Name *params;
    TypeDesc *desc;                      // its constructors; NULL: an alias
    const TypeRef *const *const *fields; // [constructor][field]
    const TypeRef *alias;                // ALIAS
};

/* Adds types to those that can be found; the pointers' targets stay with the caller for ever.
 * Thread safe. A later type of the same full name wins. */
void nosi_typeinfo_publish(const TypeInfo *const *types, size_t n);

/* The type of that full name; else the one of that simple name: declared in `file` (may be NULL),
 * or by the program rather than the library. NULL: there is none. Any thread, no locks. */
const TypeInfo *nosi_typeinfo_find(const char *name, size_t n, const char *file);

/* The text of a type as a value: what f[T](..) hands over. It is the spelling in the source; where
 * a name alone would not do, the full name follows it between these two characters. */
#define TYPE_TEXT_FULL "\x1e"
#define TYPE_TEXT_END  "\x1f"

/* Reads the text of a type ("Map[String, Item]", "[Int]", "(Int, T)"). NULL: an unknown name, the
 * wrong number of arguments, or no type; `unknown` gets what to put behind "Unknown type: ". What
 * it gives lives in the arena. */
const TypeRef *nosi_typeref_read(Arena *a, const char *text, size_t n, const char *file,
                                 StrBuf *unknown);
/* Appends the text of a type as programs write it. Parameters are named after `of`. */
void nosi_typeref_show(StrBuf *out, const TypeRef *t, const TypeInfo *of);
/* Appends the text of a type without the full names in it. */
void nosi_type_text_plain(StrBuf *out, const char *text, size_t n);

#endif
