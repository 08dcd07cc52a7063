/* udp.h -- the natives of Udp. */
#ifndef NOSI_UDP_H
#define NOSI_UDP_H

#include "sched/proc.h"

Value nosi_udp_bind(Proc *p, Value *args);       // port
Value nosi_udp_bind_on(Proc *p, Value *args);    // port, address
Value nosi_udp_send(Proc *p, Value *args);       // socket, host, port, text or bytes
Value nosi_udp_recv(Proc *p, Value *args);       // socket
Value nosi_udp_recv_until(Proc *p, Value *args); // socket, ms
Value nosi_udp_recv_bytes(Proc *p, Value *args);
Value nosi_udp_recv_bytes_until(Proc *p, Value *args);
Value nosi_udp_port(Proc *p, Value *args);
Value nosi_udp_close(Proc *p, Value *args);

#endif
