/* map.h -- Map and Set: persistent, hashed, iterated in insertion order.
 *
 * Up to 8 entries: one flat node, searched linearly, in order. More: a trie over 64-bit hashes with
 * up to 15 entries in each leaf (map.c), which carry an insertion serial; iteration collects the
 * entries and sorts them by serial. Binding an existing key keeps its place.
 *
 * Keys are compared with nosi_equal and hashed with nosi_hash. Keys whose type has a user Eq
 * somewhere inside all hash alike per type, and a look-up reports MAP_NEED_USER together with the
 * candidates (key, existing key) that are equal if user Eq says so for every pair listed for that
 * candidate: see MapQuery.
 *
 * Functions with a Heap may collect and protect their own arguments. */
#ifndef NOSI_MAP_H
#define NOSI_MAP_H

#include "vm/data/compare.h"
#include "vm/heap/heap.h"

typedef enum MapStatus {
    MAP_OK,
    MAP_BAD_KEY,   // TypeError "expected hashable type, got X": X = nosi_type_name(query->bad)
    MAP_NEED_USER, // user Eq decides: see MapQuery
    MAP_NOMEM,
} MapStatus;

/* How keys are recognised, and details of a failure. Pass NULL for the ordinary case (structural
 * rules throughout). MATCH_EQUAL     structural equality; when a user Eq is met: fills `candidates`
 * and answers MAP_NEED_USER MATCH_STRUCTURE structural equality throughout MATCH_SAME      the key
 * given is the very key stored (value_same), e.g. the candidate that user Eq accepted MATCH_NONE
 * the key is known not to be there (insert only) Protocol: call with MATCH_EQUAL. On MAP_NEED_USER
 * ask user Eq about each candidate pair (a = key asked for, b = stored key); when one is equal
 * repeat the call with key = that b and MATCH_SAME, otherwise with MATCH_NONE (insert) or take it
 * as absent. */
typedef enum MapMatch { MATCH_EQUAL, MATCH_STRUCTURE, MATCH_SAME, MATCH_NONE } MapMatch;
/* What becomes of the map that something is inserted into or removed from. */
typedef enum MapEdit {
    MAP_SHARE, // the ordinary case: it stays as it is, and the result may be the very same map
    MAP_COPY,  // it stays as it is; the result is a new map, OBJ_OWNED if possible (map.c,
               // "editions")
    MAP_OWN    // the caller gives up the only reference there is to it, or it is not OBJ_OWNED: it
               // may be changed in place, and is the result then. Otherwise as MAP_COPY
} MapEdit;
typedef struct MapQuery {
    MapMatch match;
    MapEdit edit;
    Value bad;          // MAP_BAD_KEY: the value that cannot be (part of) a key
    Pending candidates; // owned by the caller (vec_free); filled on MAP_NEED_USER
} MapQuery;

NOS_INLINE bool value_is_map(Value v)
{
    return value_is_kind(v, OBJ_MAP);
}
NOS_INLINE bool value_is_set(Value v)
{
    return value_is_kind(v, OBJ_SET);
}

/* Is v a valid key (10.3, D-31)? When not, *bad (may be NULL) is the offending part. Never
 * collects. */
bool nosi_key_valid(Value v, Value *bad);

enum { MAP_EMPTY_WORDS = 4 + 2 };
Value nosi_map_empty_nogc(Heap *h); // MAP_EMPTY_WORDS
Value nosi_set_empty_nogc(Heap *h);
size_t nosi_map_size(Value m); // of a Map or Set

/* m[key]: *out = the value, or VALUE_ABSENT. Never collects. Invalid keys are MAP_BAD_KEY. */
MapStatus nosi_map_get(Value m, Value key, MapQuery *q, Value *out);
/* Structural look-up for pattern matching: the value or VALUE_ABSENT, also for invalid keys. */
Value nosi_map_find(Value m, Value key);
MapStatus nosi_map_insert(Heap *h, Value m, Value key, Value value, MapQuery *q, Value *out);
MapStatus nosi_map_remove(Heap *h, Value m, Value key, MapQuery *q, Value *out); // absent: m itself
/* The Map or Set m, or a copy (of the MAP alone): in any case not OBJ_OWNED, so that nothing that
 * is done to the result can change what others see. */
MapStatus nosi_map_disown(Heap *h, Value m, Value *out);

MapStatus nosi_set_contains(Value s, Value key, MapQuery *q, bool *out);
bool nosi_set_has(Value s, Value key); // structural, false for invalid keys
MapStatus nosi_set_insert(Heap *h, Value s, Value key, MapQuery *q, Value *out);
MapStatus nosi_set_remove(Heap *h, Value s, Value key, MapQuery *q, Value *out);

/* Literals: n pairs k, v, k, v ... (n elements for a set) in roots; later pairs win, the first
 * keeps its place. */
MapStatus nosi_map_from_pairs(Heap *h, const Value *pairs, size_t n, MapQuery *q, Value *out);
MapStatus nosi_set_from_array(Heap *h, const Value *items, size_t n, MapQuery *q, Value *out);
/* From a list of pairs (2-tuples). MAP_BAD_KEY with q->bad = VALUE_ABSENT: an element
 * is no pair. On MAP_NEED_USER nothing was built: insert one by one instead. */
MapStatus nosi_map_from_list(Heap *h, Value list, MapQuery *q, Value *out);

/* Operations on two maps or two sets. Order: a's entries in order, then b's new ones in order.
 *   UNION        all keys; on conflict a's value (maps)
 *   MERGE        all keys; on conflict b's value, a's place
 *   INTERSECTION keys of both, a's values
 *   DIFFERENCE   a's keys that b lacks
 *   SYMMETRIC    a's that b lacks, then b's that a lacks
 * MAP_NEED_USER as above (then the library does it one by one). */
typedef enum MapOp {
    MAPOP_UNION,
    MAPOP_MERGE,
    MAPOP_INTERSECTION,
    MAPOP_DIFFERENCE,
    MAPOP_SYMMETRIC
} MapOp;
MapStatus nosi_map_combine(Heap *h, MapOp op, Value a, Value b, MapQuery *q, Value *out);
MapStatus nosi_set_is_subset(Value a, Value b, MapQuery *q,
                             bool *out); // a within b. Never collects

/* ---- iteration
 * -----------------------------------------------------------------------------------------------
 */

typedef struct MapEntry {
    Value key, value; // value: VALUE_UNIT for sets
    uint64_t serial;
} MapEntry;
/* All entries of a Map or Set in insertion order in C memory; gives (nosi_free). Never collects;
 * valid until the next reserve. Returns NULL for an empty one. */
MapEntry *nosi_map_entries(Value m, size_t *n);

/* The same in steps: begin, go until it says true, then the entries are e[0..n); free at any time.
 * `steps`: entries of about 8 ns to handle; what is left is written back. */
enum { MAP_MAX_DEPTH = 16 };
typedef struct MapPath {
    const Object *node;
    uint32_t next; // children (of a leaf: entries) looked at so far
} MapPath;
typedef struct MapWalk {
    Value m;
    MapEntry *e, *sorted; // owned
    size_t n, i, k;
    bool in_place;          // the serials are 0 .. n - 1: nothing is to be sorted
    uint64_t lo, hi, range; // of the serials
    uint32_t *at;           // by serial: 1 + index in e; owned
    enum { WALK_COLLECT, WALK_PLACE, WALK_SORT, WALK_DONE } phase;
    unsigned depth;
    MapPath path[MAP_MAX_DEPTH];
} MapWalk;
void nosi_map_walk_begin(MapWalk *w, Value m);
bool nosi_map_walk_go(MapWalk *w, int64_t *steps);
void nosi_map_walk_free(MapWalk *w);

/* ---- operations on whole maps, in steps
 * -----------------------------------------------------------------------------------------------
 *
 * ..._begin, then nosi_map_job_go until it says true: `status`, and `out` (the map) or `is`
 * (subset); then nosi_map_job_free, at any time. `steps` as for MapWalk. Between two calls nothing
 * may be collected; a call may collect, protects what the job holds, and gives `out` unprotected.
 * The same results as the functions above. */
typedef struct MapJob {
    Heap *h;
    enum {
        JOB_LENGTH, // of the list
        JOB_LIST,   // its elements go into kv
        JOB_WALK,   // the entries of a map are collected
        JOB_TAKE,   // and go into kv, or are looked up
        JOB_FEW,    // kv goes into `a` one by one
        JOB_HASH,
        JOB_SORT,
        JOB_MERGE, // equal keys
        JOB_SHAPE, // the nodes are counted, then made
        JOB_DONE
    } phase;
    MapStatus status;
    MapQuery q;
    MapOp op;
    uint8_t vs, want;
    bool other_value, second, few, subset, is;
    Value a, b, list, other, out;
    Value *kv;             // key, value, ... ; owned
    size_t n, cap, i;      // entries in kv; room; where the phase is
    struct MapItem *items; // owned
    size_t n_items;
    struct MapSort *sort; // owned
    struct MapTrie *trie; // owned
    MapWalk walk;
} MapJob;
void nosi_map_from_list_begin(MapJob *j, Heap *h, MapMatch match, bool pairs, Value list);
void nosi_map_combine_begin(MapJob *j, Heap *h, MapMatch match, MapOp op, Value a, Value b);
void nosi_set_subset_begin(MapJob *j, MapMatch match, Value a, Value b);
bool nosi_map_job_go(MapJob *j, int64_t *steps);
void nosi_map_job_free(MapJob *j);

typedef enum MapPart { MAP_KEYS, MAP_VALUES, MAP_PAIRS } MapPart;
/* List of keys (elements), values, or (key, value) tuples in insertion order. False: out of memory.
 */
bool nosi_map_to_list(Heap *h, Value m, MapPart part, Value *out);

/* Structural equality of two maps or sets of one size, in pieces (compare.c only): is every entry
 * in this node of the other one found in b? Calls back for pairs of values instead of comparing
 * them, and for the nodes below. */
Value nosi_map_root(Value m);
bool nosi_map_match_node(Value node, Value b, bool (*values)(void *ctx, Value x, Value y),
                         void (*below)(void *ctx, Value node, Value b), void *ctx);

/* Hash of the size and about `most` keys. Equal maps hash alike. */
uint64_t nosi_map_hash(Value m, size_t most);

/* Checks the invariants of a map or set (debug). */
void nosi_map_verify(Value m);

#endif
