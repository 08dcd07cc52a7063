/* bi_net.c -- Tcp, Udp, Dns and Exec: io/ does the work. */
#include "vm/builtins/bi.h"

#include "io/dns.h"
#include "io/exec.h"
#include "io/signal.h"
#include "io/tcp.h"
#include "io/udp.h"

#define IO_NATIVE(name)                        \
    Value nosi_bi_##name(Proc *p, Value *args) \
    {                                          \
        return nosi_##name(p, args);           \
    }
IO_NATIVE(tcp_listen)
IO_NATIVE(tcp_listen_on)
IO_NATIVE(tcp_listen_unix)
IO_NATIVE(tcp_accept)
IO_NATIVE(tcp_accept_until)
IO_NATIVE(tcp_connect)
IO_NATIVE(tcp_connect_until)
IO_NATIVE(tcp_connect_unix)
IO_NATIVE(tcp_read)
IO_NATIVE(tcp_read_until)
IO_NATIVE(tcp_read_bytes)
IO_NATIVE(tcp_read_bytes_until)
IO_NATIVE(tcp_read_line)
IO_NATIVE(tcp_read_line_until)
IO_NATIVE(tcp_read_exactly)
IO_NATIVE(tcp_read_exactly_until)
IO_NATIVE(tcp_write)
IO_NATIVE(tcp_write_until)
IO_NATIVE(tcp_shutdown)
IO_NATIVE(tcp_close)
IO_NATIVE(tcp_port)
IO_NATIVE(tcp_local)
IO_NATIVE(tcp_peer)
IO_NATIVE(tcp_set_no_delay)
IO_NATIVE(tcp_set_keep_alive)
IO_NATIVE(tcp_give)
IO_NATIVE(signal_open)
IO_NATIVE(signal_next)
IO_NATIVE(signal_next_until)
IO_NATIVE(signal_close)
IO_NATIVE(signal_raise)
IO_NATIVE(udp_bind)
IO_NATIVE(udp_bind_on)
IO_NATIVE(udp_send)
IO_NATIVE(udp_recv)
IO_NATIVE(udp_recv_until)
IO_NATIVE(udp_recv_bytes)
IO_NATIVE(udp_recv_bytes_until)
IO_NATIVE(udp_port)
IO_NATIVE(udp_close)
IO_NATIVE(dns_lookup)
IO_NATIVE(dns_lookup_until)
IO_NATIVE(exec_run)
IO_NATIVE(exec_start)
IO_NATIVE(exec_start_in)
IO_NATIVE(exec_read)
IO_NATIVE(exec_read_line)
IO_NATIVE(exec_read_error_line)
IO_NATIVE(exec_next_line)
IO_NATIVE(exec_next_line_until)
IO_NATIVE(exec_next_error_line)
IO_NATIVE(exec_write)
IO_NATIVE(exec_close_stdin)
IO_NATIVE(exec_wait)
IO_NATIVE(exec_wait_until)
IO_NATIVE(exec_kill)
IO_NATIVE(exec_signal)
IO_NATIVE(exec_pid)
