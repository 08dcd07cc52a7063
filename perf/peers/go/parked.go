package main

import (
	"fmt"
	"time"
)

// n goroutines, each blocked on its own channel (a mailbox); RSS delta / n, CPU of the pause; then wake all
func main() {
	n, pause, s := arg(1, 100000), arg(2, 50), 0
	r0 := rssKB()
	t := time.Now()
	start()
	out := make(chan int, 1024)
	box := make([]chan int, n)
	for i := range box {
		c := make(chan int)
		box[i] = c
		go func() { out <- <-c }()
	}
	t1 := time.Since(t)
	cpu := cpuMs()
	time.Sleep(time.Duration(pause) * time.Millisecond)
	fmt.Printf("@idle_cpu_ms %d\n", cpuMs()-cpu)
	fmt.Printf("@bytes_per_proc %.0f\n@spawn_us %.3f\n", float64(rssKB()-r0)*1024/float64(n), float64(t1.Nanoseconds())/1e3/float64(n))
	t = time.Now()
	go func() {
		for i, c := range box {
			c <- i + 1
		}
	}()
	for i := 0; i < n; i++ {
		s += <-out
	}
	fmt.Printf("@wake_ms %.3f\n", float64(time.Since(t).Nanoseconds())/1e6)
	stop()
	fmt.Println(s)
}
