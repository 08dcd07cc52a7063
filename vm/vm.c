/* vm.c -- see vm.h: loading and compiling. Running is in run.c. */
#include "vm/vm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vm/bytecode/builtin.h"
#include "vm/compile/compile.h"
#include "vm/embed.h"
#include "vm/front/parser.h"
#include "vm/pieces.h"
#include "vm/project.h"
#include "vm/run.h"
#include "vm/util/alloc.h"
#include "vm/util/readfile.h"
#include "vm/value/shape.h"

/* Library modules whose names are visible everywhere without `use`. */
static bool is_prelude(const char *path)
{
    static const char *const names[] = {"core",   "list",   "string", "map",      "set",
                                        "option", "traits", "io",     "process",  "number",
                                        "http",   "net",    "pg",     "jsonvalue"};
    for (size_t i = 0; i < NOS_COUNT(names); i++)
        if (strcmp(path + strlen("stdlib."), names[i]) == 0)
            return true;
    return false;
}

/* Does the unit implement a trait that the runtime itself has to ask (Show, Eq, ...)? Then the
 * library functions that do the asking must be compiled; otherwise start-up does without them. */
static bool has_runtime_instances(const ItemList *items)
{
    static const char *const traits[] = {"Show", "Eq", "Ord", "Hash", "Copy", "Num"};
    for (uint32_t i = 0; i < items->n; i++) {
        const Item *item = items->at[i];
        if (item->kind == ITEM_MODULE && has_runtime_instances(&item->items))
            return true;
        for (size_t k = 0; item->kind == ITEM_IMPL && k < NOS_COUNT(traits); k++)
            if (strcmp(item->name, traits[k]) == 0)
                return true;
    }
    return false;
}

static void require_lib_funcs(Vm *vm, const SourceUnit *unit)
{
    if (vm->has_instances || !has_runtime_instances(&unit->items))
        return;
    vm->has_instances = true;
#define LIBFUNC(id, name, n_params, meaning) \
    nosi_program_require(vm->program, nosi_intern_cstr(name));
#include "vm/interp/libfuncs.def"
#undef LIBFUNC
}

/* ---- reading files
 * ----------------------------------------------------------------------------------------- */

static SourceUnit *parse_text(Vm *vm, const char *path, const char *text, size_t n, bool is_static,
                              bool is_library)
{
    uint32_t file = nosi_sources_add(&vm->sources, path, text, n, is_static, is_library);
    SourceUnit *unit = nosi_parse_file(&vm->arena, &vm->sources, file, &vm->diags);
    if (!is_library)
        require_lib_funcs(vm, unit);
    return unit;
}

static SourceUnit *parse_path(Vm *vm, const char *path)
{
    size_t n;
    char *text = nosi_read_file(path, &n);
    if (!text)
        return NULL;
    SourceUnit *unit = parse_text(vm, path, text, n, false, false);
    nosi_free(text);
    return unit;
}

/* Program.loader: `use util.text` is util/text.nos beside the program; stdlib.* is embedded. */
static SourceUnit *load_module(void *ctx, Name path, bool *is_library)
{
    Vm *vm = ctx;
    *is_library = false;
    if (strncmp(path, "stdlib.", 7) == 0) {
        for (uint32_t i = 0; i < nosi_n_embedded_lib; i++) {
            const NosiEmbeddedFile *f = &nosi_embedded_lib[i];
            if (strcmp(f->module, path) == 0) {
                *is_library = true;
                return parse_text(vm, f->module, f->text, f->size, true, true);
            }
        }
        return NULL;
    }
    if (!vm->directory || vm->is_project) // every module of a project is loaded already
        return NULL;
    char *file = nosi_arena_printf(&vm->arena, "%s%s.nos", vm->directory, path);
    for (char *s = file + strlen(vm->directory); *s && s < file + strlen(file) - 4; s++)
        if (*s == '.')
            *s = '/';
    return parse_path(vm, file);
}

/* ---- life
 * --------------------------------------------------------------------------------------------------
 */

Vm *nosi_vm_new(const VmOptions *options)
{
    Vm *vm = nosi_calloc(1, sizeof *vm);
    vm->options = *options;
    nosi_arena_init(&vm->arena);
    nosi_sources_init(&vm->sources);
    nosi_diag_init(&vm->diags, &vm->arena, &vm->sources);
    nosi_shapes_init();
    nosi_builtins_init();
    vm->program = nosi_program_new(&vm->sources, load_module, vm);
    vm->program->diags = &vm->diags;
    for (uint32_t i = 0; i < nosi_n_embedded_lib; i++) {
        const NosiEmbeddedFile *f = &nosi_embedded_lib[i];
        if (is_prelude(f->module))
            nosi_program_add_unit(vm->program,
                                  parse_text(vm, f->module, f->text, f->size, true, true),
                                  nosi_intern_cstr(f->module), true, true);
    }
    nosi_run_init(vm);
    return vm;
}

void nosi_vm_free(Vm *vm)
{
    if (!vm)
        return;
    nosi_run_end(vm);
    vec_free(&vm->mvar_inits);
    nosi_compile_forget(vm->program);
    nosi_program_free(vm->program);
    nosi_pieces_free(vm);
    nosi_sources_free(&vm->sources);
    nosi_arena_free(&vm->arena);
    nosi_free(vm->directory);
    nosi_free(vm);
}

bool nosi_vm_report(Vm *vm)
{
    bool errors = vm->diags.n_errors > 0;
    if (errors || (vm->options.show_warnings && vm->diags.n_warnings)) {
        StrBuf out = {0};
        if (vm->options.json_errors)
            nosi_diag_render_json(&vm->diags, &out);
        else
            nosi_diag_render(&vm->diags, &out, isatty(STDERR_FILENO));
        fflush(stdout);
        fputs(nosi_strbuf_cstr(&out), vm->options.json_errors ? stdout : stderr);
        nosi_strbuf_free(&out);
    }
    nosi_diag_init(&vm->diags, &vm->arena, &vm->sources);
    return errors;
}

void nosi_vm_error(Vm *vm, const char *fmt, ...)
{
    StrBuf text = {0};
    va_list ap;
    va_start(ap, fmt);
    nosi_strbuf_vprintf(&text, fmt, ap);
    va_end(ap);
    if (vm->options.json_errors) {
        nosi_diag_error(&vm->diags, DIAG_COMPILE, (Span){0}, "%s", nosi_strbuf_cstr(&text));
        nosi_vm_report(vm);
    } else {
        fflush(stdout);
        fprintf(stderr, "Error: %s\n", nosi_strbuf_cstr(&text));
    }
    nosi_strbuf_free(&text);
}

/* ---- loading
 * -----------------------------------------------------------------------------------------------
 */

static bool compile(Vm *vm)
{
    bool ok = vm->diags.n_errors == 0 && nosi_program_check(vm->program, &vm->diags);
    if (nosi_vm_report(vm) || !ok)
        return false;
    return nosi_run_compile(vm);
}

static void add_root(Vm *vm, SourceUnit *unit, const char *path)
{
    Module *m = nosi_program_add_unit(vm->program, unit, nosi_intern_cstr(path), false, false);
    if (!vm->program->root)
        vm->program->root = m;
}

bool nosi_vm_load_text(Vm *vm, const char *name, const char *text, size_t n)
{
    add_root(vm, parse_text(vm, name, text, n, false, false), "");
    return compile(vm);
}

bool nosi_vm_load_file(Vm *vm, const char *path)
{
    const char *slash = strrchr(path, '/');
    vm->directory = nosi_strdup(path);
    vm->directory[slash ? slash - path + 1 : 0] = 0;
    SourceUnit *unit = parse_path(vm, path);
    if (!unit) {
        nosi_vm_error(vm, "cannot read '%s': %s", path, strerror(errno));
        return false;
    }
    add_root(vm, unit, "");
    return compile(vm) && nosi_vm_prepare(vm, NULL);
}

bool nosi_vm_load_project(Vm *vm, const char *dir, const char *bin)
{
    Project project;
    const char *error = nosi_project_read(&project, &vm->arena, dir);
    const char *entry = error ? NULL : nosi_project_entry(&project, &vm->arena, bin, &error);
    vm->is_project = true;
    vm->directory = nosi_strdup(dir);
    for (uint32_t i = 0; !error && i < project.files.n; i++) {
        const ProjectFile *f = &project.files.at[i];
        SourceUnit *unit = parse_path(vm, f->path);
        if (!unit) {
            error = nosi_arena_printf(&vm->arena, "cannot read '%s': %s", f->path, strerror(errno));
            break;
        }
        Module *m =
            nosi_program_add_unit(vm->program, unit, nosi_intern_cstr(f->module), false, false);
        if (strcmp(f->module, "main") == 0)
            vm->program->root = m;
    }
    nosi_project_free(&project);
    if (error) {
        nosi_vm_error(vm, "%s", error);
        return false;
    }
    return compile(vm) && nosi_vm_prepare(vm, *entry ? entry : NULL);
}

bool nosi_vm_add(Vm *vm, SourceUnit *unit)
{
    require_lib_funcs(vm, unit);
    nosi_program_add_unit(vm->program, unit, vm->program->root->path, false, false);
    return compile(vm) && nosi_run_initialisers(vm) == 0;
}

/* ---- entry point
 * ------------------------------------------------------------------------------------------- */

static FuncCell *find_entry(const Module *m, const char *name)
{
    Symbol *s = m ? nosi_hashmap_get(&m->values, nosi_intern_cstr(name)) : NULL;
    if (!s || s->kind != SYM_FUNC)
        return NULL;
    VEC_EACH (Function *, f, &s->funcs) {
        if ((*f)->n_params == 0)
            return (*f)->cell;
    }
    return NULL;
}

bool nosi_vm_prepare(Vm *vm, const char *entry)
{
    const char *shown = "main/";
    if (entry) {
        const char *dot = strrchr(entry, '.');
        Name path = dot ? nosi_intern(entry, (size_t)(dot - entry)) : nosi_intern_cstr("");
        vm->entry =
            find_entry(nosi_hashmap_get(&vm->program->modules, path), dot ? dot + 1 : entry);
        shown = entry;
    } else {
        vm->entry = find_entry(vm->program->root, "main");
    }
    if (vm->entry)
        return true;
    const char *text = vm->is_project && !entry
                           ? "No 'main.main' or 'main' function found in project"
                           : nosi_arena_printf(&vm->arena, "Entry point '%s' not found", shown);
    if (vm->options.json_errors)
        nosi_vm_error(vm, "%s", text);
    else
        fprintf(stderr, "%s\n", text);
    return false;
}
