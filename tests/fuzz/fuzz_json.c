/* Any bytes as JSON: parsing in one piece and byte by byte agree, what is written reads back as the
 * same, and every value that was read can be offered to the decoder as any type. The first line is
 * the text of a type, the rest the JSON. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vm/data/compare.h"
#include "vm/data/decode.h"
#include "vm/data/json.h"
#include "vm/data/json_parse.h"
#include "vm/data/show.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"
#include "vm/util/utf8.h"
#include "vm/value/typeinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool parse(Heap *h, const char *s, size_t n, size_t step, Value *out, StrBuf *error)
{
    JsonParse j;
    JsonStatus st;
    nosi_json_begin(&j, s, n);
    while ((st = nosi_json_scan(&j, step)) == JSON_MORE)
        continue;
    if (st == JSON_BAD) {
        nosi_json_error(&j, error);
    } else {
        if (!nosi_json_reserve(&j, h))
            abort();
        while ((st = nosi_json_build(&j, h, step)) == JSON_MORE)
            continue;
        *out = j.result;
    }
    nosi_json_end(&j);
    return st == JSON_DONE;
}

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void decode(Heap *h, const char *type, size_t n, Value v, DecodeStyle style)
{
    Decoder d;
    StrBuf unknown = {0};
    RootFrame roots = {h->roots, NULL, 0};
    nosi_decode_begin(&d, style);
    const TypeRef *t = nosi_typeref_read(&d.arena, type, n, NULL, &unknown);
    if (t && nosi_decode_value(&d, t, v)) {
        DecodeStatus st;
        h->roots = &roots;
        while ((st = nosi_decode_go(&d, h, &roots, 3)) == DECODE_MORE)
            continue;
        h->roots = roots.next;
        must(st == DECODE_DONE || d.error.n);
        StrBuf text = {0};
        if (st == DECODE_DONE) // a sound value
            nosi_show(&text, d.vals[0], SHOW_TOP, NULL);
        nosi_strbuf_free(&text);
    }
    nosi_strbuf_free(&unknown);
    nosi_decode_end(&d);
}

/* type Tree = Leaf | Node(Tree, Int) ; type Box[T] = { v: T, more: List[T], opt: Option[Int] } */
static void declare(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    nosi_shapes_init();
    Name tree = nosi_intern_cstr("Tree"), box = nosi_intern_cstr("Box");
    static const uint8_t reps[] = {FIELD_VALUE, FIELD_INT};
    static TypeInfo types[3];
    static TypeRef int_ref = {.kind = REF_BASIC, .id = TYPE_INT},
                   param = {.kind = REF_PARAM, .param = 0},
                   tree_ref = {.kind = REF_NAMED, .info = &types[0]};
    static const TypeRef *one_param[] = {&param}, *one_int[] = {&int_ref};
    static TypeRef list = {.kind = REF_BASIC, .id = TYPE_LIST, .n = 1, .args = one_param},
                   option = {.kind = REF_NAMED, .info = &types[2], .n = 1, .args = one_int};
    static const TypeRef *node[] = {&tree_ref, &int_ref}, *box_fields[] = {&param, &list, &option};
    static const TypeRef *const *const tree_ctors[] = {NULL, node};
    static const TypeRef *const *const box_ctors[] = {box_fields};
    static const TypeRef *const *const option_ctors[] = {one_param, NULL};
    const ShapeSpec tree_specs[] = {{.name = nosi_intern_cstr("Leaf")},
                                    {nosi_intern_cstr("Node"), 2, false, NULL, reps}};
    const Name names[] = {nosi_intern_cstr("v"), nosi_intern_cstr("more"), nosi_intern_cstr("opt")};
    const ShapeSpec box_spec = {box, 3, true, names, NULL};
    static const Name params[1] = {"T"};
    types[0] = (TypeInfo){.name = tree,
                          .full_name = tree,
                          .kind = INFO_VARIANT,
                          .desc = nosi_type_register(tree, tree, false, false, tree_specs, 2),
                          .fields = tree_ctors};
    types[1] = (TypeInfo){.name = box,
                          .full_name = box,
                          .kind = INFO_RECORD,
                          .n_params = 1,
                          .params = params,
                          .desc = nosi_type_register(box, box, true, false, &box_spec, 1),
                          .fields = box_ctors};
    types[2] = (TypeInfo){.name = nosi_shape_some->type->name,
                          .full_name = nosi_shape_some->type->name,
                          .kind = INFO_VARIANT,
                          .n_params = 1,
                          .params = params,
                          .desc = nosi_shape_some->type,
                          .fields = option_ctors};
    const TypeInfo *const all[] = {&types[0], &types[1], &types[2]};
    nosi_typeinfo_publish(all, 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const usual[] = {"Tree",     "List[Box[Tree]]", "Map[String, Option[Int]]",
                                        "Set[Int]", "(Int, [Float])",  "Float64Array"};
    declare();
    const char *s = (const char *)data;
    const char *line = size ? memchr(s, '\n', size) : NULL;
    size_t n_type = line ? (size_t)(line - s) : 0;
    const char *text = line ? line + 1 : s;
    size_t n = size - (size_t)(text - s);
    if (nosi_utf8_validate(text, n) != n)
        return 0;
    Heap heap, *h = &heap;
    StrBuf e1 = {0}, e2 = {0}, written = {0}, again = {0};
    Value v[3] = {VALUE_UNIT, VALUE_UNIT, VALUE_UNIT};
    nosi_heap_init(h, NULL, NULL);
    ROOT_ARRAY(h, v, 3);
    bool ok = parse(h, text, n, SIZE_MAX / 2, &v[0], &e1);
    must(parse(h, text, n, 1, &v[1], &e2) == ok);
    if (!ok) {
        must(e1.n == e2.n && !memcmp(e1.s, e2.s, e1.n));
    } else {
        nosi_json_text(&written, v[0]);
        nosi_json_text(&again, v[1]);
        must(written.n == again.n && !memcmp(written.s, again.s, written.n));
        again.n = 0;
        must(parse(h, written.s, written.n, 7, &v[2], &e1));
        nosi_json_text(&again, v[2]);
        must(written.n == again.n && !memcmp(written.s, again.s, written.n));
        for (size_t i = 0; i < NOS_COUNT(usual); i++)
            decode(h, usual[i], strlen(usual[i]), v[0], i % 2 ? DECODE_TYPED : DECODE_BY_NAME);
        decode(h, s, n_type, v[0], DECODE_TYPED);
    }
    UNROOT(h);
    nosi_heap_free(h);
    nosi_strbuf_free(&e1);
    nosi_strbuf_free(&e2);
    nosi_strbuf_free(&written);
    nosi_strbuf_free(&again);
    return 0;
}
