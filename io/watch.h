/* watch.h -- File.watch: what happens to a file or in a directory. Natives: same ABI as built-ins.
 */
#ifndef NOSI_WATCH_H
#define NOSI_WATCH_H

#include "io/io.h"

Value nosi_file_watch(Proc *p, Value *args);             // (path): handle
Value nosi_file_next_change(Proc *p, Value *args);       // (handle): (kind, name)
Value nosi_file_next_change_until(Proc *p, Value *args); // (handle, milliseconds): the same
Value nosi_file_unwatch(Proc *p, Value *args);           // (handle)

#endif
