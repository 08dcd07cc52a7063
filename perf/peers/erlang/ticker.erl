-module(ticker). -export([main/1]).
%% 1 ms ticks; lateness beyond 1 ms while hogs run flat out; then the time to kill each hog
tick(0, L) -> L;
tick(N, L) -> T = erlang:monotonic_time(nanosecond), receive after 1 -> ok end,
    tick(N-1, [erlang:monotonic_time(nanosecond) - T - 1000000 | L]).
arithmetic(I) -> arithmetic((I*31 + 7) rem 1000003).
depth(0) -> 0;
depth(N) -> 1 + depth(N-1).
recursion(I) -> recursion(I + depth(1000) rem 2).
lists(M, I) -> L = [X*X || X <- lists:seq(1, 1000)], lists(M#{I rem 100000 => hd(L)}, I + 1 + length(L) rem 1000).
sort(L, I) -> sort(L, I + hd(lists:sort(L)) rem 2).
text(0, S) -> byte_size(S);
text(K, S) -> text(K-1, <<S/binary, "ab", ($0 + K rem 10)>>).
strings(I) -> strings(I + text(100000, <<>>) rem 2).
hog("arithmetic") -> arithmetic(1);
hog("recursion") -> recursion(1);
hog("lists") -> lists(maps:from_list([{K, K} || K <- lists:seq(0, 99999)]), 0);
hog("sort") -> sort([K * 7919 rem 300007 || K <- lists:seq(0, 299999)], 0);
hog("strings") -> strings(1).
kill(P) -> R = monitor(process, P), T = erlang:monotonic_time(nanosecond), exit(P, kill),
    receive {'DOWN', R, _, _, _} -> erlang:monotonic_time(nanosecond) - T end.
main(A) -> N = bench:arg(A, 1, 2000), H = bench:arg(A, 2, 4), Kind = lists:nth(3, A),
    Ps = [spawn(fun() -> hog(Kind) end) || _ <- lists:seq(1, H)],
    timer:sleep(200),
    L = lists:sort(bench:run(fun() -> tick(N, []) end)),
    [bench:metric(K, V / 1000) || {K, V} <- [{p50_us, bench:pct(L, 0.5)}, {p99_us, bench:pct(L, 0.99)}, {max_us, lists:last(L)},
        {kill_us, lists:max([kill(P) || P <- Ps])}]],
    io:format("~w~n", [length(L)]).
