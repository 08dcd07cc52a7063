-module(tasks10k). -export([main/1]).
%% one process spawns N short CPU tasks
task(0, S) -> S;
task(K, S) -> task(K-1, (S + K) rem 1000003).
main(A) -> N = bench:arg(A, 1, 10000), K = bench:arg(A, 2, 40000), P = self(),
    R = bench:run(fun() -> [spawn(fun() -> P ! task(K, I) end) || I <- lists:seq(0, N-1)],
        lists:sum([receive X -> X end || _ <- lists:seq(1, N)]) end), io:format("~w~n", [R]).
