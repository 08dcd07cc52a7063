-module(bench).
-export([run/1, arg/3, lehmer/1, metric/2, rss_kb/0, cpu_ms/0, pct/2]).
%% shared helper: times F(), prints "@ms"; plain lines are the result
run(F) ->
    T0 = erlang:monotonic_time(nanosecond), R = F(),
    T1 = erlang:monotonic_time(nanosecond),
    io:format("@ms ~.3f~n", [(T1 - T0) / 1.0e6]), R.
arg(Args, I, D) -> case length(Args) >= I of true -> list_to_integer(lists:nth(I, Args)); false -> D end.
lehmer(X) -> X * 16807 rem 2147483647.
metric(K, V) when is_float(V) -> io:format("@~s ~.3f~n", [K, V]);
metric(K, V) -> io:format("@~s ~w~n", [K, V]).
rss_kb() ->
    {ok, B} = file:read_file("/proc/self/status"),
    {match, [M]} = re:run(B, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]), list_to_integer(M).
cpu_ms() ->   % of the whole program, in steps of 10 ms
    {ok, B} = file:read_file("/proc/self/stat"), F = string:lexemes(binary_to_list(B), " "),
    (list_to_integer(lists:nth(14, F)) + list_to_integer(lists:nth(15, F))) * 10.
pct(Sorted, P) -> T = list_to_tuple(Sorted), element(max(1, min(tuple_size(T), round(P * tuple_size(T)))), T).
