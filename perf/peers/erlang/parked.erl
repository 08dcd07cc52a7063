-module(parked). -export([main/1]).
%% N processes blocked in receive; RSS delta / N, CPU of the pause; then wake all
spawn_all(0, _, L) -> L;
spawn_all(N, P, L) -> spawn_all(N-1, P, [spawn(fun() -> receive X -> P ! X end end) | L]).
send_all([], _) -> ok;
send_all([H | T], I) -> H ! I, send_all(T, I+1).
collect(0, S) -> S;
collect(N, S) -> receive X -> collect(N-1, S + X) end.
main(A) -> process_flag(message_queue_data, off_heap), N = bench:arg(A, 1, 100000), Pause = bench:arg(A, 2, 50), R0 = bench:rss_kb(), T0 = erlang:monotonic_time(microsecond),
    S = bench:run(fun() ->
        L = spawn_all(N, self(), []), T1 = erlang:monotonic_time(microsecond), C0 = bench:cpu_ms(), timer:sleep(Pause), bench:metric(idle_cpu_ms, bench:cpu_ms() - C0),
        bench:metric(bytes_per_proc, (bench:rss_kb() - R0) * 1024.0 / N), bench:metric(spawn_us, (T1 - T0) / N),
        T2 = erlang:monotonic_time(microsecond), send_all(L, 1), X = collect(N, 0),
        bench:metric(wake_ms, (erlang:monotonic_time(microsecond) - T2) / 1000), X end),
    io:format("~w~n", [S]).
