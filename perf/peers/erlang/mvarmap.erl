-module(mvarmap). -export([main/1]).
%% a table all processes can read and write: ets
insert(N, N, _) -> ok;
insert(I, N, T) -> ets:insert(T, {I * 7919 rem 1000003, I}), insert(I+1, N, T).
read(0, _, _, _, S) -> S;
read(K, N, I, T, S) -> read(K-1, N, (I*16807 + 11) rem N, T, S + ets:lookup_element(T, I * 7919 rem 1000003, 2)).
main(A) -> N = bench:arg(A, 1, 1000000), K = bench:arg(A, 2, 1000000), T = ets:new(t, [public]),
    S = bench:run(fun() -> T0 = erlang:monotonic_time(nanosecond), insert(0, N, T), T1 = erlang:monotonic_time(nanosecond),
        X = read(K, N, 1, T, 0), T2 = erlang:monotonic_time(nanosecond),
        bench:metric(us_per_insert, (T1 - T0) / 1000 / N), bench:metric(ns_per_read, (T2 - T1) / K), X end),
    io:format("~w ~w~n", [ets:info(T, size), S]).
