package main

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"time"
)

type list struct {
	h int
	t *list
}

var sink int

func arithmetic() {
	for i := 1; ; {
		i = (i*31 + 7) % 1000003
		if i == -1 {
			sink = i
		}
	}
}
func depth(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + depth(n-1)
}
func recursion() {
	for i := 1; ; i += depth(1000) % 2 {
		if i == -1 {
			sink = i
		}
	}
}
func lists() {
	m := map[int]int{}
	for k := 0; k < 100000; k++ {
		m[k] = k
	}
	for i := 0; ; i++ {
		var l *list
		for x := 1000; x > 0; x-- {
			l = &list{x * x, l}
		}
		m[i%100000] = l.h
	}
}
func sorting() {
	a, b := make([]int, 300000), make([]int, 300000)
	for k := range a {
		a[k] = k * 7919 % 300007
	}
	for {
		copy(b, a)
		sort.Ints(b)
	}
}
func texts() {
	for {
		var s strings.Builder
		for k := 0; k < 100000; k++ {
			fmt.Fprintf(&s, "ab%d", k%10)
		}
		if s.Len() == 0 {
			sink = 1
		}
	}
}
func main() {
	n, h := arg(1, 2000), arg(2, 4)
	hogs := map[string]func(){"arithmetic": arithmetic, "recursion": recursion, "lists": lists, "sort": sorting, "strings": texts}
	for i := 0; i < h; i++ {
		go hogs[os.Args[3]]()
	}
	time.Sleep(200 * time.Millisecond)
	l := make([]int, n)
	start()
	for i := range l {
		t := time.Now()
		time.Sleep(time.Millisecond)
		l[i] = int(time.Since(t).Nanoseconds()) - 1000000
	}
	stop()
	sortInts(l)
	fmt.Printf("@p50_us %.1f\n@p99_us %.1f\n@max_us %.1f\n%d\n", float64(pct(l, .5))/1e3, float64(pct(l, .99))/1e3, float64(l[n-1])/1e3, n)
}
