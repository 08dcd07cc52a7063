#!/usr/bin/env python3
"""Copies MIR's sources and changes what the JIT needs changed: scripts/patch_mir.py FROM TO. CMake runs it.

Each change names a text that the pinned version contains once. When it does not, the build stops: another version of MIR needs
another look at each of them (docs/jit.md, "Emitting MIR").
"""
import pathlib
import sys

PATCHES = [
    ("mir-gen.c", "an instruction may name a spilled register three times (x = x * x); there is room for two",
     "#define MAX_INSN_RELOAD_MEM_OPS 2",
     "#define MAX_INSN_RELOAD_MEM_OPS 3"),

    ("mir-gen.c", "value numbering takes operand 0 for the result, which in an UNSPEC is its code",
     "static int gvn_insn_p (MIR_insn_t insn) { return !fixed_place_insn_p (insn)",
     "static int gvn_insn_p (MIR_insn_t insn) { return insn->code != MIR_UNSPEC && !fixed_place_insn_p (insn)"),

    ("mir-gen.c", "so does loop-invariant motion",
     "/* possible exception insns: */",
     "|| insn->code == MIR_UNSPEC"),

    ("mir-gen.c", "an element stored at a spilled address and index from a spilled double needs three registers; there are two",
     "addr_reload_p = rld_in_num > 2;",
     "addr_reload_p = rld_in_num > 2 || in_mem_op_num >= 0 || out_mem_op_num >= 0;"),

    ("mir-gen.c", "what is known of memory ends at a call; the copy of a block that makes one (clone_bbs) did not say that it "
     "does, so values stayed in registers where the collector had moved them",
     "/* we can not use gen_add_insn_xxx becuase",
     "if (MIR_call_code_p (dst_insn->code)) bb->call_p = TRUE;\n      /* we can not use gen_add_insn_xxx becuase"),

    ("mir-gen-x86_64.c", "a square root is one instruction (MIR_SQRT of jit/mirctx.h), not a call that spills every double",
     '  {MIR_DNEG, "r 0"',
     '  {MIR_UNSPEC, "c1 r r", "F2 Y 0F 51 r1 R2", 0}, {MIR_UNSPEC, "c1 r md", "F2 Y 0F 51 r1 m2", 0},\n  {MIR_DNEG, "r 0"'),

    ("mir.c", "registers are numbered in the order of their descriptions: finding one needs no hash table",
     "  rd.reg = reg;\n  rd.name = NULL;\n",
     "  if (reg < VARR_LENGTH (reg_desc_t, func_regs->reg_descs) && VARR_ADDR (reg_desc_t, func_regs->reg_descs)[reg].reg == reg)\n"
     "    return &VARR_ADDR (reg_desc_t, func_regs->reg_descs)[reg];\n  rd.reg = reg;\n  rd.name = NULL;\n"),

    ("mir-varr.h", "tables begin small: what they reserve for large functions is touched for small ones too, and copied",
     "    if (size == 0) size = VARR_DEFAULT_SIZE;",
     "    if (size == 0 || size > VARR_DEFAULT_SIZE) size = VARR_DEFAULT_SIZE;"),

    ("mir-htab.h", "hash tables too",
     "    for (size = 2; min_size > size; size *= 2)",
     "    for (size = 2; min_size > size && size < 64; size *= 2)"),
]


def main():
    source, target = map(pathlib.Path, sys.argv[1:])
    texts = {p.name: p.read_text() for p in sorted(source.glob("*.[ch]"))}
    for name, why, old, new in PATCHES:
        if texts[name].count(old) != 1:
            sys.exit(f"{source / name} contains {texts[name].count(old)} times, not once: {old}\n(wanted because {why})")
        texts[name] = texts[name].replace(old, new)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        path = target / name
        if not path.exists() or path.read_text() != text:   # what has not changed is not compiled again
            path.write_text(text)


if __name__ == "__main__":
    main()
