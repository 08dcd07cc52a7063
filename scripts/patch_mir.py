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

    ("mir-gen.c", "in a loop that nothing enters any more a phi may be its own only input: it is no copy of something else; what "
     "uses it went on referring to it after it was freed (the loop goes later)",
     "&& MIR_reg_hard_reg_name (ctx, insn->ops[1].u.var - MAX_HARD_REG, func) == NULL) {\n          remove_copy (gen_ctx, insn);\n"
     "          continue;\n        }\n        bb_insn->gvn_val_const_p = FALSE;",
     "&& MIR_reg_hard_reg_name (ctx, insn->ops[1].u.var - MAX_HARD_REG, func) == NULL\n            && (se = insn->ops[1].data) != NULL "
     "&& se->def != bb_insn) {\n          remove_copy (gen_ctx, insn);\n"
     "          continue;\n        }\n        bb_insn->gvn_val_const_p = FALSE;"),

    ("mir-gen.c", "in such a loop moves may lead round and round",
     "  while (insn->code == MIR_MOV && insn->ops[1].mode == MIR_OP_VAR) {\n    if (",
     "  for (int left = 100; left > 0 && insn->code == MIR_MOV && insn->ops[1].mode == MIR_OP_VAR; left--) {\n    if ("),

    ("mir-gen.c", "and so may the sums that an address is made of",
     "  for (int change_p = FALSE;;) {\n    temp_addr_info = *addr_info;",
     "  for (int change_p = FALSE, left = 100;; left--) {\n    if (left == 0) return change_p;\n    temp_addr_info = *addr_info;"),

    ("mir-gen.c", "a copy that an address is made of too (a[i] = i) is not dead when only the operand beside it was replaced",
     """        gen_assert (op_ref->mode != MIR_OP_VAR_MEM
                    || (op_ref->u.var_mem.base != var && op_ref->u.var_mem.index != var));
      }
      if (op_change_p) VARR_PUSH""",
     """        if (op_ref->mode == MIR_OP_VAR_MEM
            && (op_ref->u.var_mem.base == var || op_ref->u.var_mem.index == var))
          break; /* nothing is changed then: see success_p */
      }
      if (op_change_p) VARR_PUSH"""),

    ("mir-gen-x86_64.c", "a square root is one instruction (MIR_SQRT of jit/mirctx.h), not a call that spills every double",
     '  {MIR_DNEG, "r 0"',
     '  {MIR_UNSPEC, "c1 r r", "F2 Y 0F 51 r1 R2", 0}, {MIR_UNSPEC, "c1 r md", "F2 Y 0F 51 r1 m2", 0},\n  {MIR_DNEG, "r 0"'),

    # BEQS and BNES, which compare halves of words and are of no use to us, are instructions that jump when of the bits of operand 2
    # none is set in operand 1, or any (jit/mirctx.h).
    ("mir-gen-x86_64.c", "a jump that looks at bits is one instruction (and a half)",
     "#define SBCMP(ICODE, LONG_JMP_OPCODE) ",
     """#define BITS(ICODE, L, JMP_OPCODE)                                   \\
  {ICODE, L " r r", "Y 85 r1 R2;" JMP_OPCODE " " L "0", 0},          \\
    {ICODE, L " r m2", "Y 85 r1 m2;" JMP_OPCODE " " L "0", 0},       \\
    {ICODE, L " r i0", "Y F6 /0 S1 i2;" JMP_OPCODE " " L "0", 0},    \\
    {ICODE, L " r i2", "Y F7 /0 R1 I2;" JMP_OPCODE " " L "0", 0},    \\
    {ICODE, L " m2 i2", "Y F7 /0 m1 I2;" JMP_OPCODE " " L "0", 0},
#define SBCMP(ICODE, LONG_JMP_OPCODE) """),

    ("mir-gen-x86_64.c", "to places that are near",
     'SBCMPS (MIR_BEQS, "74") SBCMPS (MIR_BNES, "75")',
     'BITS (MIR_BEQS, "l", "74") BITS (MIR_BNES, "l", "75")'),

    ("mir-gen-x86_64.c", "and to others",
     'SBCMP (MIR_BEQS, "0F 84") SBCMP (MIR_BNES, "0F 85")',
     'BITS (MIR_BEQS, "L", "0F 84") BITS (MIR_BNES, "L", "0F 85")'),

    ("mir-gen.c", "of constants",
     "case MIR_BEQS: GVN_ICMPS (==); break;",
     "case MIR_BEQS: GVN_ICMPS (&); val = !val; break;"),

    ("mir-gen.c", "of constants",
     "case MIR_BNES: GVN_ICMPS (!=); break;",
     "case MIR_BNES: GVN_ICMPS (&); break;"),

    ("mir-gen-x86_64.c", "the high word of a product (MIR_MULH) divides by constants",
     "  {MIR_DIV, \"h0 h0 r\"",
     '  {MIR_UNSPEC, "c2 h2 r h0", "X F7 /5 R2", 0}, {MIR_UNSPEC, "c2 h2 m3 h0", "X F7 /5 m2", 0},\n  {MIR_DIV, "h0 h0 r"'),

    ("mir-gen-x86_64.c", "one factor is in rax and the high word comes in rdx, as operands of a remainder are",
     "    case MIR_MOD:\n    case MIR_UMOD:\n    case MIR_MODS:",
     """    case MIR_UNSPEC: {
      if (insn->ops[0].u.u != 2) break;
      new_insn = MIR_new_insn (ctx, MIR_MOV, _MIR_new_var_op (ctx, AX_HARD_REG), insn->ops[3]);
      gen_add_insn_before (gen_ctx, insn, new_insn);
      insn->ops[3] = _MIR_new_var_op (ctx, AX_HARD_REG);
      new_insn = MIR_new_insn (ctx, MIR_MOV, insn->ops[1], _MIR_new_var_op (ctx, DX_HARD_REG));
      gen_add_insn_after (gen_ctx, insn, new_insn);
      insn->ops[1] = _MIR_new_var_op (ctx, DX_HARD_REG);
      break;
    }
    case MIR_MOD:
    case MIR_UMOD:
    case MIR_MODS:"""),

    ("mir-gen.c", "a block that may leave is not copied behind cold ones: its stub would be entered twice, and the hot block would "
     "move what the stub stores to where the other one has it",
     "        || dst_bb_insn->insn->code == MIR_SWITCH || size > max_bb_growth_factor * orig_size)",
     """        || dst_bb_insn->insn->code == MIR_SWITCH || size > max_bb_growth_factor * orig_size
        || (dst_bb_insn->insn->code != MIR_JMP && MIR_branch_code_p (dst_bb_insn->insn->code)
            && !bitmap_bit_p (temp_bitmap,
                              ((bb_insn_t) dst_bb_insn->insn->ops[0].u.label->data)->bb->index)))"""),

    # A module is compiled once, then its context is thrown away.
    ("mir-gen.c", "nobody needs a function's instructions as they were before",
     "  _MIR_duplicate_func_insns (ctx, func_item);\n", ""),

    ("mir-gen.c", "nor back",
     "  _MIR_restore_func_insns (ctx, func_item);\n", ""),

    # Registers are known by their number, which is the index of their description. Nobody looks for those that MIR adds by
    # name, and the names that we give are different. Hash tables of names, and making them, took a tenth of the time.
    ("mir.c", "names of registers are not entered into tables",
     """  if (!any_p && _MIR_reserved_name_p (ctx, name))
    MIR_get_error_func (ctx) (MIR_reserved_name_error, "redefining a reserved name %s", name);
  rd.name = (char *) get_ctx_str (ctx, name);
""",
     "  rd.name = (char *) name;\n"),

    ("mir.c", "nor looked up there",
     """  if (HTAB_DO (size_t, func_regs->name2rdn_tab, rdn, HTAB_FIND, tab_rdn)) {
    VARR_POP (reg_desc_t, func_regs->reg_descs);
    MIR_get_error_func (ctx) (MIR_repeated_decl_error, "Repeated reg declaration %s", name);
  }
""", ""),

    ("mir.c", "nor are their numbers",
     """  htab_res = HTAB_DO (size_t, func_regs->name2rdn_tab, rdn, HTAB_INSERT, tab_rdn);
  mir_assert (!htab_res);
  if (hard""",
     "  if (hard"),

    ("mir.c", "nor are their numbers",
     """  htab_res = HTAB_DO (size_t, func_regs->reg2rdn_tab, rdn, HTAB_INSERT, tab_rdn);
  mir_assert (!htab_res);
""", ""),

    ("mir.c", "the few registers that are looked for by name come first: parameters",
     """  temp_rdn = VARR_LENGTH (reg_desc_t, func_regs->reg_descs);
  VARR_PUSH (reg_desc_t, func_regs->reg_descs, rd);
  if (!HTAB_DO (size_t, func_regs->name2rdn_tab, temp_rdn, HTAB_FIND, rdn)) {
    VARR_POP (reg_desc_t, func_regs->reg_descs);
    return NULL; /* undeclared */
  }
  VARR_POP (reg_desc_t, func_regs->reg_descs);
  return &VARR_ADDR (reg_desc_t, func_regs->reg_descs)[rdn];
""",
     """  for (rdn = 1; rdn < VARR_LENGTH (reg_desc_t, func_regs->reg_descs); rdn++)
    if (strcmp (VARR_ADDR (reg_desc_t, func_regs->reg_descs)[rdn].name, name) == 0)
      return &VARR_ADDR (reg_desc_t, func_regs->reg_descs)[rdn];
  return NULL; /* undeclared */
"""),

    ("mir.c", "a register's number is the index of its description",
     """  rd.reg = reg;
  rd.name = NULL;
  rd.type = MIR_T_I64; /* to eliminate warnings */
  temp_rdn = VARR_LENGTH (reg_desc_t, func_regs->reg_descs);
  VARR_PUSH (reg_desc_t, func_regs->reg_descs, rd);
  if (!HTAB_DO (size_t, func_regs->reg2rdn_tab, temp_rdn, HTAB_FIND, rdn)) {
    VARR_POP (reg_desc_t, func_regs->reg_descs);
    MIR_get_error_func (ctx) (MIR_undeclared_func_reg_error, "undeclared reg %u of func %s", reg,
                              func->name);
  }
  VARR_POP (reg_desc_t, func_regs->reg_descs);
  return &VARR_ADDR (reg_desc_t, func_regs->reg_descs)[rdn];
""",
     """  if (reg == 0 || reg >= VARR_LENGTH (reg_desc_t, func_regs->reg_descs))
    MIR_get_error_func (ctx) (MIR_undeclared_func_reg_error, "undeclared reg %u of func %s", reg,
                              func->name);
  mir_assert (VARR_ADDR (reg_desc_t, func_regs->reg_descs)[reg].reg == reg);
  return &VARR_ADDR (reg_desc_t, func_regs->reg_descs)[reg];
"""),

    ("mir.c", "names of parameters are kept",
     "= create_func_reg (ctx, func, vars[i].name, NULL",
     "= create_func_reg (ctx, func, get_ctx_str (ctx, vars[i].name), NULL"),

    ("mir.c", "so are those of other registers",
     "  return new_func_reg (ctx, func, type, name, NULL);",
     "  return new_func_reg (ctx, func, type, get_ctx_str (ctx, name), NULL);"),

    ("mir.c", "and those of global ones",
     "  return new_func_reg (ctx, func, type, name, hard_reg_name);",
     "  return new_func_reg (ctx, func, type, get_ctx_str (ctx, name), hard_reg_name);"),

    ("mir.c", "temporary registers need no names of their own",
     """  for (;;) {
    func->last_temp_num++;
    if (func->last_temp_num == 0)
      MIR_get_error_func (ctx) (MIR_unique_reg_error, "out of unique regs");
    sprintf (reg_name, "%s%d", TEMP_REG_NAME_PREFIX, func->last_temp_num);

    if (find_rd_by_name (ctx, reg_name, func) == NULL)
      return MIR_new_func_reg (ctx, func, type, reg_name);
  }
""",
     "  return new_func_reg (ctx, func, type, TEMP_REG_NAME_PREFIX, NULL);\n"),

    ("mir-gen.c", "nor do those of the SSA form",
     """  VARR_TRUNC (char, reg_name, 0);
  VARR_PUSH_ARR (char, reg_name, name, strlen (name));
  VARR_PUSH (char, reg_name, sep);
  sprintf (ind_str, "%lu", (unsigned long) index); /* ??? should be enough to unique */
  VARR_PUSH_ARR (char, reg_name, ind_str, strlen (ind_str) + 1);
  if (hard_reg_name == NULL) {
    new_reg = MIR_new_func_reg (ctx, func, type, VARR_ADDR (char, reg_name)) + MAX_HARD_REG;
  } else {
    new_reg = (MIR_new_global_func_reg (ctx, func, type, VARR_ADDR (char, reg_name), hard_reg_name)
""",
     """  if (hard_reg_name == NULL) {
    new_reg = _MIR_new_temp_reg (ctx, type, func) + MAX_HARD_REG;
  } else {
    new_reg = (MIR_new_global_func_reg (ctx, func, type, name, hard_reg_name)
"""),

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
