/* bi_file.c -- File, Dir and standard input: io/file.c does the work. */
#include "vm/builtins/bi.h"

#include "io/io.h"
#include "io/watch.h"

#define IO_NATIVE(name)                        \
    Value nosi_bi_##name(Proc *p, Value *args) \
    {                                          \
        return nosi_##name(p, args);           \
    }
IO_NATIVE(file_read_all)
IO_NATIVE(file_read_bytes)
IO_NATIVE(file_read)
IO_NATIVE(file_read_bytes_handle)
IO_NATIVE(file_write_all)
IO_NATIVE(file_append)
IO_NATIVE(file_write_atomic)
IO_NATIVE(file_exists)
IO_NATIVE(file_remove)
IO_NATIVE(file_rename)
IO_NATIVE(file_copy)
IO_NATIVE(file_size)
IO_NATIVE(file_modified)
IO_NATIVE(file_is_at)
IO_NATIVE(file_watch)
IO_NATIVE(file_next_change)
IO_NATIVE(file_next_change_until)
IO_NATIVE(file_unwatch)
IO_NATIVE(file_open)
IO_NATIVE(file_write)
IO_NATIVE(file_read_line)
IO_NATIVE(file_next_line)
IO_NATIVE(file_flush)
IO_NATIVE(file_close)
IO_NATIVE(file_seek)
IO_NATIVE(dir_create)
IO_NATIVE(dir_create_all)
IO_NATIVE(dir_list)
IO_NATIVE(dir_remove)
IO_NATIVE(dir_remove_all)
IO_NATIVE(dir_exists)
IO_NATIVE(stdin_read_line)
IO_NATIVE(stdin_read_all)
