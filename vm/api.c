/* api.c -- the embedding API of include/nostos.h on top of vm.h. */
#include "include/nostos.h"

#include "vm/util/alloc.h"
#include "vm/vm.h"

struct nos_vm {
    Vm *vm;
    bool loaded, failed, ran;
};

nos_vm *nos_new(const nos_options *options)
{
    VmOptions o = {0};
    if (options) {
        o.threads = options->threads;
        o.max_heap_bytes = options->max_heap_bytes;
        o.args = options->args;
        o.n_args = options->n_args;
    }
    nos_vm *vm = nosi_calloc(1, sizeof *vm);
    vm->vm = nosi_vm_new(&o);
    return vm;
}

static nos_status loaded(nos_vm *vm, bool ok)
{
    vm->loaded = ok;
    vm->failed = !ok;
    return ok ? NOS_OK : NOS_ERROR_COMPILE;
}

nos_status nos_load_text(nos_vm *vm, const char *name, const char *text, size_t n)
{
    if (!vm || vm->loaded || vm->failed || !name || !text)
        return NOS_ERROR_USAGE;
    return loaded(vm, nosi_vm_load_text(vm->vm, name, text, n) && nosi_vm_prepare(vm->vm, NULL));
}

nos_status nos_load_file(nos_vm *vm, const char *path)
{
    if (!vm || vm->loaded || vm->failed || !path)
        return NOS_ERROR_USAGE;
    return loaded(vm, nosi_vm_load_file(vm->vm, path));
}

nos_status nos_run(nos_vm *vm)
{
    if (!vm || !vm->loaded || vm->ran)
        return NOS_ERROR_USAGE;
    vm->ran = true;
    return nosi_vm_run(vm->vm) == 0 ? NOS_OK : NOS_ERROR_RUNTIME;
}

void nos_free(nos_vm *vm)
{
    if (vm)
        nosi_vm_free(vm->vm);
    nosi_free(vm);
}
