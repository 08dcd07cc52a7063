/* object.c -- the table of object kinds. See objects.def. */
#include "vm/value/object.h"

const ObjInfo nosi_obj_info[OBJ__COUNT] = {
#define OBJ(name, scan, text) [OBJ_##name] = {#name, SCAN_##scan, text},
#include "vm/value/objects.def"
#undef OBJ
};

_Static_assert(sizeof(Value) == 8 && sizeof(void *) == 8,
               "Values are 64-bit words that hold pointers");
_Static_assert(IMM_YIELD < 32, "an immediate's kind has five bits");
_Static_assert(OBJ__COUNT < 256, "an object's kind has eight bits");

const char *nosi_array_type_name(ElemKind kind)
{
    static const char *const names[] = {[ELEM_I64] = "Int64Array",
                                        [ELEM_F64] = "Float64Array",
                                        [ELEM_F32] = "Float32Array",
                                        [ELEM_U8] = "UInt8Array"};
    return names[kind];
}
