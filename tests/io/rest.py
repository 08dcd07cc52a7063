#!/usr/bin/env python3
"""examples/rest.nos as its clients see it, with the PostgreSQL server of the tests (NOS_TEST_PG).

    rest.py NOSTOS
"""
import concurrent.futures
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
failed = 0


def check(name, got, want):
    global failed
    if got != want:
        failed += 1
        print(f"FAILED {name}: {got!r}, expected {want!r}", flush=True)


def main():
    conninfo = os.environ["NOS_TEST_PG"]
    subprocess.run(["psql", conninfo, "-qc", "DROP TABLE IF EXISTS books"], stderr=subprocess.DEVNULL)
    service = subprocess.Popen([sys.argv[1], str(ROOT / "examples/rest.nos"), "0", conninfo], stdout=subprocess.PIPE, text=True)
    try:
        port = int(service.stdout.readline().split()[-1])

        def request(method, path, body=None):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            text = body if isinstance(body, str) or body is None else json.dumps(body)
            c.request(method, path, text.encode() if text else None)
            r = c.getresponse()
            answer = r.read().decode()
            check(f"{method} {path} type", r.getheader("Content-Type"), "application/json")
            return r.status, json.loads(answer) if answer else None

        dune = {"title": "Dune", "author": "Herbert", "year": 1965, "tags": ["sf", "a \"b\""]}
        check("empty", request("GET", "/books"), (200, []))
        check("create", request("POST", "/books", dune), (201, {"id": 1, **dune}))
        check("read", request("GET", "/books/1"), (200, {"id": 1, **dune}))
        check("without", request("POST", "/books", {"title": "Émile", "author": "Rousseau"}),
              (201, {"id": 2, "title": "Émile", "author": "Rousseau", "year": None, "tags": []}))
        check("all", [b["id"] for b in request("GET", "/books")[1]], [1, 2])
        check("author", [b["id"] for b in request("GET", "/books?author=Herbert")[1]], [1])
        check("limit", [b["id"] for b in request("GET", "/books?limit=1")[1]], [1])
        check("replace", request("PUT", "/books/2", {**dune, "title": "Dune Messiah", "year": 1969}),
              (200, {"id": 2, **dune, "title": "Dune Messiah", "year": 1969}))
        check("delete", request("DELETE", "/books/2"), (204, None))
        check("deleted", request("DELETE", "/books/2"), (404, {"error": "not found"}))
        check("gone", request("GET", "/books/2"), (404, {"error": "not found"}))

        check("conflict", request("POST", "/books", dune), (409, {"error": "there is such a book already"}))
        check("missing", request("POST", "/books", {"title": "x"}), (400, {"error": "Missing field: author"}))
        check("kind", request("POST", "/books", {**dune, "year": "old"}), (400, {"error": "Expected Json Integer, found String"}))
        check("blank", request("POST", "/books", {**dune, "title": " "}), (400, {"error": "title must not be empty"}))
        check("range", request("POST", "/books", {**dune, "year": 0}), (400, {"error": "year must be from 1 to 9999"}))
        check("array", request("POST", "/books", []), (400, {"error": "Expected Json Object, found Array"}))
        check("no json", request("POST", "/books", "{\"title\": "),
              (400, {"error": "JSON parse error: unexpected end of text at line 1, column 11"}))
        check("bad limit", request("GET", "/books?limit=x"), (400, {"error": "field 'limit': expected Int, got 'x'"}))
        check("method", request("PATCH", "/books/1", {}), (405, {"error": "method not allowed"}))
        check("path", request("GET", "/authors"), (404, {"error": "not found"}))
        check("id", request("GET", "/books/x"), (404, {"error": "not found"}))
        check("injection", request("GET", "/books?author=%27%3B%20DROP%20TABLE%20books%3B--"), (200, []))

        with concurrent.futures.ThreadPoolExecutor(20) as pool: # more at once than the pool has connections
            made = list(pool.map(lambda i: request("POST", "/books", {"title": f"t{i}", "author": "many"})[0], range(100)))
        check("many", made, [201] * 100)
        check("many are there", len(request("GET", "/books?author=many")[1]), 100)

        service.send_signal(signal.SIGTERM)
        check("stops", service.wait(timeout=60), 0)
    finally:
        service.kill()
        service.wait()
    print("ok" if not failed else f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
