/* json_parse.c -- see json_parse.h. */
#include "vm/data/json_parse.h"

#include <string.h>

#include "vm/data/json.h"
#include "vm/data/json_word.h"
#include "vm/data/num.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"
#include "vm/util/utf8.h"

typedef enum NodeKind {
    N_NULL,
    N_TRUE,
    N_FALSE,
    N_INT,    // x: the number
    N_LONG,   // an Int that does not fit x. The number follows, as a node of its own
    N_FLOAT,  // the same with the bits of a Float
    N_STRING, // x: offset of its text, behind the quote; bytes. The length of a long one follows
    N_KEY,    // the same; once it is built the whole node is the string
    N_SAME,   // a key that is spelled like an earlier one; x: that node
    N_ARRAY,  // x: elements
    N_OBJECT, // x: members
} NodeKind;

union JsonNode {
    struct {
        uint64_t kind : 4;
        uint64_t escaped : 1; // STRING, KEY: the text has escapes
        uint64_t bytes : 7;   // STRING, KEY: of the decoded text; TEXT_LONG: or more
        uint64_t x : 52;
    };
    uint64_t word;
};

struct JsonOpen {
    size_t node; // scan: of the container
    size_t n;    // parts, scan: so far; build: left
    Value *slot; // build: where the rest of its list goes
    bool object;
};

struct JsonKey {    // the last one with its hash
    uint64_t first; // its first bytes, and zeros if it is shorter than a word
    size_t node;    // index + 1; 0: none
};

enum State {
    WANT_VALUE,
    WANT_VALUE_OR_END,
    WANT_KEY,
    WANT_KEY_OR_END,
    WANT_COLON,
    WANT_COMMA,
    WANT_END
};

enum { SEGMENT = 1 << 10 }; // nodes
enum { KEY_SLOTS = 256, TEXT_LONG = STRING_SHORT_MAX + 1, PAIR_WORDS = 3 };

void nosi_json_begin(JsonParse *j, const char *s, size_t n)
{
    *j = (JsonParse){.s = s, .n = n, .state = WANT_VALUE, .result = VALUE_UNIT};
}

void nosi_json_end(JsonParse *j)
{
    for (size_t i = 0; i < j->n_segments; i++)
        nosi_free(j->tape[i]);
    nosi_free(j->tape);
    nosi_free(j->open);
    nosi_free(j->keys);
    if (j->copy.blob)
        nosi_blob_unref(j->copy.blob);
    *j = (JsonParse){0};
}

void nosi_json_text_at(JsonParse *j, const char *s)
{
    j->s = s;
}

static JsonNode *node_at(const JsonParse *j, size_t i)
{
    return &j->tape[i / SEGMENT][i % SEGMENT];
}

static NOS_NOINLINE void more_tape(JsonParse *j)
{
    if (j->n_segments == j->cap_segments) {
        j->cap_segments = j->cap_segments ? j->cap_segments * 2 : 4;
        j->tape = nosi_realloc(j->tape, j->cap_segments * sizeof *j->tape);
    }
    j->tape[j->n_segments++] = nosi_alloc(SEGMENT * sizeof(JsonNode));
}

NOS_INLINE void put(JsonParse *j, JsonNode t)
{
    if (NOS_UNLIKELY(j->n_nodes == j->n_segments * SEGMENT))
        more_tape(j);
    *node_at(j, j->n_nodes++) = t;
}

static void node(JsonParse *j, NodeKind kind, uint64_t x)
{
    put(j, (JsonNode){.kind = kind, .x = x});
}

static JsonOpen *open_new(JsonParse *j)
{
    if (j->depth == j->cap_open) {
        j->cap_open = j->cap_open ? j->cap_open * 2 : 16;
        j->open = nosi_realloc(j->open, j->cap_open * sizeof *j->open);
    }
    return &j->open[j->depth++];
}

static JsonStatus bad(JsonParse *j, const char *what)
{
    j->error = what;
    return JSON_BAD;
}

/* What cannot go on here. */
static JsonStatus unexpected(JsonParse *j, const char *instead)
{
    return bad(j, j->at >= j->n ? "unexpected end of text" : instead);
}

/* ---- scan: strings --------------------------------------------------------------------------- */

/* The number 0..65535 that four hexadecimal digits spell, or -1. */
static int32_t hex4(const char *s)
{
    int32_t x = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)s[i], l = c | 0x20;
        int d = c >= '0' && c <= '9' ? c - '0' : l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
        if (d < 0)
            return -1;
        x = x << 4 | d;
    }
    return x;
}

/* Reads the escape at s (a backslash; the rest up to `end` may be cut off) into c: bytes read, 0
 * when it is none. */
static size_t escape(const char *s, const char *end, uint32_t *c)
{
    static const char named[256] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    if (end - s < 2)
        return 0;
    *c = (unsigned char)named[(unsigned char)s[1]];
    if (*c)
        return 2;
    int32_t x = s[1] == 'u' && end - s >= 6 ? hex4(s + 2) : -1;
    if (x < 0)
        return 0;
    *c = (uint32_t)x;
    if (x < 0xD800 || x > 0xDFFF)
        return 6;
    int32_t low = x < 0xDC00 && end - s >= 12 && s[6] == '\\' && s[7] == 'u' ? hex4(s + 8) : -1;
    if (low < 0xDC00 || low > 0xDFFF) {
        *c = 0xFFFD;
        return 6;
    }
    *c = 0x10000 + ((uint32_t)(x - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
    return 12;
}

static size_t utf8_size(uint32_t c)
{
    return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

/* nosi_word_of for a part of the text: what follows may be read too. */
NOS_INLINE uint64_t key_word(const JsonParse *j, const char *s, size_t n)
{
    if (NOS_UNLIKELY(n >= 8 || j->s + j->n - s < 8))
        return nosi_word_of(s, n);
    return nosi_word(s) & (((uint64_t)1 << 8 * n) - 1); // no branch for each length
}

static uint64_t key_hash(const JsonParse *j, uint64_t first, const char *s, size_t n)
{
    const uint64_t odd = 0x9E3779B97F4A7C15u;
    uint64_t h = first * odd;
    for (size_t i = 8; i < n; i += 8)
        h = (h ^ h >> 32 ^ key_word(j, s + i, n - i)) * odd;
    return h >> 32;
}

static bool same_key(const JsonParse *j, const JsonKey *k, uint64_t first, const char *s, size_t n)
{
    if (k->first != first || !k->node)
        return false;
    if (n < 8) // text has no zeros, so the word tells the length too
        return true;
    JsonNode t = *node_at(j, k->node - 1);
    return t.bytes == n && memcmp(j->s + t.x, s, n) == 0;
}

/* A key that was seen before shares the string: an array of many records has few of them. */
static void key_node(JsonParse *j, size_t start, size_t raw)
{
    if (NOS_UNLIKELY(!j->keys))
        j->keys = nosi_calloc(KEY_SLOTS, sizeof *j->keys);
    const char *s = j->s + start;
    uint64_t first = key_word(j, s, raw);
    JsonKey *k = &j->keys[key_hash(j, first, s, raw) % KEY_SLOTS];
    if (same_key(j, k, first, s, raw)) {
        node(j, N_SAME, k->node - 1);
        return;
    }
    *k = (JsonKey){first, j->n_nodes + 1};
    put(j, (JsonNode){.kind = N_KEY, .bytes = raw, .x = start});
    j->words += 2 + (raw + 7) / 8;
}

static void short_string(JsonParse *j, size_t start, size_t bytes, bool escaped)
{
    put(j, (JsonNode){.kind = N_STRING, .escaped = escaped, .bytes = bytes, .x = start});
    j->words += 2 + 2 + (bytes + 7) / 8;
}

static void string_done(JsonParse *j)
{
    size_t start = j->str.start, bytes = j->str.bytes;
    j->str.open = false;
    if (bytes >= TEXT_LONG) {
        put(j, (JsonNode){.kind = j->str.key ? N_KEY : N_STRING,
                          .escaped = j->str.escaped,
                          .bytes = TEXT_LONG,
                          .x = start});
        put(j, (JsonNode){.word = bytes});
        j->bytes += bytes;
        j->words += (j->str.key ? 0 : 2) + LSTRING_WORDS + 1;
    } else if (!j->str.key) {
        short_string(j, start, bytes, j->str.escaped);
    } else if (!j->str.escaped) {
        key_node(j, start, bytes);
    } else {
        put(j, (JsonNode){.kind = N_KEY, .escaped = true, .bytes = bytes, .x = start});
        j->words += 2 + (bytes + 7) / 8;
    }
}

static JsonStatus bad_escape(JsonParse *j)
{
    if (j->n - j->at < 6 && !memchr(j->s + j->at, '"', j->n - j->at)) {
        j->at = j->n;
        return unexpected(j, "");
    }
    return bad(j, "invalid escape");
}

/* Goes on in a string up to byte `until`. */
static JsonStatus scan_string(JsonParse *j, size_t until)
{
    const char *s = j->s;
    while (j->at < j->n) {
        size_t at = json_plain(s, j->at, NOS_MIN(j->n, NOS_MAX(until, j->at + 8)));
        j->str.bytes += at - j->at;
        j->at = at;
        if (at >= j->n)
            break;
        if (s[at] == '"') {
            j->at++;
            string_done(j);
            return JSON_DONE;
        }
        if (s[at] == '\\') {
            uint32_t code;
            size_t n = escape(s + at, s + j->n, &code);
            if (!n)
                return bad_escape(j);
            j->at = at + n;
            j->str.bytes += utf8_size(code);
            j->str.escaped = true;
        } else if ((unsigned char)s[at] < 0x20) {
            return bad(j, "control character in a string");
        }
        if (j->at >= until)
            return JSON_MORE;
    }
    return bad(j, "unexpected end of text in a string");
}

/* The string that begins at j->at. */
static JsonStatus begin_string(JsonParse *j, bool key, size_t until)
{
    size_t start = j->at + 1, most = NOS_MIN(j->n, start + TEXT_LONG);
    size_t end = json_plain(j->s, start, most);
    if (NOS_LIKELY(end < most && j->s[end] == '"')) { // most are short and have no escapes
        j->at = end + 1;
        if (key)
            key_node(j, start, end - start);
        else
            short_string(j, start, end - start, false);
        return JSON_DONE;
    }
    j->at = j->str.start = start;
    j->str.bytes = 0;
    j->str.key = key;
    j->str.escaped = false;
    j->str.open = true;
    return scan_string(j, until);
}

/* ---- scan: numbers --------------------------------------------------------------------------- */

static bool digit(const JsonParse *j, size_t i)
{
    return i < j->n && j->s[i] >= '0' && j->s[i] <= '9';
}

/* The double m * 10^e when one correctly rounded operation gives it. */
static bool exact_float(uint64_t m, int64_t e, double *out)
{
    static const double ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                 1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (m > (uint64_t)1 << 53 || e < -22 || e > 22)
        return false;
    *out = e < 0 ? (double)m / ten[-e] : (double)m * ten[e];
    return true;
}

static void int_node(JsonParse *j, int64_t i)
{
    const int64_t most = (int64_t)1 << 51;
    if (NOS_LIKELY(i >= -most && i < most)) {
        node(j, N_INT, (uint64_t)i);
        return;
    }
    node(j, N_LONG, 0);
    put(j, (JsonNode){.word = (uint64_t)i});
}

static JsonStatus scan_number(JsonParse *j)
{
    const char *s = j->s;
    size_t start = j->at, i = start, n = j->n;
    bool negative = s[i] == '-', is_int = true;
    uint64_t m = 0;    // the digits,
    size_t digits = 0; // which fit while they are at most 19
    int64_t e = 0;
    i += negative;
    if (!digit(j, i)) {
        j->at = i;
        return unexpected(j, "a number needs a digit");
    }
    if (s[i] == '0') {
        i++;
        if (digit(j, i)) {
            j->at = i;
            return bad(j, "a number must not begin with 0");
        }
    } else {
        for (; digit(j, i); i++, digits++)
            m = m * 10 + (uint64_t)(s[i] - '0');
    }
    if (i < n && s[i] == '.') {
        size_t point = ++i;
        is_int = false;
        for (; digit(j, i); i++) {
            m = m * 10 + (uint64_t)(s[i] - '0');
            digits += digits || m; // not the zeros in front
        }
        if (i == point) {
            j->at = i;
            return unexpected(j, "a digit is missing after the decimal point");
        }
        e = -(int64_t)(i - point);
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        i++;
        is_int = false;
        bool down = i < n && s[i] == '-';
        i += i < n && (s[i] == '-' || s[i] == '+');
        if (!digit(j, i)) {
            j->at = i;
            return unexpected(j, "a digit is missing in the exponent");
        }
        int64_t x = 0;
        for (; digit(j, i); i++)
            x = x < 100000 ? x * 10 + (s[i] - '0') : x;
        e += down ? -x : x;
    }
    j->at = i;
    j->words += 2;
    if (is_int && digits <= 19 && m <= (uint64_t)INT64_MAX + negative) {
        int_node(j, (int64_t)(negative ? 0 - m : m));
        return JSON_DONE;
    }
    double d;
    if (digits > 19 || !exact_float(m, e, &d))
        nosi_parse_float(s + start, i - start, &d);
    else if (negative)
        d = -d;
    JsonNode bits;
    memcpy(&bits, &d, 8);
    node(j, N_FLOAT, 0);
    put(j, bits);
    return JSON_DONE;
}

/* ---- scan ------------------------------------------------------------------------------------ */

static JsonStatus literal(JsonParse *j, const char *text, size_t n, NodeKind kind)
{
    for (size_t i = 0; i < n; i++, j->at++)
        if (j->at >= j->n || j->s[j->at] != text[i])
            return unexpected(j, "unexpected character");
    node(j, kind, 0);
    j->words += kind == N_NULL ? 0 : 2;
    return JSON_DONE;
}

static void container(JsonParse *j, bool object)
{
    JsonOpen *o = open_new(j);
    o->node = j->n_nodes;
    o->n = 0;
    o->object = object;
    node(j, object ? N_OBJECT : N_ARRAY, 0);
    j->at++;
    j->state = object ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
}

static JsonStatus scan_value(JsonParse *j, size_t until)
{
    if (j->depth)
        j->open[j->depth - 1].n++;
    j->state = j->depth ? WANT_COMMA : WANT_END;
    switch (j->s[j->at]) {
    case '{':
        container(j, true);
        return JSON_DONE;
    case '[':
        container(j, false);
        return JSON_DONE;
    case '"':
        return begin_string(j, false, until);
    case 't':
        return literal(j, "true", 4, N_TRUE);
    case 'f':
        return literal(j, "false", 5, N_FALSE);
    case 'n':
        return literal(j, "null", 4, N_NULL);
    default:
        if (j->s[j->at] != '-' && !digit(j, j->at))
            return bad(j, "unexpected character");
        return scan_number(j);
    }
}

static void close(JsonParse *j)
{
    const JsonOpen *o = &j->open[--j->depth];
    node_at(j, o->node)->x = o->n;
    j->words += 2 + o->n * (o->object ? PAIR_WORDS + CONS_WORDS : CONS_WORDS);
    j->at++;
    j->state = j->depth ? WANT_COMMA : WANT_END;
}

/* One token, which begins at j->at. */
static JsonStatus scan_token(JsonParse *j, size_t until)
{
    char c = j->s[j->at];
    switch ((enum State)j->state) {
    case WANT_VALUE_OR_END:
        if (c == ']') {
            close(j);
            return JSON_DONE;
        }
        return scan_value(j, until);
    case WANT_VALUE:
        return scan_value(j, until);
    case WANT_KEY_OR_END:
        if (c == '}') {
            close(j);
            return JSON_DONE;
        }
        NOS_FALLTHROUGH;
    case WANT_KEY:
        if (c != '"')
            return bad(j, "expected a key in quotes");
        j->state = WANT_COLON;
        return begin_string(j, true, until);
    case WANT_COLON:
        if (c != ':')
            return bad(j, "expected `:`");
        j->at++;
        j->state = WANT_VALUE;
        return JSON_DONE;
    case WANT_COMMA: {
        bool object = j->open[j->depth - 1].object;
        if (c == (object ? '}' : ']')) {
            close(j);
            return JSON_DONE;
        }
        if (c != ',')
            return bad(j, object ? "expected `,` or `}`" : "expected `,` or `]`");
        j->at++;
        j->state = object ? WANT_KEY : WANT_VALUE;
        return JSON_DONE;
    }
    case WANT_END:
        break;
    }
    return bad(j, "unexpected text after the value");
}

static void skip_space(JsonParse *j, size_t until)
{
    while (
        j->at < until && j->s[j->at] <= ' ' &&
        (j->s[j->at] == ' ' || j->s[j->at] == '\n' || j->s[j->at] == '\t' || j->s[j->at] == '\r'))
        j->at++;
}

/* What usually follows a token at once: it needs no round of its own then. */
static void scan_separator(JsonParse *j, size_t until)
{
    char c = j->at < until ? j->s[j->at] : 0;
    if (c == ',' && j->state == WANT_COMMA) {
        j->at++;
        j->state = j->open[j->depth - 1].object ? WANT_KEY : WANT_VALUE;
    } else if (c == ':' && j->state == WANT_COLON) {
        j->at++;
        j->state = WANT_VALUE;
    }
}

JsonStatus nosi_json_scan(JsonParse *j, size_t bytes)
{
    size_t until = j->n - j->at > bytes ? j->at + bytes : j->n;
    JsonStatus st = JSON_DONE;
    if (j->str.open)
        st = scan_string(j, until);
    while (st == JSON_DONE) {
        skip_space(j, until);
        if (j->at >= j->n)
            return j->state == WANT_END ? JSON_DONE : bad(j, "unexpected end of text");
        if (j->at >= until)
            return JSON_MORE;
        st = scan_token(j, until);
        if (st == JSON_DONE)
            scan_separator(j, until);
    }
    return st;
}

void nosi_json_error(const JsonParse *j, StrBuf *out)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < j->at && i < j->n; i++)
        if (j->s[i] == '\n') {
            line++;
            start = i + 1;
        }
    nosi_strbuf_printf(out, "%s at line %zu, column %zu", j->error, line,
                       nosi_utf8_count(j->s + start, NOS_MIN(j->at, j->n) - start) + 1);
}

/* ---- build ----------------------------------------------------------------------------------- */

bool nosi_json_reserve(JsonParse *j, Heap *h)
{
    j->next = 0;
    j->depth = 0;
    return nosi_heap_reserve_bytes(h, j->words, j->bytes);
}

/* The text from s[*from) on, decoded, while at most `max` bytes fit; ends at the closing quote. */
static size_t decode(const JsonParse *j, size_t *from, char *to, size_t max)
{
    const char *s = j->s;
    size_t i = *from, n = 0;
    while (n < max) {
        size_t k, most = NOS_MIN(j->n - i, max - n);
        if (most >= 8) {
            uint64_t w = nosi_word(s + i), hit = json_special(w, 8);
            memcpy(to + n, &w, 8);
            k = hit ? json_special_at(hit) : 8;
        } else {
            k = json_plain(s, i, i + most) - i;
            memcpy(to + n, s + i, k);
        }
        n += k;
        i += k;
        if (n >= max || s[i] == '"')
            break;
        if (s[i] != '\\')
            continue;
        uint32_t c;
        char bytes[4];
        size_t read = escape(s + i, s + j->n, &c), size = (size_t)nosi_utf8_encode(c, bytes);
        if (size > max - n)
            break;
        memcpy(to + n, bytes, size);
        n += size;
        i += read;
    }
    *from = i;
    return n;
}

/* A long text, at most `bytes` of it now. */
static JsonStatus long_text(JsonParse *j, Heap *h, const JsonNode *t, size_t bytes, Value *out)
{
    size_t n = node_at(j, j->next + 1)->word;
    StrBlob *b = j->copy.blob;
    if (!b) {
        b = nosi_blob_new(n);
        if (!b)
            return JSON_NOMEM;
        j->copy.blob = b;
        j->copy.from = t->x;
        j->copy.to = j->copy.chars = 0;
    }
    // An escape needs up to four bytes at once.
    size_t max = NOS_MIN(n - j->copy.to, NOS_MAX(bytes, 64));
    char *to = b->bytes + j->copy.to;
    size_t k = decode(j, &j->copy.from, to, max);
    j->copy.to += k;
    j->copy.chars += nosi_utf8_count(to, k);
    if (j->copy.to < n)
        return JSON_MORE;
    atomic_store_explicit(&b->used, n, memory_order_relaxed); // nobody else has it yet
    j->copy.blob = NULL;
    *out = nosi_string_long_nogc(h, b, n, j->copy.chars);
    return JSON_DONE;
}

/* The string of node t. */
static JsonStatus text(JsonParse *j, Heap *h, const JsonNode *t, size_t bytes, Value *out)
{
    if (t->bytes >= TEXT_LONG)
        return long_text(j, h, t, bytes, out);
    if (!t->escaped) {
        *out = nosi_string_short_nogc(h, j->s + t->x, t->bytes);
        return JSON_DONE;
    }
    char few[STRING_SHORT_MAX + 8]; // room for whole words
    size_t from = t->x, n = decode(j, &from, few, sizeof few);
    *out = nosi_string_short_nogc(h, few, n);
    return JSON_DONE;
}

static Object *wrap(JsonParse *j, Heap *h, JsonCtor ctor)
{
    Object *o = (Object *)h->top;
    h->top += 2;
    NOS_CHECK(h->top <= h->limit);
    o->header = nosi_shape_json[ctor]->header;
    *j->slot = value_object(o);
    return o;
}

/* One more cell for the list of o: it has no head yet. */
static Value *add_cell(Heap *h, JsonOpen *o)
{
    Value cell = nosi_cons_nogc(h, VALUE_NIL, VALUE_NIL);
    *o->slot = cell;
    o->slot = &value_cell(cell)[1];
    o->n--;
    return value_cell(cell);
}

/* The key in front of a member's value: a pair with room for it. */
static JsonStatus build_key(JsonParse *j, Heap *h, JsonOpen *o, size_t bytes)
{
    JsonNode *t = node_at(j, j->next);
    Value key;
    if (t->kind == N_SAME) {
        key = (Value){node_at(j, t->x)->word};
    } else {
        JsonStatus st = text(j, h, t, bytes, &key);
        if (st != JSON_DONE)
            return st;
        j->next += t->bytes >= TEXT_LONG;
        t->word = key.bits;
    }
    j->next++;
    Object *pair = nosi_heap_take_nogc(h, OBJ_TUPLE, 0, 2);
    pair->word[0] = key.bits;
    add_cell(h, o)[0] = value_object(pair);
    j->slot = (Value *)&pair->word[1];
    return JSON_DONE;
}

static JsonStatus build_value(JsonParse *j, Heap *h, size_t bytes)
{
    const JsonNode *t = node_at(j, j->next);
    switch ((NodeKind)t->kind) {
    case N_NULL:
        *j->slot = value_ctor(nosi_shape_json[JSON_NULL]->id);
        break;
    case N_TRUE:
    case N_FALSE:
        wrap(j, h, JSON_BOOL)->word[0] = t->kind == N_TRUE;
        break;
    case N_INT:
        wrap(j, h, JSON_INTEGER)->word[0] = (uint64_t)((int64_t)t->word >> 12); // x with its sign
        break;
    case N_LONG:
        wrap(j, h, JSON_INTEGER)->word[0] = node_at(j, ++j->next)->word;
        break;
    case N_FLOAT:
        wrap(j, h, JSON_NUMBER)->word[0] = node_at(j, ++j->next)->word;
        break;
    case N_STRING: {
        Value s;
        JsonStatus st = text(j, h, t, bytes, &s);
        if (st != JSON_DONE)
            return st;
        wrap(j, h, JSON_STRING)->word[0] = s.bits;
        j->next += t->bytes >= TEXT_LONG;
        break;
    }
    case N_ARRAY:
    case N_OBJECT: {
        Object *o = wrap(j, h, t->kind == N_ARRAY ? JSON_ARRAY : JSON_OBJECT);
        o->word[0] = VALUE_NIL.bits;
        if (t->x) {
            JsonOpen *open = open_new(j);
            *open =
                (JsonOpen){.n = t->x, .slot = (Value *)&o->word[0], .object = t->kind == N_OBJECT};
        }
        break;
    }
    case N_KEY:
    case N_SAME:
        break; // build_key
    }
    j->next++;
    j->slot = NULL;
    return JSON_DONE;
}

JsonStatus nosi_json_build(JsonParse *j, Heap *h, size_t bytes)
{
    size_t nodes = bytes / 4 + 1;
    if (!j->next) // the struct may have moved since the last step
        j->slot = &j->result;
    for (; nodes; nodes--) {
        if (!j->slot) { // the next part of the innermost container that is not complete
            while (j->depth && !j->open[j->depth - 1].n)
                j->depth--;
            if (!j->depth)
                return JSON_DONE;
            JsonOpen *o = &j->open[j->depth - 1];
            if (o->object) {
                JsonStatus st = build_key(j, h, o, bytes);
                if (st != JSON_DONE)
                    return st;
            } else {
                j->slot = add_cell(h, o);
            }
        }
        JsonStatus st = build_value(j, h, bytes);
        if (st != JSON_DONE)
            return st;
    }
    return JSON_MORE;
}
