/* bi_pg.c -- Pg: io/pg*.c does the work. */
#include "vm/builtins/bi.h"

#include "io/pg.h"

#define IO_NATIVE(name)                        \
    Value nosi_bi_##name(Proc *p, Value *args) \
    {                                          \
        return nosi_##name(p, args);           \
    }
IO_NATIVE(pg_ready)
IO_NATIVE(pg_connect)
IO_NATIVE(pg_connect_until)
IO_NATIVE(pg_listen_connect)
IO_NATIVE(pg_close)
IO_NATIVE(pg_ensure)
IO_NATIVE(pg_give)
IO_NATIVE(pg_query)
IO_NATIVE(pg_query_until)
IO_NATIVE(pg_execute)
IO_NATIVE(pg_execute_until)
IO_NATIVE(pg_batch)
IO_NATIVE(pg_begin)
IO_NATIVE(pg_commit)
IO_NATIVE(pg_rollback)
IO_NATIVE(pg_prepare)
IO_NATIVE(pg_query_prepared)
IO_NATIVE(pg_execute_prepared)
IO_NATIVE(pg_deallocate)
IO_NATIVE(pg_pipeline)
IO_NATIVE(pg_execute_many)
IO_NATIVE(pg_copy_in)
IO_NATIVE(pg_copy_out)
IO_NATIVE(pg_listen)
IO_NATIVE(pg_unlisten)
IO_NATIVE(pg_notify)
IO_NATIVE(pg_await)
IO_NATIVE(pg_in_txn)
IO_NATIVE(pg_pool_open)
IO_NATIVE(pg_pool_take)
IO_NATIVE(pg_pool_stats)
IO_NATIVE(pg_pool_close)
