/* pieces.c -- see pieces.h. */
#include "vm/pieces.h"

#include "vm/compile/compile.h"
#include "vm/heap/heap.h"

static void add_bytes(void *ctx, const void *block, size_t used, size_t cap)
{
    size_t *sum = ctx;
    *sum += cap;
    (void)block, (void)used;
}

static size_t size(const Piece *piece)
{
    size_t sum = 0;
    nosi_arena_each_block(&piece->trees, add_bytes, &sum);
    nosi_arena_each_block(&piece->program.arena, add_bytes, &sum);
    return sum;
}

static void cut(Vm *vm)
{
    Piece piece = {.trees = vm->arena};
    nosi_arena_init(&vm->arena);
    nosi_program_cut(vm->program, &piece.program);
    piece.first_source = vm->n_cut_sources + 1;
    piece.end_source = vm->sources.n + 1;
    vm->n_cut_sources = vm->sources.n;
    vm->piece_bytes += size(&piece);
    vec_push(&vm->pieces, piece);
}

static void free_piece(Vm *vm, Piece *piece)
{
    nosi_arena_free(&piece->trees);
    nosi_program_part_free(&piece->program);
    for (uint32_t i = piece->first_source; i < piece->end_source; i++)
        nosi_source_drop(&vm->sources, i);
}

/* Pieces that live, among them those that are reached from others only. */
static void find_live(Vm *vm, Reach *r, const void *roots, size_t bytes)
{
    VEC_EACH (Piece, p, &vm->pieces) {
        uint32_t number = nosi_reach_piece(r);
        nosi_reach_arena(r, number, &p->trees);
        nosi_reach_arena(r, number, &p->program.arena);
    }
    nosi_reach_begin(r);
    nosi_reach_root(r, 0);
    nosi_reach_scan(r, roots, bytes);
    nosi_reach_scan(r, &vm->diags, sizeof vm->diags);
    nosi_program_scan(vm->program, r);
    for (uint32_t number; nosi_reach_next(r, &number);) {
        const Piece *p = &vm->pieces.at[number];
        nosi_reach_scan_arena(r, &p->trees);
        nosi_part_scan(r, &p->program);
    }
}

static void collect(Vm *vm, const void *roots, size_t bytes)
{
    Reach r = {0};
    find_live(vm, &r, roots, bytes);
    nosi_compile_drop(vm->program, &r);
    nosi_program_drop(vm->program, &r);
    uint32_t kept = 0;
    vm->piece_bytes = 0;
    for (uint32_t i = 0; i < vm->pieces.n; i++) {
        Piece *p = &vm->pieces.at[i];
        if (r.live.at[i]) {
            vm->piece_bytes += size(p);
            vm->pieces.at[kept++] = *p;
        } else {
            free_piece(vm, p);
        }
    }
    vm->pieces.n = kept;
    nosi_reach_free(&r);
}

void nosi_pieces_end_input(Vm *vm, const void *roots, size_t bytes)
{
    enum { LEAST = 512 * 1024 };
    cut(vm);
    // The walk costs as much as what it walks over is big: an eighth of it must be new.
    if (vm->piece_bytes < vm->collect_at && !nosi_gc_stress)
        return;
    collect(vm, roots, bytes);
    vm->collect_at = vm->piece_bytes + NOS_MAX(vm->piece_bytes / 8, (size_t)LEAST);
}

void nosi_pieces_free(Vm *vm)
{
    VEC_EACH (Piece, p, &vm->pieces) {
        nosi_arena_free(&p->trees);
        nosi_program_part_free(&p->program);
    }
    vec_free(&vm->pieces);
}
