/* signal.h -- natives of Signal: signals of the operating system that a program takes over. Same
 * ABI as built-ins. */
#ifndef NOSI_SIGNAL_H
#define NOSI_SIGNAL_H

#include "sched/sched.h"

Value nosi_signal_open(Proc *p, Value *args); // name: handle
Value nosi_signal_next(Proc *p, Value *args); // handle: did it come? false: closed
Value nosi_signal_next_until(Proc *p, Value *args);
Value nosi_signal_close(Proc *p, Value *args);
Value nosi_signal_raise(Proc *p, Value *args); // name

/* Has a program taken that signal over, so that nothing else should happen? Any thread. */
bool nosi_signal_taken(int number);

#endif
