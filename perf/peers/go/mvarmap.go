package main

import (
	"fmt"
	"sync"
	"time"
)

// a table all goroutines can read and write
func main() {
	n, reads, s := arg(1, 1000000), arg(2, 1000000), 0
	var mu sync.RWMutex
	m := map[int]int{}
	start()
	t := time.Now()
	for i := 0; i < n; i++ {
		mu.Lock()
		m[i*7919%1000003] = i
		mu.Unlock()
	}
	fmt.Printf("@us_per_insert %.3f\n", float64(time.Since(t).Nanoseconds())/1e3/float64(n))
	t = time.Now()
	for k, i := 0, 1; k < reads; k++ {
		mu.RLock()
		s += m[i*7919%1000003]
		mu.RUnlock()
		i = (i*16807 + 11) % n
	}
	fmt.Printf("@ns_per_read %.1f\n", float64(time.Since(t).Nanoseconds())/float64(reads))
	stop()
	fmt.Println(len(m), s)
}
