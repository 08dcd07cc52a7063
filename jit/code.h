/* code.h -- machine code and what belongs to it. */
#ifndef NOSI_JIT_CODE_H
#define NOSI_JIT_CODE_H

#include "jit/ir.h"
#include "jit/mirctx.h"

/* How a value of a frame that was left is given to the interpreter. */
typedef enum {
    SLOT_CONST,
    SLOT_ANY,
    SLOT_INT,
    SLOT_FLOAT,
    SLOT_BOOL,
    SLOT_RAW,    // word of an object
    SLOT_OBJECT, // it has to be made
} SlotKind;
typedef struct ExitSlot {
    uint16_t reg;
    uint8_t kind;
    uint32_t index; // of the value among the exit's values
    union {
        uint64_t bits;                   // SLOT_CONST: the Value, or the word
        const struct ExitObject *object; // SLOT_OBJECT. The same in several slots: one object
    };
} ExitSlot;

typedef struct ExitObject {
    uint64_t header;
    ExitSlot *words;
} ExitObject;

typedef struct ExitFrame {
    Func *f;
    uint32_t pc;
    uint32_t dist;    // from its base to that of the frame above it
    uint32_t n_holds; // locks of mvars that it holds there
    uint32_t n_slots;
    ExitSlot *slots;
} ExitFrame;

typedef enum LeaveKind {
    LEAVE_GUARD,   // before the instruction: something is not what was expected
    LEAVE_ROOM,    // before it: the heap is full, or a callee has no machine code
    LEAVE_OTHER,   // before it: it is the interpreter's
    LEAVE_YIELD,   // before it, and the budget is used up
    LEAVE_SPECIAL, // behind it: a call gave THROWN, PARKED, YIELD or TRAP
    LEAVE_CALL,    // behind it: the callee has left
    LEAVE__COUNT
} LeaveKind;

/* One place where code leaves: what is in the reify buffer, `n_values` words and then the address
 * of this record. */
typedef struct ExitRecord {
    LeaveKind kind;
    uint32_t n_values, n_frames;
    uint64_t hits;     // exit_hits; workers count without regard to each other
    ExitFrame *frames; // the outermost first
    struct JitCode *code;
} ExitRecord;

NOS_INLINE uint64_t exit_hits(const ExitRecord *e)
{
    return __atomic_load_n(&e->hits, __ATOMIC_RELAXED);
}

/* A visit of the interpreter that ends by itself after so little work costs more than it saves.
 * After MAX_POOR of them the code is not entered any more.
 * Visits that end at a call of a function without machine code count 1 / ROOM_SHARE: it will have
 * some soon, when it was called often enough and the compiler came to it. */
enum { POOR_VISIT = 300, MAX_POOR = 1000, ROOM_SHARE = 1024 };
enum { MAX_GUARD_HITS = 1000 }; // then the code is made again, with fewer expectations

typedef struct JitCode {
    const Func *f;
    uint32_t osr_pc;
    void *entry;                     // typed (a call), or of the OSR version
    void *generic;                   // (Value *args) -> (Value, status)
    VEC(ExitRecord *) exits;         // owned
    Arena arena;                     // of the records and float constants
    uint32_t n_ir, n_mir, n_inlined; // instructions, and calls
    unsigned level;                  // MIR's level of optimisation: 1 where 2 would take too long
    uint64_t compile_ns;
    size_t bytes;
    CodePages pages;
    VEC(const Func *) inlined; // functions, each once
    VEC(OsrCheck) checks;      // of the OSR version
    VEC(const Func *) depends; // what it inlined or calls: redefining one makes it void
    bool is_void;              // withdrawn
    bool is_poor;              // not entered by the interpreter any more
    struct Version *version;   // of a call (record.h), borrowed
    uint32_t n_poor;           // visits that were over at once; racy
    struct GdbEntry *gdb;      // what gdb was told, or NULL
} JitCode;

/* Budget that entering a function costs at least for each frame it stands for. What is granted is
 * so limited that machine frames never go beyond the depth limit. More makes the slices of what
 * only calls so short that what comes between them is felt: with 48 fib had slices of 17 us. */
enum { ENTRY_CHARGE = 16 };

enum { STATUS_RETURNED, STATUS_LEFT, STATUS_DECLINED };

struct MirCtx;
/* Makes machine code of ir. Takes nothing. NULL: `why` says what is wrong. `text` gets the MIR, or
 * is NULL. */
JitCode *nosi_emit(const Ir *ir, JitFunc *self, const char **why, StrBuf *text);
extern const char nosi_jit_too_large[]; // a `why`

/* For tools: the function, and the loop if it is one's, then `suffix`. */
void nosi_code_name(StrBuf *out, const JitCode *c, const char *suffix);

void nosi_jit_code_free(JitCode *c); // takes; nobody runs it

#endif
