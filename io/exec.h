/* exec.h -- the natives of Exec: child processes. */
#ifndef NOSI_EXEC_H
#define NOSI_EXEC_H

#include "sched/proc.h"

/* The program ends without ending its processes: what they own goes with them. */
void nosi_exec_kill_all(void);

Value nosi_exec_run(Proc *p, Value *args);   // program, arguments, input, ms (negative: no limit)
Value nosi_exec_start(Proc *p, Value *args); // program, arguments
Value nosi_exec_start_in(Proc *p, Value *args);  // ..., directory ("": this one), [(name, value)]
Value nosi_exec_read(Proc *p, Value *args);      // child, n
Value nosi_exec_read_line(Proc *p, Value *args); // child
Value nosi_exec_read_error_line(Proc *p, Value *args);
Value nosi_exec_next_line(Proc *p, Value *args);
Value nosi_exec_next_line_until(Proc *p, Value *args); // child, ms
Value nosi_exec_next_error_line(Proc *p, Value *args);
Value nosi_exec_write(Proc *p, Value *args); // child, text or bytes
Value nosi_exec_close_stdin(Proc *p, Value *args);
Value nosi_exec_wait(Proc *p, Value *args);       // child
Value nosi_exec_wait_until(Proc *p, Value *args); // child, ms
Value nosi_exec_kill(Proc *p, Value *args);
Value nosi_exec_signal(Proc *p, Value *args); // child, name
Value nosi_exec_pid(Proc *p, Value *args);

#endif
