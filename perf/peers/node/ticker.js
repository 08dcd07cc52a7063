const B = require('./bench');
// hogs run in worker threads; the main thread ticks
const { Worker, isMainThread } = require('worker_threads');
if (!isMainThread) {
  for (let i = 1; ;) i = (i * 31 + 7) % 1000003;
} else { const n = B.arg(1, 2000), h = B.arg(2, 4), l = []; let t;
  for (let i = 0; i < h; i++) new Worker(__filename);
  const tick = () => { l.push((performance.now() - t) * 1e3 - 1000);
    if (l.length < n) { t = performance.now(); setTimeout(tick, 1); return; }
    B.stop(); l.sort((a, b) => a - b); const p = x => l[Math.min(n - 1, Math.floor(x * n))].toFixed(1);
    console.log(`@p50_us ${p(.5)}\n@p99_us ${p(.99)}\n@max_us ${l[n - 1].toFixed(1)}\n${n}`); process.exit(); };
  setTimeout(() => { B.start(); t = performance.now(); setTimeout(tick, 1); }, 300); }
