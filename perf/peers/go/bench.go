package main

// shared helper, compiled together with each program: go build x.go bench.go
import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

var t0 time.Time

func start() { t0 = time.Now() }
func stop()  { fmt.Printf("@ms %.3f\n", float64(time.Since(t0).Nanoseconds())/1e6) }
func arg(i, d int) int {
	if len(os.Args) > i {
		n, _ := strconv.Atoi(os.Args[i])
		return n
	}
	return d
}
func lehmer(x int) int { return x * 16807 % 2147483647 }
func rssKB() int {
	b, _ := os.ReadFile("/proc/self/status")
	s := string(b)
	f := strings.Fields(s[strings.Index(s, "VmRSS:"):])
	n, _ := strconv.Atoi(f[1])
	return n
}
// CPU time of the program in ms, in steps of 10
func cpuMs() int {
	b, _ := os.ReadFile("/proc/self/stat")
	f := strings.Fields(string(b))
	user, _ := strconv.Atoi(f[13])
	system, _ := strconv.Atoi(f[14])
	return (user + system) * 10
}
func pct(a []int, p float64) int { // a sorted
	i := int(p * float64(len(a)))
	if i >= len(a) {
		i = len(a) - 1
	}
	return a[i]
}
func sortInts(a []int) { sort.Ints(a) }
